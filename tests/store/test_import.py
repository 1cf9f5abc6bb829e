"""What an import takes, what it makes of plain records, and what it refuses: all of it or nothing."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from orchestration.core.errors import DuplicateTaskError, TaskFileError, TaskqError, UsageError
from orchestration.core.models import Task
from orchestration.core.status import Status
from orchestration.core.transfers import ImportReport
from orchestration.store.codec import TASK
from orchestration.store.layout import QueueFolder, create_queue
from orchestration.store.line import encode_line
from orchestration.store.plain_records import RULES
from orchestration.store.tasks import JournalTaskStore
from tests.store.records import GOOD, PLAIN, RAN, lines, out_of, take_into

OpenStore = Callable[..., JournalTaskStore]
Builder = Callable[..., Task]
PAGE = Path(__file__).parents[2] / "docs/reference/record.md"


@pytest.fixture
def other(tmp_path: Path) -> QueueFolder:
    """A second queue."""
    return create_queue(tmp_path / "other")


@pytest.fixture
def take(other: QueueFolder, tmp_path: Path) -> Callable[..., ImportReport]:
    """Return a function that imports into the second queue, or another."""

    def imported(content: bytes, *, into: Path | None = None, **how: Any) -> ImportReport:
        return take_into(into or other.root, content, **{"texts": (tmp_path,), **how})

    return imported


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """A folder as the older queue had it."""
    (tmp_path / "queue/tasks").mkdir(parents=True)
    (tmp_path / "queue/tasks/T-1.md").write_text(
        "---\nid: T-1\nrepo: /srv/repo\n---\nFix it\n\nall of it\n", encoding="utf-8"
    )
    return tmp_path


def test_a_plain_record_becomes_a_task_that_can_be_run(
    take: Callable[..., ImportReport], other: QueueFolder, texts: Path, open_store: OpenStore
) -> None:
    report = take(lines(PLAIN))
    (task,) = open_store(folder=other.root).read().tasks.values()
    assert (task.id, task.status, task.text, task.title) == ("T-1", Status.TODO, "Fix it\n\nall of it", "Fix it")
    assert (task.branch, task.worktree_path, task.attempt) == ("task/t-1", "/srv/worktrees/repo/T-1", 0)
    assert (task.agent, task.sandbox, task.limits.pids) == ("opencode", "docker", 7)
    assert task.created_at == datetime(2026, 3, 1, 10, 0, 0, 123456, tzinfo=UTC)
    assert task.updated_at == datetime(2026, 3, 1, 11, 0, 0, 654321, tzinfo=UTC)
    said = {name for name, value in PLAIN.items() if value not in {"", 0}} | {"attempt"}
    assert report.mapped == dict.fromkeys(sorted(said, key=list(TASK).index), 1)
    assert report.kept == {}


def test_what_a_plain_record_knows_of_its_run_is_kept_under_its_own_names(
    take: Callable[..., ImportReport], other: QueueFolder, texts: Path
) -> None:
    report = take(lines({**PLAIN, **RAN, "status": "review", "extra": [1]}))
    (record,) = out_of(other.root)
    assert {name: record[name] for name in RAN if name != "attempt"} == {
        name: value for name, value in RAN.items() if name != "attempt"
    }
    assert (record["run"], record["extra"]) == (None, [1])
    assert report.kept == dict.fromkeys([name for name in RAN if name != "attempt"], 1) | {"extra": 1}


@pytest.mark.parametrize(
    ("given", "status", "reason", "attempt"),
    [
        ({"status": "todo"}, "todo", None, 0),
        ({"status": "todo", "attempt": 2}, "todo", None, 2),
        ({**RAN, "status": "planning"}, "failed", "imported while planning; its runner is elsewhere", 3),
        ({**RAN, "status": "building"}, "failed", "imported while building; its runner is elsewhere", 3),
        (
            {**RAN, "status": "review"},
            "review",
            "imported; its work is in its worktree and branch, and is not collected",
            3,
        ),
        ({**RAN, "status": "failed"}, "failed", "failed before it was imported", 3),
        ({"status": "failed", "error_file": "/e.md"}, "failed", "failed before it was imported; its report: /e.md", 1),
        ({"status": "done", "branch": "", "worktree_path": "", "attempt": 1}, "done", None, 2),
        ({"status": "cancelled"}, "cancelled", None, 0),
        ({**RAN, "status": "cancelled"}, "cancelled", None, 3),
    ],
)
def test_a_status_of_the_older_queue_becomes_what_is_true_here(
    given: dict[str, Any], status: str, reason: str | None, attempt: int,
    take: Callable[..., ImportReport], other: QueueFolder, texts: Path,
) -> None:  # fmt: skip
    report = take(lines({**PLAIN, **given}))
    (record,) = out_of(other.root)
    assert (record["status"], record["reason"], record["attempt"]) == (status, reason, attempt)
    assert any(change.startswith("status: ") for change in report.changed) is (status != given["status"])


def test_task_files_outside_of_the_named_folders_are_never_read(
    take: Callable[..., ImportReport], other: QueueFolder, texts: Path, tmp_path: Path
) -> None:
    secret = tmp_path / "secret.md"
    secret.write_text("a key", encoding="utf-8")
    (texts / "queue/tasks/link.md").symlink_to(secret)
    inside = texts / "queue"
    for name in (str(secret), "../secret.md", "tasks/link.md", "nowhere.md", "", "/", "."):
        with pytest.raises(TaskqError, match=r"says nothing of what is wanted|passes a link"):
            take(lines({**PLAIN, "task_file": name}), texts=[inside])
    assert out_of(other.root) == []
    take(lines({**PLAIN, "task_file": str(secret)}), texts=[inside, tmp_path])
    assert out_of(other.root)[0]["text"] == "a key"


def test_only_a_task_that_is_over_may_come_without_its_text(
    take: Callable[..., ImportReport], other: QueueFolder
) -> None:
    for status in ("todo", "failed", "review", "building"):
        with pytest.raises(TaskFileError, match=r"in\.jsonl:1: task T-1 is \w+ and says nothing .* --texts FOLDER"):
            take(lines({**PLAIN, "status": status, "task_file": "nowhere.md"}))
    assert take(lines({**PLAIN, "status": "done", "task_file": "nowhere.md"})).changed["text: not found"] == 1


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (b"{", "2: Expecting property name"),
        (b"[]", "2: no JSON object"),
        (b'"x"', "2: no JSON object"),
        (b"\xff", "2: not UTF-8"),
        (b'{"id":"a","id":"b"}', "2: a key that is there twice"),
        (b'{"id":"a","x":NaN}', "2: NaN is no JSON"),
        (lines({**GOOD, "id": "../evil"}), r"2: '\.\./evil' is no task id.*--rename"),
        (lines({**GOOD, "id": 7}), "2: '' is no task id"),
        (lines({**GOOD, "id": None}), "2: '' is no task id"),
        (
            lines({**GOOD, "id": "b", "status": "resting"}),
            "2: task 'b' cannot be read: status: 'resting' is no status$",
        ),
        (lines({**GOOD, "id": "b", "priority": "3"}), "2: task 'b' cannot be read: priority: '3' is no integer"),
        (lines({**GOOD, "id": "b", "repo": None}), "2: task 'b' cannot be read: repo missing"),
        (lines({**GOOD, "id": "b", "created_at": "yesterday"}), "2: task 'b' cannot be read: created_at"),
        (lines({**GOOD, "id": "b", "v": 2}), "2: task 'b' has version 2"),
        (lines({**GOOD, "id": "b", "by": "me"}), "2: the member 'by' has a meaning in the journal"),
        (lines({**GOOD, "id": "b", "crc": "0"}), "2: the member 'crc' has a meaning in the journal"),
        (lines({**GOOD, "id": "b", "junk": "x" * 200_000}), "2: members that taskq does not know take 2.* bytes"),
        (
            lines({**GOOD, "id": "b", "verification": {"blob": "0" * 64, "size": 1}}),
            "2: verification names a blob of another queue",
        ),
        (encode_line({"seq": 1, "kind": "queue", "id": "abcdefgh"}), "2: this is a line of a taskq journal"),
    ],
)
def test_one_bad_line_is_named_with_the_reason_and_nothing_is_imported(
    bad: bytes, why: str, take: Callable[..., ImportReport], other: QueueFolder
) -> None:
    with pytest.raises(TaskFileError, match=rf"^in\.jsonl:{why}"):
        take(lines(GOOD) + bad)
    assert not other.journal.exists()
    take(lines(GOOD))
    assert [record["id"] for record in out_of(other.root)] == ["full"]


@pytest.mark.parametrize("content", [b"", b"\n \n"])
def test_an_input_without_a_task_is_an_error(content: bytes, take: Callable[..., ImportReport]) -> None:
    with pytest.raises(TaskFileError, match="there is no task in it"):
        take(content)


def test_an_id_that_is_taken_is_named_and_nothing_is_imported(
    take: Callable[..., ImportReport], other: QueueFolder
) -> None:
    take(lines({**GOOD, "id": "Here"}))
    before = other.journal.read_bytes()
    with pytest.raises(DuplicateTaskError, match=r"task here is already in the queue as Here.*--skip-existing"):
        take(lines({**GOOD, "id": "new"}, {**GOOD, "id": "here"}))
    with pytest.raises(DuplicateTaskError, match="task NEW is given twice"):
        take(lines({**GOOD, "id": "new"}, {**GOOD, "id": "NEW"}))
    assert other.journal.read_bytes() == before


def test_what_is_here_can_be_left_out(take: Callable[..., ImportReport], other: QueueFolder) -> None:
    take(lines({**GOOD, "id": "Here", "title": "first"}))
    report = take(lines({**GOOD, "id": "here", "title": "second"}, {**GOOD, "id": "new"}), skip_existing=True)
    assert (report.tasks, report.skipped) == (1, ("here",))
    assert [(record["id"], record["title"]) for record in out_of(other.root)] == [
        ("Here", "first"),
        ("new", GOOD["title"]),
    ]


def test_what_a_task_waits_for_must_be_here_or_come_with_it(
    take: Callable[..., ImportReport], other: QueueFolder
) -> None:
    waiting = {**GOOD, "id": "b", "after": ["a"]}
    with pytest.raises(UsageError, match="task b waits for 'a', which is not in the queue"):
        take(lines(waiting))
    with pytest.raises(UsageError, match="wait for each other for ever"):
        take(lines(waiting, {**GOOD, "id": "a", "after": ["b"]}))
    assert not other.journal.exists() or other.journal.read_bytes() == b""
    take(lines(waiting, {**GOOD, "id": "a"}))
    take(lines({**GOOD, "id": "c", "after": ["A"]}))
    assert [record["after"] for record in out_of(other.root)] == [["a"], [], ["A"]]


def test_ids_that_taskq_cannot_have_are_renamed_on_request_everywhere_in_the_file(
    take: Callable[..., ImportReport], other: QueueFolder
) -> None:
    records = [{**GOOD, "id": name} for name in ("a b", "a-b", "../..", "a/b")]
    records[1]["after"] = ["a b"]
    report = take(lines(*records), rename=True)
    assert report.renamed == {"a b": "a-b-2", "../..": "task", "a/b": "a-b-3"}
    made = out_of(other.root)
    assert [(record["id"], record.get("imported_id")) for record in made] == [
        ("a-b-2", "a b"), ("a-b", None), ("task", "../.."), ("a-b-3", "a/b"),
    ]  # fmt: skip
    assert made[1]["after"] == ["a-b-2"]


def test_a_rehearsal_says_what_would_happen_and_writes_nothing(
    take: Callable[..., ImportReport], other: QueueFolder, texts: Path, tmp_path: Path
) -> None:
    content = lines({**PLAIN, **RAN, "status": "building"})
    nowhere = tmp_path / "not made"
    rehearsed = take(content, into=nowhere, prepare=None)
    assert not nowhere.exists()
    done = take(content)
    assert (rehearsed.dry_run, done.dry_run) == (True, False)
    assert (rehearsed.tasks, rehearsed.mapped, rehearsed.changed) == (done.tasks, done.mapped, done.changed)
    before = {path: path.stat().st_mtime_ns for path in other.root.rglob("*")}
    with pytest.raises(DuplicateTaskError):
        take(content, prepare=None)
    assert {path: path.stat().st_mtime_ns for path in other.root.rglob("*")} == before


def test_an_import_is_one_append_and_its_task_has_the_attempts_of_one_that_was_removed(
    take: Callable[..., ImportReport], other: QueueFolder, open_store: OpenStore
) -> None:
    take(lines({**GOOD, "attempt": 9}))
    open_store(folder=other.root).remove("full", lambda _task: None, by="test")
    take(lines({**GOOD, "id": "new"}, GOOD))
    assert [(record["id"], record["rev"], record["attempt"]) for record in out_of(other.root)] == [
        ("new", 1, 3), ("full", 3, 9),
    ]  # fmt: skip
    last = [json.loads(line) for line in other.journal.read_bytes().splitlines()[-2:]]
    assert [line.get("more", 0) for line in last] == [1, 0]


def test_the_page_shows_the_rules_that_the_code_goes_by() -> None:
    rows = [
        tuple(cell.strip() for cell in line.strip("|").split("|"))
        for line in PAGE.read_text(encoding="utf-8").splitlines()
        if line.startswith("| `")
    ]
    assert rows == [(f"`{name}`", f"`{rule.field}`" if rule.field else "-", rule.how) for name, rule in RULES.items()]
