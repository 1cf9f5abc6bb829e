"""What fsck says besides damage: numbers that do not follow, an index that lies, blobs that nobody names."""

import sqlite3
from collections.abc import Callable
from contextlib import closing

import pytest

from orchestration.core.models import Task
from orchestration.core.ports import Clock
from orchestration.core.status import Status
from orchestration.store import fsck
from orchestration.store.archive import archive
from orchestration.store.compaction import compact
from orchestration.store.layout import QueueFolder
from orchestration.store.line import decode_line, encode_line
from orchestration.store.tasks import JournalTaskStore

OpenStore = Callable[..., JournalTaskStore]
Builder = Callable[..., Task]
LONG = "long " * 60_000


@pytest.fixture
def indexed(queue: QueueFolder, open_eager: OpenStore, a_task: Builder) -> QueueFolder:
    """A queue of thirty tasks, some of which wait for others, with an index."""
    tasks = [a_task(f"t{number}", after=(f"t{number - 1}",) if number % 3 else ()) for number in range(30)]
    open_eager().add(tasks, by="test")
    open_eager().change("t4", lambda task: task._replace(not_before=task.created_at), by="test")
    open_eager().remove("t29", lambda _task: None, by="test")
    assert len(list(open_eager().read().tasks)) == 29
    assert fsck.check(queue.root).is_sound
    return queue


def change_index(queue: QueueFolder, statement: str) -> None:
    with closing(sqlite3.connect(queue.index_file)) as connection:
        connection.execute(statement)
        connection.commit()


@pytest.mark.parametrize(
    "lie",
    [
        "DELETE FROM task WHERE id = 't3'",
        "UPDATE task SET rev = 7 WHERE id = 't3'",
        "UPDATE task SET status = 'done' WHERE id = 't3'",
        "UPDATE task SET urgency = urgency + 1 WHERE id = 't3'",
        "UPDATE task SET spans = x'' WHERE id = 't3'",
        "UPDATE task SET waits = 0 WHERE id = 't5'",
        "UPDATE counted SET number = number + 1",
        "DELETE FROM awaits WHERE parent = 't3'",
        "UPDATE head SET seq = seq + 1",
        "UPDATE head SET lines = lines - 1",
    ],
)
def test_an_index_that_lies_is_found_and_taken_away_by_a_repair(lie: str, indexed: QueueFolder, clock: Clock) -> None:
    change_index(indexed, lie)
    report = fsck.check(indexed.root)
    assert report.index is not None
    assert not report.is_sound
    before = indexed.journal.read_bytes()
    repaired = fsck.repair(indexed.root, clock)
    assert repaired.is_sound
    assert "the index was wrong" in repaired.notes[0]
    assert not indexed.index_file.exists()
    assert (indexed.journal.read_bytes(), repaired.kept) == (before, ())


def test_an_index_that_is_behind_is_held_against_what_it_is_of(
    indexed: QueueFolder, store: JournalTaskStore, a_task: Builder
) -> None:
    store.add([a_task("later")], by="test")
    assert fsck.check(indexed.root).is_sound
    change_index(indexed, "UPDATE task SET rev = 7 WHERE id = 't3'")
    assert fsck.check(indexed.root).index == "it does not have task t3 as the journal has it"


def test_an_index_that_nobody_would_believe_is_no_problem(indexed: QueueFolder) -> None:
    change_index(indexed, "UPDATE task SET rev = 7")
    change_index(indexed, "UPDATE head SET clean = 0")
    assert fsck.check(indexed.root).is_sound


def edited(queue: QueueFolder, place: int, **members: object) -> None:
    lines = queue.journal.read_bytes().splitlines(keepends=True)
    lines[place] = encode_line({**decode_line(lines[place]), **members})
    queue.journal.write_bytes(b"".join(lines))


def test_numbers_that_do_not_follow_each_other_are_said_and_stop_nobody(
    queue: QueueFolder, store: JournalTaskStore, a_task: Builder, open_store: OpenStore
) -> None:
    store.add([a_task("a")], by="test")
    for title in ("one", "two", "three"):
        store.change("a", lambda task, title=title: task._replace(title=title), by="test")
    assert fsck.check(queue.root).chain == ()
    edited(queue, 2, rev=5)
    edited(queue, 4, seq=9)
    report = fsck.check(queue.root)
    assert report.is_sound
    assert report.chain == (
        "line 3: rev 5 of task a where 2 is due",
        "line 4: rev 3 of task a where 6 is due",
        "line 5: seq 9 where 5 is due",
    )
    assert open_store().add([a_task("b")], by="test")


def test_a_compacted_journal_has_no_gaps(
    queue: QueueFolder, store: JournalTaskStore, a_task: Builder, clock: Clock
) -> None:
    store.add([a_task("a"), a_task("b")], by="test")
    for title in ("one", "two"):
        store.change("a", lambda task, title=title: task._replace(title=title), by="test")
    store.remove("b", lambda _task: None, by="test")
    assert compact(queue.root, clock).history is not None
    store.add([a_task("b")], by="test")
    report = fsck.check(queue.root)
    assert (report.is_sound, report.chain, report.tasks) == (True, (), 2)


def test_a_repair_names_the_tasks_whose_changes_it_set_aside(
    queue: QueueFolder, store: JournalTaskStore, a_task: Builder, clock: Clock
) -> None:
    store.add([a_task("a"), a_task("b")], by="test")
    store.change("b", lambda task: task._replace(title="t"), by="test")
    content = queue.journal.read_bytes().replace(b'"do b"', b'"do X"') + b"who knows\nwhat this is\n"
    queue.journal.write_bytes(content)
    report = fsck.repair(queue.root, clock)
    assert report.is_sound
    assert report.lost == ("b", "line 5", "line 6")
    assert list(store.read().tasks) == ["a"]  # of the change whose last line was bad
    store.add([a_task("c")], by="test")
    assert list(store.read().tasks) == ["a", "c"]
    assert fsck.repair(queue.root, clock).lost == ()


def test_blobs_that_no_task_names_are_said_and_kept(
    queue: QueueFolder, store: JournalTaskStore, a_task: Builder, clock: Clock
) -> None:
    store.add([a_task("a", text=LONG), a_task("b", text=LONG + "b", status=Status.CANCELLED)], by="test")
    stray = queue.blobs / ("0" * 64)
    stray.write_bytes(b"of an add that was killed")
    archive(queue.root, clock, list(store.read().select([Status.CANCELLED])))
    compact(queue.root, clock)
    report = fsck.repair(queue.root, clock)
    assert (report.is_sound, report.unnamed) == (True, ("0" * 64,))
    assert len(list(queue.blobs.iterdir())) == 3
