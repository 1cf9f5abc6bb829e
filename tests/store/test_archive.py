"""A task that is moved to the archive is in the queue or in its file at every moment, and nothing of it is lost."""

import errno
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestration.core.errors import CorruptStateError, StorageError
from orchestration.core.models import Task
from orchestration.core.ports import Clock
from orchestration.core.status import Status
from orchestration.store import archive as archiving
from orchestration.store import fsck
from orchestration.store.archive import archive, find_archived, read_archive
from orchestration.store.compaction import compact
from orchestration.store.layout import QueueFolder, create_queue
from orchestration.store.line import decode_line, encode_line
from orchestration.store.tasks import JournalTaskStore
from orchestration.support.files import Disk
from tests.store.proof.test_worst_power_cut import UncertainDisk

OpenStore = Callable[..., JournalTaskStore]
Builder = Callable[..., Task]
LONG = "long text \u00e9" * 40_000


@pytest.fixture
def over(store: JournalTaskStore, a_task: Builder) -> JournalTaskStore:
    """A queue with one task that waits, and two that are over, one of which has a text that is a blob."""
    store.add([a_task("a"), a_task("B", text=LONG, attempt=3, labels=("x",)), a_task("c")], by="test")
    for name in ("B", "c"):
        store.change(name, lambda task: task.advance(Status.CANCELLED, at=task.created_at), by="test")
    return store


def cancelled(store: JournalTaskStore) -> Sequence[Task]:
    return list(store.read().select([Status.CANCELLED]))


def ids_in_archive(queue: QueueFolder, clock: Clock) -> list[str]:
    told: list[str] = []
    found = [str(each.task.id) for each in read_archive(queue.root, clock, told.append)]
    assert told == []
    return found


def test_what_is_archived_is_in_its_file_as_it_was_and_in_the_queue_no_more(
    queue: QueueFolder, over: JournalTaskStore, clock: Clock
) -> None:
    tasks = cancelled(over)
    counted: list[int] = []
    moved = archive(queue.root, clock, tasks, tell=counted.append)
    assert (moved.ids, counted) == (("B", "c"), [2])
    assert list(over.read().tasks) == ["a"]
    found = read_archive(queue.root, clock, lambda _problem: None)
    assert [each.task for each in found] == list(tasks)
    assert {each.file for each in found} == set(moved.files) == set(queue.history.iterdir())
    first = json.loads(moved.files[0].read_bytes().splitlines()[0])
    assert first["text"].keys() == {"blob", "size"}
    assert [decode_line(line)["archived"] for line in queue.journal.read_bytes().splitlines()[-2:]] == [
        moved.files[0].name
    ] * 2
    assert fsck.check(queue.root).is_sound


def test_members_that_this_version_does_not_know_come_along(
    queue: QueueFolder, over: JournalTaskStore, clock: Clock
) -> None:
    with queue.journal.open("ab") as journal:
        line = {"seq": 7, "kind": "task", "id": "c", "rev": 3, "at": "x", "by": "a later version", "mood": {"a": [1]}}
        journal.write(encode_line(line))
    moved = archive(queue.root, clock, cancelled(over))
    assert json.loads(moved.files[0].read_bytes().splitlines()[1])["mood"] == {"a": [1]}


@pytest.mark.parametrize("compacts", [False, True])
def test_an_id_can_be_used_again_and_its_attempts_and_revisions_go_on(
    *, compacts: bool, queue: QueueFolder, over: JournalTaskStore, clock: Clock, a_task: Builder
) -> None:
    archive(queue.root, clock, cancelled(over))
    if compacts:
        assert compact(queue.root, clock).history is not None
        assert ids_in_archive(queue, clock) == ["B", "c"]
        assert find_archived(queue.root, clock, "b") is not None
    (again,) = over.add([a_task("b")], by="test")
    assert (again.rev, again.attempt) == (4, 3)
    assert ids_in_archive(queue, clock) == ["c"]
    assert find_archived(queue.root, clock, "b") is None
    over.change("b", lambda task: task.advance(Status.CANCELLED, at=task.created_at), by="test")
    archive(queue.root, clock, cancelled(over))
    found = {each.task.id: each.task.rev for each in read_archive(queue.root, clock, lambda _problem: None)}
    assert found == {"c": 2, "b": 5}


def test_after_a_kill_between_file_and_journal_the_queue_counts_and_archiving_again_is_safe(
    queue: QueueFolder, over: JournalTaskStore, clock: Clock, faulty_disk: Callable[..., Disk]
) -> None:
    with pytest.raises(StorageError):
        archive(queue.root, clock, cancelled(over), disk=faulty_disk(call="write"))
    assert len(list(queue.history.iterdir())) == 1
    assert list(over.read().tasks) == ["a", "B", "c"]
    assert ids_in_archive(queue, clock) == []
    moved = archive(queue.root, clock, cancelled(over))
    assert ids_in_archive(queue, clock) == ["B", "c"]
    found = find_archived(queue.root, clock, "B")
    assert found is not None
    assert found.file == moved.files[0]


def test_a_task_that_was_removed_after_such_a_kill_is_not_taken_for_archived(
    queue: QueueFolder, over: JournalTaskStore, clock: Clock, faulty_disk: Callable[..., Disk]
) -> None:
    with pytest.raises(StorageError):
        archive(queue.root, clock, cancelled(over), disk=faulty_disk(call="write"))
    over.remove("c", lambda _task: None, by="test")
    assert ids_in_archive(queue, clock) == []
    assert find_archived(queue.root, clock, "c") is None


