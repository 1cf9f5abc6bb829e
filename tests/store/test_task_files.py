import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestration.core.drafts import TaskDraft
from orchestration.core.errors import DuplicateTaskError, StorageError, TaskFileError, UsageError
from orchestration.store.draft_keys import PLAIN, draft_from
from orchestration.store.front_matter import Given
from orchestration.store.layout import QueueFolder
from orchestration.store.task_files import parse_many, parse_task_file, read_task_file, store_task_file

NOW = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
FULL = """---
id: 0123
title: yes
repo: ~/project
base: 1.10
branch: task/x
worktree_path: /srv/trees/x
agent: command
agent_command: "./agent.sh --fast: 1"
model: null
sandbox: docker
network: none
priority: -7
labels: [one, 2, no]
after:
  - T-1
  - 007
not_before: 2026-11-22T00:00Z
limits:
  build: 2h
  setup: 90
  output: 10MB
  files: 12
  memory: 2G
  cpus: 0.5
  pids: 64
allow_empty: on
---

Do it.

---

More.
"""


def parse(text: str | bytes, name: str = "tasks/some file.md") -> TaskDraft:
    return parse_task_file(name, text.encode() if isinstance(text, str) else text, now=NOW)


def test_every_key_reaches_the_draft_and_text_stays_as_it_was_written() -> None:
    assert parse(FULL) == TaskDraft(
        id="0123",
        title="yes",
        text="Do it.\n\n---\n\nMore.",
        repo="~/project",
        base="1.10",
        branch="task/x",
        worktree_path="/srv/trees/x",
        agent="command",
        agent_command="./agent.sh --fast: 1",
        model="null",
        sandbox="docker",
        network="none",
        priority=-7,
        labels=("one", "2", "no"),
        after=("T-1", "007"),
        not_before=datetime(2026, 11, 22, tzinfo=UTC),
        limits={
            "build": timedelta(hours=2),
            "setup": timedelta(seconds=90),
            "output": 10 * 1024**2,
            "files": 12,
            "memory": 2 * 1024**3,
            "cpus": 0.5,
            "pids": 64,
        },
        allow_empty=True,
        source="tasks/some file.md:1",
        stem="some file",
    )


@pytest.mark.parametrize(
    "content",
    [FULL.replace("\n", "\r\n").encode(), b"\xef\xbb\xbf" + FULL.encode(), b"\n\n" + FULL.encode()],
    ids=["CRLF", "BOM", "blank lines first"],
)
def test_other_ways_to_save_the_same_file_mean_the_same(content: bytes) -> None:
    assert parse(content) == parse(FULL)


@pytest.mark.parametrize("text", ["Just do it.\n", "# Title\n---\nid: x\n---\n", "----\nid: x\n----\n", "a: b\n"])
def test_without_front_matter_the_whole_file_is_the_prompt(text: str) -> None:
    assert parse(text) == TaskDraft(text=text, source="tasks/some file.md:1", stem="some file")


@pytest.mark.parametrize("value", ["", '""', "[]", "{}"])
def test_an_empty_value_is_not_said(value: str) -> None:
    assert parse(f"---\ntitle: {value}\n---\nx") == TaskDraft(text="x", source="tasks/some file.md:1", stem="some file")


def test_an_empty_front_matter_says_nothing() -> None:
    assert parse("---\n---\nx").text == "x"
    assert parse("---\n# only a comment\n---\nx").text == "x"


def test_an_empty_body_is_not_said() -> None:
    assert parse("---\ntitle: x\n---\n").text is None


@pytest.mark.parametrize("labels", ["a, b,a", "[a, b, a]"])
def test_labels_are_a_list_or_words_with_commas(labels: str) -> None:
    assert parse(f"---\nlabels: {labels}\n---\n").labels == ("a", "b")


def test_a_relative_time_counts_from_now() -> None:
    assert parse("---\nnot_before: +2h\n---\n").not_before == NOW + timedelta(hours=2)


