"""Tasks out of one queue and into another: nothing lost on the way, and nothing taken by half."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestration.core.errors import TaskNotFoundError
from orchestration.core.models import Task
from orchestration.core.status import Status
from orchestration.core.transfers import ImportReport
from orchestration.store import fsck
from orchestration.store.codec import TASK, encode_task
from orchestration.store.export import export, export_to
from orchestration.store.layout import QueueFolder, create_queue
from orchestration.store.sweep import open_journal, sweep
from orchestration.store.tasks import JournalTaskStore
from tests.store.records import FULL, GOOD, NOW, lines, out_of, take_into

OpenStore = Callable[..., JournalTaskStore]
Builder = Callable[..., Task]


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


def test_a_task_with_all_that_can_be_known_of_it_comes_back_the_same(
    store: JournalTaskStore, queue: QueueFolder, a_task: Builder, take: Callable[..., ImportReport], other: QueueFolder
) -> None:
    store.add([a_task("first"), FULL], by="test")
    assert out_of(queue.root, "full") == [encode_task(FULL)]
    take(lines(*out_of(queue.root)))
    assert out_of(other.root) == out_of(queue.root)
    assert fsck.check(other.root).is_sound


def test_every_field_of_the_full_task_is_set_so_that_none_is_missed() -> None:
    assert [name for name, value in encode_task(FULL).items() if value is None] == []


def test_tasks_come_in_the_order_of_adding_and_only_those_asked_for(
    store: JournalTaskStore, queue: QueueFolder, a_task: Builder
) -> None:
    store.add([a_task(name) for name in ("c", "a", "B", "gone")], by="test")
    store.change("c", lambda task: task._replace(title="last changed"), by="test")
    store.remove("gone", lambda _task: None, by="test")
    assert [record["id"] for record in out_of(queue.root)] == ["c", "a", "B"]
    assert [record["id"] for record in out_of(queue.root, "b", "c", "C")] == ["c", "B"]


def test_an_id_that_is_not_there_is_an_error_before_anything_is_written(
    store: JournalTaskStore, queue: QueueFolder, a_task: Builder, tmp_path: Path
) -> None:
    store.add([a_task("a")], by="test")
    with pytest.raises(TaskNotFoundError, match="no task 'nobody'"):
        export_to(tmp_path / "out", queue.root, ["a", "nobody"], tell=lambda _count: None)
    assert not (tmp_path / "out").exists()


def test_a_queue_without_a_journal_exports_nothing(queue: QueueFolder) -> None:
    assert out_of(queue.root) == []


def test_long_texts_are_written_in_place_and_are_blobs_again_after_import(
    store: JournalTaskStore, queue: QueueFolder, a_task: Builder, take: Callable[..., ImportReport], other: QueueFolder
) -> None:
    text = "long \u00e9" * 100_000
    store.add([a_task("a", text=text)], by="test")
    (record,) = out_of(queue.root)
    assert record["text"] == text
    take(lines(record))
    assert out_of(other.root) == [record]
    assert len(list(other.blobs.iterdir())) == 1


def test_what_a_missing_blob_held_is_said_to_be_missing_and_the_rest_is_written(
    store: JournalTaskStore, queue: QueueFolder, a_task: Builder
) -> None:
    store.add([a_task("a", text="x" * 300_000), a_task("b")], by="test")
    next(queue.blobs.iterdir()).unlink()
    written: list[bytes] = []
    report = export(queue.root, (), written.append, tell=lambda _count: None)
    assert [json.loads(line)["text"] for line in written] == [None, "do b"]
    assert [problem.split(" ")[0:5:4] for problem in report.problems] == [["blob", "a"]]


def test_damage_hides_no_other_task_and_is_said(store: JournalTaskStore, queue: QueueFolder, a_task: Builder) -> None:
    for name in ("a", "b", "c"):
        store.add([a_task(name)], by="test")
    queue.journal.write_bytes(queue.journal.read_bytes().replace(b'"do b"', b'"do X"'))
    written: list[bytes] = []
    report = export(queue.root, (), written.append, tell=lambda _count: None)
    assert [json.loads(line)["id"] for line in written] == ["a", "c"]
    assert report.problems == ("line 3 of the journal: bad checksum",)


def test_an_append_that_is_not_all_there_is_not_exported(
    store: JournalTaskStore, queue: QueueFolder, a_task: Builder
) -> None:
    store.add([a_task("a")], by="test")
    whole = queue.journal.read_bytes()
    store.add([a_task("b"), a_task("c")], by="test")
    first, second = queue.journal.read_bytes()[len(whole) :].splitlines(keepends=True)
    for torn in (first, first + second[:-1], first + b"\0" * 40):
        queue.journal.write_bytes(whole + torn)
        assert [record["id"] for record in out_of(queue.root)] == ["a"]
    queue.journal.write_bytes(whole + first + second)
    assert [record["id"] for record in out_of(queue.root)] == ["a", "b", "c"]


@pytest.mark.parametrize("harm", ["cut", "flip", "newline"])
def test_one_pass_over_a_journal_finds_what_every_reader_finds(
    harm: str, store: JournalTaskStore, queue: QueueFolder, a_task: Builder, open_store: OpenStore
) -> None:
    store.add([a_task("a"), a_task("b")], by="test")
    store.change("b", lambda task: task._replace(title="t"), by="test")
    store.remove("a", lambda _task: None, by="test")
    store.add([a_task("a", text="again")], by="test")
    whole = queue.journal.read_bytes()
    chance = random.Random(20261121)
    for place in sorted(chance.sample(range(len(whole)), 150)):
        changed = {
            "cut": whole[:place],
            "flip": whole[:place] + bytes([whole[place] ^ 1 << chance.randrange(7)]) + whole[place + 1 :],
            "newline": whole[:place] + b"\n" + whole[place:],
        }[harm]
        queue.journal.write_bytes(changed)
        with open_journal(queue.journal) as journal:
            assert journal is not None
            found = sweep(journal)
        seen = open_store().read()
        assert (found.queue, found.seq) == (seen.queue, seen.seq)
        assert list(found.tasks) == [identifier.lower() for identifier in seen.tasks]
        assert set(found.damage) == {item for item in seen.damage if item.offset < found.end}


def test_members_that_taskq_does_not_know_survive_at_every_depth(
    take: Callable[..., ImportReport], other: QueueFolder, open_store: OpenStore
) -> None:
    record = encode_task(FULL._replace(after=()))
    record |= {"future": {"deep": [1, None, "\u2028"]}, "another": False}
    record["run"] |= {"seat": 4}
    record["revision"]["files"][0] |= {"mode": "0644"}
    report = take(lines(record))
    assert report.kept == {"future": 1, "another": 1}
    assert out_of(other.root) == [record]
    open_store(folder=other.root).change("full", lambda task: task.advance(Status.TODO, at=NOW), by="test")
    (changed,) = out_of(other.root)
    assert (changed["status"], changed["future"]) == ("todo", record["future"])


def test_an_exported_task_that_was_running_becomes_failed(
    store: JournalTaskStore, queue: QueueFolder, a_task: Builder, take: Callable[..., ImportReport], other: QueueFolder
) -> None:
    store.add([a_task("a", status=Status.BUILDING)], by="test")
    report = take(lines(*out_of(queue.root)))
    (record,) = out_of(other.root)
    assert (record["status"], record["reason"]) == ("failed", "imported while building; its runner is elsewhere")
    assert report.changed == {"status: building became failed, as its runner is elsewhere": 1}


@given(
    st.dictionaries(
        st.text(min_size=1).filter(
            lambda name: name not in TASK and name not in {"seq", "kind", "at", "by", "more", "removed", "crc"}
        ),
        st.recursive(
            st.none() | st.booleans() | st.integers(-(2**63) + 1, 2**63 - 1) | st.text(),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
            max_leaves=8,
        ),
        max_size=4,
    )
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_whatever_unknown_members_there_are_come_out_as_they_went_in(
    tmp_path_factory: pytest.TempPathFactory, take: Callable[..., ImportReport], members: dict[str, Any]
) -> None:
    folder = create_queue(tmp_path_factory.mktemp("property") / "queue").root
    take(lines({**GOOD, **members}), into=folder)
    assert out_of(folder) == [{**GOOD, **members}]
    assert fsck.check(folder).is_sound