@dataclass
class Meanwhile(Disk):
    """Does something before the first sync of a file, as another process could."""

    deed: Callable[[], object] | None

    def sync_all(self, descriptor: int) -> None:
        if self.deed is not None:
            deed, self.deed = self.deed, None
            deed()
        super().sync_all(descriptor)


def test_what_changes_or_is_waited_for_meanwhile_stays(
    queue: QueueFolder, over: JournalTaskStore, clock: Clock, a_task: Builder, open_store: OpenStore
) -> None:
    other = open_store()

    def change() -> None:
        other.change("B", lambda task: task._replace(title="news"), by="other")
        other.add([a_task("d", after=("c",))], by="other")

    moved = archive(queue.root, clock, cancelled(over), disk=Meanwhile(change))
    assert moved == ((), ())
    assert list(over.read().tasks) == ["a", "B", "c", "d"]
    assert list(queue.history.iterdir()) == []


def test_many_tasks_are_moved_in_several_appends(
    queue: QueueFolder, store: JournalTaskStore, clock: Clock, a_task: Builder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archiving, "BATCH", 300)
    store.add([a_task(f"t{number}", status=Status.CANCELLED) for number in range(700)], by="test")
    moved = archive(queue.root, clock, cancelled(store))
    assert [len(path.read_bytes().splitlines()) for path in moved.files] == [300, 300, 100]
    assert ids_in_archive(queue, clock) == [f"t{number}" for number in range(700)]
    assert list(store.read().tasks) == []


def test_a_line_of_the_archive_that_cannot_be_read_is_told_and_the_others_are_shown(
    queue: QueueFolder, over: JournalTaskStore, clock: Clock
) -> None:
    (path,) = archive(queue.root, clock, cancelled(over)).files
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0].replace(b'"priority":0', b'"priority":"x"'), b"junk\n", *lines[1:]]))
    told: list[str] = []
    assert [each.task.id for each in read_archive(queue.root, clock, told.append)] == ["c"]
    assert [problem.partition(": ")[0] for problem in told] == [f"{path}:1", f"{path}:2"]


def test_a_long_text_that_is_gone_leaves_the_rest_of_its_task(
    queue: QueueFolder, over: JournalTaskStore, clock: Clock
) -> None:
    archive(queue.root, clock, cancelled(over))
    for blob in queue.blobs.iterdir():
        blob.unlink()
    found = find_archived(queue.root, clock, "B")
    assert found is not None
    assert (found.task.text, found.task.attempt) == (None, 3)


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("call", ["write", "sync", "sync_all", "overwrite", "lock"])
def test_whatever_call_fails_each_task_is_in_the_queue_or_in_the_archive(
    call: str,
    error: int,
    tmp_path: Path,
    clock: Clock,
    open_store: OpenStore,
    a_task: Builder,
    faulty_disk: Callable[..., Disk],
) -> None:
    outcomes = []
    for at in range(1, 8):
        queue = create_queue(tmp_path / f"{call}-{at}")
        store = open_store(folder=queue.root)
        store.add([a_task("a"), a_task("b", status=Status.CANCELLED)], by="test")
        try:
            archive(queue.root, clock, cancelled(store), disk=faulty_disk(call=call, at=at, error=error))
            outcomes.append("done")
        except StorageError:
            outcomes.append("refused")
            assert list(store.read().tasks) == ["a", "b"]
        except CorruptStateError:
            outcomes.append("doubt")
            assert fsck.repair(queue.root, clock).is_sound
        there = list(open_store(folder=queue.root).read().tasks)
        assert sorted([*there, *ids_in_archive(queue, clock)]) == ["a", "b"]
        archive(queue.root, clock, cancelled(store))
        assert (list(store.read().tasks), ids_in_archive(queue, clock)) == (["a"], ["b"])
    assert outcomes[-1] == "done"


def whereabouts(
    queue: QueueFolder, over: JournalTaskStore, open_store: OpenStore, clock: Clock, tmp_path: Path, *, syncs: bool
) -> list[tuple[list[str], list[str]]]:
    """Return which tasks would be where after a power cut before each call to the disk, and in the end."""
    seen: list[tuple[list[str], list[str]]] = []

    def look() -> None:
        left = disk.survivors(tmp_path / f"left-{len(seen)}")
        there = [str(identifier) for identifier in open_store(folder=left).read().tasks]
        seen.append((there, ids_in_archive(QueueFolder(left), clock)))

    disk = UncertainDisk(queue.root, before_call=look)
    if not syncs:
        disk.sync_all = lambda _descriptor: None  # type: ignore[method-assign]  # this one disk
    archive(queue.root, clock, cancelled(over), disk=disk)
    look()
    return seen


def test_whenever_the_power_fails_each_task_is_in_the_queue_or_in_the_archive(
    queue: QueueFolder, over: JournalTaskStore, open_store: OpenStore, clock: Clock, tmp_path: Path
) -> None:
    seen = whereabouts(queue, over, open_store, clock, tmp_path, syncs=True)
    assert seen[0] == (["a", "B", "c"], [])
    assert seen[-1] == (["a"], ["B", "c"])
    assert all(each in (seen[0], seen[-1]) for each in seen)


def test_without_the_sync_of_its_file_the_power_cut_takes_what_was_archived(
    queue: QueueFolder, over: JournalTaskStore, open_store: OpenStore, clock: Clock, tmp_path: Path
) -> None:
    """The control of the test above."""
    seen = whereabouts(queue, over, open_store, clock, tmp_path, syncs=False)
    assert seen[-1] == (["a"], [])