BAD = [
    ("title: a\nreop: x", 3, "unknown key 'reop'; did you mean repo?"),
    ("colour: red", 2, "unknown key 'colour'; there are: id, title, repo"),
    ("text: x", 2, "unknown key 'text'"),
    ("\n\ntitle: a\ntitle: b", 5, "'title' is given twice"),
    ("a: &x [1]\nb: *x", 3, "alias"),
    ("a: &x 1\nb: {<<: *x}", 3, "alias"),
    ("title: " + "[" * 5000, 2, "nested more than 8 deep"),
    ("title: " + "{a: " * 20, 2, "nested more than 8 deep"),
    ("title: !!python/object:os.system x", 2, "tag"),
    ("title: !!int 3", 2, "tag"),
    ("? [a]\n: b", 2, "plain word"),
    ("- a", 2, "lines such as"),
    ("just text", 2, "lines such as"),
    ("title: a: b", 2, "not allowed here"),
    ("title: 'a", 2, "end of stream"),
    ("title: a\n\tb: c", 3, "cannot start any token"),
    ("title: a\x00b", 2, "no text file has"),
    ("title: a\n---x: b", 3, "unknown key '---x'"),
    ("id: ../up", 2, "id: '../up' is no task id"),
    ("branch: a..b", 2, "branch: 'a..b' is no branch name"),
    ("title: [a]", 2, "title: must be plain text"),
    ("priority: high", 2, "priority: 'high' is no whole number"),
    ("priority: 1.5", 2, "priority: '1.5' is no whole number"),
    ("priority: [1]", 2, "priority: must be a single value"),
    ("labels:\n  - a\n  - [b]", 4, "labels: must be plain text"),
    ("labels:\n  - a\n  - " + "b" * 101, 4, "labels: "),
    ("labels: a,,b", 2, "labels: '' is no label"),
    ("labels: {a: b}", 2, "labels: must be plain text"),
    ("after: [T-1, T 2]", 2, "after: 'T 2' is no task id"),
    ("not_before: tomorrow", 2, "not_before: 'tomorrow' is no time"),
    ("allow_empty: maybe", 2, "allow_empty: 'maybe' is neither true nor false"),
    ("limits: 2h", 2, "limits: must be names with values, of: setup"),
    ("limits:\n  build: 1h\n  biuld: 2h", 4, "limits: unknown limit 'biuld'; did you mean build?"),
    ("limits:\n  build: soon", 3, "limits: build: 'soon' is no duration"),
    ("limits:\n  output: much", 3, "limits: output: 'much' is no size"),
    ("limits:\n  files: 0", 3, "limits: files: 0 must be above 0"),
    ("limits:\n  cpus: -1", 3, "limits: cpus: '-1' is no number of processors"),
    ("limits:\n  memory: 1K", 3, "limits: memory: '1K' is too little"),
    ("network: opne", 2, "network: no network 'opne'; there are: allowlist, none, open"),
    ("network: [none]", 2, "network: must be plain text"),
    ("limits:\n  files: [1]", 3, "limits: must be a single value"),
    ('title: "a\u2028b\u0085c"\npriority: x', 3, "priority: 'x' is no whole number"),
    ("title: " + "x" * 70_000, 2, "move text to the body"),
]


@pytest.mark.parametrize(("front_matter", "line", "why"), BAD, ids=[front[:25] + why[:20] for front, _, why in BAD])
def test_what_is_wrong_is_said_with_file_and_line(front_matter: str, line: int, why: str) -> None:
    with pytest.raises(TaskFileError) as raised:
        parse(f"---\n{front_matter}\n---\nbody", "t.md")
    assert str(raised.value).startswith(f"t.md:{line}: ")
    assert why in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("content", "line", "why"),
    [
        (b"---\ntitle: a\n", 1, "has no end"),
        (b"\n\n---\ntitle: a\n--- x\n", 3, "has no end"),
        (b"---\ntitle: a\n---\nb\xff\n", 4, "no UTF-8"),
        (b"x" * (8 * 1024**2 + 1), 1, "more than"),
    ],
    ids=["no end", "a fence with more", "not UTF-8", "too large"],
)
def test_a_file_that_is_wrong_as_a_whole_is_refused(content: bytes, line: int, why: str) -> None:
    with pytest.raises(TaskFileError) as raised:
        parse(content, "t.md")
    assert str(raised.value).startswith(f"t.md:{line}: ")
    assert why in str(raised.value)


@settings(max_examples=200, deadline=None)
@given(front=st.text(alphabet="ab:-[]{}&*!#'\"|>?%@ \n\t\\,\x07\u2028", max_size=60))
def test_any_front_matter_is_read_or_refused_with_a_line_in_the_file(front: str) -> None:
    text = f"---\n{front}\n---\nbody"
    try:
        draft = parse(text, "t.md")
    except TaskFileError as error:
        line = int(str(error).split(":")[1])
        lines = text.count("\n") + 1
    else:
        line, lines = 1, 1
        assert draft.source == "t.md:1"
    assert 1 <= line <= lines


def test_a_bulk_file_of_json_lines_gives_one_draft_a_line() -> None:
    content = (
        b'{"id": "a", "task": "do a", "priority": 3, "allow_empty": true, "limits": {"build": 5, "files": "7"}}\n\n'
        b'{"text": "do b", "labels": ["x"], "title": null, "after": "a"}\n'
    )
    first, second = parse_many("bulk", content, now=NOW)
    assert first == TaskDraft(
        id="a",
        text="do a",
        priority=3,
        allow_empty=True,
        limits={"build": timedelta(seconds=5), "files": 7},
        source="bulk:1",
    )
    assert second == TaskDraft(text="do b", labels=("x",), after=("a",), source="bulk:3")


def test_a_bulk_file_of_documents_gives_one_draft_each() -> None:
    content = (
        FULL + "---\nid: second\n---\nA rule follows:\n---\nNot: a document\n---\n\nlast line\n---\ntitle: third\n---\n"
    )
    drafts = parse_many("bulk", content.encode(), now=NOW)
    assert [(draft.id, draft.title, draft.source) for draft in drafts] == [
        ("0123", "yes", "bulk:1"),
        ("second", None, "bulk:35"),
        (None, "third", "bulk:44"),
    ]
    assert drafts[1].text == "A rule follows:\n---\nNot: a document\n---\n\nlast line"


@pytest.mark.parametrize(
    ("content", "line", "why"),
    [
        (b"", 1, "no task"),
        (b" \n\n", 1, "no task"),
        (b"hello\n", 1, "neither JSON lines nor documents"),
        (b'{"id": "a"}\n{"idd": "b"}\n', 2, "unknown key 'idd'; did you mean id?"),
        (b'{"tsk": "x"}\n', 1, "did you mean task?"),
        (b'{"id": 5}\n', 1, "id: must be plain text"),
        (b'{"id": "a", "id": "b"}\n', 1, "twice"),
        (b'{"text": 5}\n', 1, "'text' must be text"),
        (b'{"text": "a", "task": "b"}\n', 1, "both 'task' and 'text'"),
        (b'{"labels": ["a", true]}\n', 1, "labels: must be plain text"),
        (b'{"priority": true}\n', 1, "priority: must be a single value"),
        (b'{"priority": NaN}\n', 1, "NaN"),
        (b'{"id": "a"}\n[1]\n', 2, "each line is one JSON object"),
        (b'{"id": "a"}\n{"id": \n', 2, "each line is one JSON object"),
        (b'{"labels": ' + b"[" * 9 + b"]" * 9 + b"}\n", 1, "deep"),
        (b'{"text": "\\ud800"}\n', 1, "surrogate"),
        (b'{"text": "' + b"x" * (8 * 1024**2) + b'"}\n', 1, "more than"),
        (b"---\nid: a\n---\nbody\n---\nid: b\nprio: 3\n---\n", 7, "unknown key 'prio'; did you mean priority?"),
        (b"---\nid: a\n---\nbody\n---\nid: b\n", 5, "has no end"),
    ],
    ids=lambda value: value[:30].decode("ascii", "replace") if isinstance(value, bytes) else str(value),
)
def test_what_is_wrong_in_a_bulk_file_is_said_with_its_line(content: bytes, line: int, why: str) -> None:
    with pytest.raises(TaskFileError) as raised:
        parse_many("bulk", content, now=NOW)
    assert str(raised.value).startswith(f"bulk:{line}: ")
    assert why in str(raised.value)


def test_a_given_file_is_copied_byte_for_byte(queue: QueueFolder, tmp_path: Path) -> None:
    given_file = tmp_path / "mine.md"
    content = b"\xef\xbb\xbf---\r\nid: a\r\n---\r\n\xe2\x80\xa8 odd \x0c bytes"
    given_file.write_bytes(content)
    stored = store_task_file(queue.root, "a", read_task_file(given_file), given_file)
    assert stored == queue.tasks / "a.md"
    assert stored.read_bytes() == given_file.read_bytes() == content
    assert stored.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in queue.tasks.iterdir()] == ["a.md"]


def test_a_file_that_is_there_already_is_registered_and_not_touched(queue: QueueFolder) -> None:
    path = queue.tasks / "a.md"
    path.write_bytes(b"do it")
    before = path.stat()
    assert store_task_file(queue.root, "a", b"do it", path) == path
    assert store_task_file(queue.root, "a", b"do it") == path
    assert path.stat() == before


def test_another_file_is_never_overwritten(queue: QueueFolder) -> None:
    path = queue.tasks / "a.md"
    path.write_bytes(b"somebody's")
    with pytest.raises(DuplicateTaskError, match="move it away") as raised:
        store_task_file(queue.root, "a", b"mine")
    assert raised.value.code == "task_file_exists"
    assert path.read_bytes() == b"somebody's"


def test_a_link_in_the_place_of_a_task_file_is_not_followed(queue: QueueFolder, tmp_path: Path) -> None:
    target = tmp_path / "target"
    (queue.tasks / "a.md").symlink_to(target)
    with pytest.raises(StorageError, match="no regular file"):
        store_task_file(queue.root, "a", b"mine")
    assert not target.exists()


def test_a_task_file_is_not_stored_under_a_name_that_is_no_id(queue: QueueFolder) -> None:
    with pytest.raises(UsageError, match="no task id"):
        store_task_file(queue.root, "../a", b"mine")


def test_a_task_file_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="not there"):
        read_task_file(tmp_path / "none.md")
    with pytest.raises(StorageError, match="folder"):
        read_task_file(tmp_path)
    (tmp_path / "huge.md").write_bytes(b"x" * (8 * 1024**2 + 1))
    with pytest.raises(TaskFileError, match="more than"):
        read_task_file(tmp_path / "huge.md")


def test_a_text_of_a_plain_key_is_taken_as_it_is_whichever_way_it_is_given() -> None:
    said = {key: f" {key}, [1] " for key in PLAIN}
    (draft,) = parse_many("bulk", json.dumps({"text": "x", **said}).encode(), now=NOW)
    keys = {key: Given(value, 1) for key, value in said.items()}
    assert draft == draft_from("bulk", keys, text="x", line=1, stem=None, now=NOW)
    assert {name: value for name, value in draft._asdict().items() if name in PLAIN} == said


@pytest.mark.parametrize(("given", "priority"), [("7", 7), ("-999999999", -(10**9) + 1), ('"+7"', 7), ('""', None)])
def test_a_priority_is_a_number_or_a_text_of_one(given: str, priority: int | None) -> None:
    (draft,) = parse_many("bulk", f'{{"text": "x", "priority": {given}}}'.encode(), now=NOW)
    assert draft.priority == priority


@pytest.mark.parametrize("given", ["1000000000", "-1000000000", "true", "1.0", "[]0"])
def test_what_is_no_priority_is_refused(given: str) -> None:
    with pytest.raises(TaskFileError, match="bulk:2: "):
        parse_many("bulk", f'{{"text": "x"}}\n{{"text": "y", "priority": {given}}}'.encode(), now=NOW)
