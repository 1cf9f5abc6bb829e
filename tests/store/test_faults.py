"""Every call to the disk goes wrong once: what raised has not happened, what was said is durable, doubt is told."""

import errno
import fcntl
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from orchestration.core.errors import (
    EXIT_DAMAGED,
    CorruptStateError,
    DuplicateTaskError,
    StorageError,
)
from orchestration.core.models import Task
from orchestration.core.ports import Clock
from orchestration.store import fsck
from orchestration.store.layout import QueueFolder, create_queue
from orchestration.store.tasks import JournalTaskStore
from orchestration.support.files import Disk

OpenStore = Callable[..., JournalTaskStore]
Builder = Callable[..., Task]


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS])
def test_a_failed_write_changes_nothing(
    error: int, open_store: OpenStore, queue: QueueFolder, a_task: Builder, faulty_disk: type
) -> None:
    open_store().add([a_task("a")], by="test")
    before = queue.journal.read_bytes()
    with pytest.raises(StorageError, match=r"tasks\.jsonl"):
        open_store(faulty_disk(call="write", error=error)).add([a_task("b")], by="test")
    assert queue.journal.read_bytes() == before
    assert open_store().add([a_task("b")], by="test")[0].rev == 1


def test_a_short_write_is_cut_off_at_every_length(
    open_store: OpenStore, queue: QueueFolder, a_task: Builder, faulty_disk: type
) -> None:
    open_store().add([a_task("a")], by="test")
    before = queue.journal.read_bytes()
    for short in range(0, 2400, 150):
        with pytest.raises(StorageError, match="free some space"):
            open_store(faulty_disk(call="write", short=short)).add([a_task("b"), a_task("c"), a_task("d")], by="test")
        assert queue.journal.read_bytes() == before


def test_a_short_write_that_cannot_be_cut_off_poisons_the_queue(
    open_store: OpenStore, queue: QueueFolder, a_task: Builder, faulty_disk: type, clock: Clock
) -> None:
    open_store().add([a_task("a")], by="test")
    disk = faulty_disk(call="write", short=1500, also=("truncate",))
    with pytest.raises(CorruptStateError, match=r"seq 3 .*fsck --repair"):
        open_store(disk).add([a_task("b"), a_task("c")], by="test")
    assert list(open_store().read().tasks) == ["a"]
    with pytest.raises(CorruptStateError, match="refuses changes"):
        open_store().add([a_task("d")], by="test")
    fsck.repair(queue.root, clock)
    assert open_store().add([a_task("d")], by="test")


def test_a_failed_sync_poisons_the_queue_and_says_which_change_is_in_doubt(
    open_store: OpenStore, queue: QueueFolder, a_task: Builder, faulty_disk: type
) -> None:
    open_store().add([a_task("a")], by="test")
    disk = faulty_disk(call="sync", at=1)
    with pytest.raises(CorruptStateError, match=r"seq 3 to 3 of task b .*in doubt.*fsck --repair") as raised:
        open_store(disk).add([a_task("b")], by="test")
    assert (raised.value.code, raised.value.exit_code) == ("in_doubt", EXIT_DAMAGED)
    assert disk.calls.count("sync") == 2  # the failed one, never again, and the mark's
    for change in (
        lambda store: store.add([a_task("c")], by="test"),
        lambda store: store.change("a", lambda task: task, by="test"),
        lambda store: store.remove("a", lambda _task: None, by="test"),
        lambda store: store.claim(lambda _snapshot: None, lambda task: task, by="test"),
    ):
        with pytest.raises(CorruptStateError, match=r"refuses changes: .* task b") as refused:
            change(open_store())
        assert (refused.value.code, refused.value.exit_code) == ("poisoned", EXIT_DAMAGED)
    told = open_store().read().damage
    assert "in doubt" in told[0].why


def test_repair_takes_the_poison_back_and_the_change_in_doubt_is_durable(
    open_store: OpenStore, queue: QueueFolder, a_task: Builder, faulty_disk: type, clock: Clock
) -> None:
    with pytest.raises(CorruptStateError):
        open_store(faulty_disk(call="sync", at=2)).add([a_task("b")], by="test")
    inode = queue.journal.stat().st_ino
    assert fsck.check(queue.root).poison is not None
    report = fsck.repair(queue.root, clock)
    assert report.is_sound
    assert queue.journal.stat().st_ino != inode
    open_store().add([a_task("c")], by="test")
    assert list(open_store().read().tasks) == ["b", "c"]


def test_a_poisoned_mark_needs_no_new_space(
    open_store: OpenStore, queue: QueueFolder, a_task: Builder, faulty_disk: type
) -> None:
    open_store().add([a_task("a")], by="test")
    before = queue.lock.stat()
    with pytest.raises(CorruptStateError):
        open_store(faulty_disk(call="sync")).add([a_task("b")], by="test")
    after = queue.lock.stat()
    assert (before.st_ino, before.st_size, before.st_blocks) == (after.st_ino, after.st_size, after.st_blocks)


def test_a_mark_that_cannot_be_set_is_said(open_store: OpenStore, a_task: Builder, faulty_disk: type) -> None:
    open_store().add([a_task("a")], by="test")
    with pytest.raises(CorruptStateError, match="could not be marked"):
        open_store(faulty_disk(call="sync", also=("overwrite",))).add([a_task("b")], by="test")


def refusals() -> Iterable[Callable[[JournalTaskStore, Builder], object]]:
    yield lambda store, a_task: store.add([a_task("a")], by="test")
    yield lambda store, a_task: store.change("a", _refuse, by="test")
    yield lambda store, a_task: store.change("a", lambda task: task, by="test")
    yield lambda store, a_task: store.remove("a", _refuse, by="test")


class _NoError(Exception):
    """The caller says no."""


def _refuse(_task: Task) -> Task:
    raise _NoError


@pytest.mark.parametrize("number", range(4))
def test_an_answer_that_rests_on_unsynced_bytes_waits_for_the_disk(
    number: int, open_store: OpenStore, a_task: Builder, faulty_disk: type
) -> None:
    open_store().add([a_task("a")], by="test")
    refusal = list(refusals())[number]
    disk = faulty_disk()
    store = open_store(disk)
    for _ in range(2):
        try:
            refusal(store, a_task)
        except (DuplicateTaskError, _NoError):
            continue
    assert disk.calls.count("sync") == 1  # once; after that it is known
    with pytest.raises(CorruptStateError, match="what it read"):
        refusal(open_store(faulty_disk(call="sync")), a_task)


def test_the_lock_is_given_back_before_the_disk_is_waited_for(
    open_store: OpenStore, queue: QueueFolder, a_task: Builder
) -> None:
    class Probe(Disk):
        free: bool | None = None

        def sync(self, descriptor: int) -> None:
            if queue.journal.exists() and os.fstat(descriptor).st_ino == queue.journal.stat().st_ino:
                with queue.lock.open("rb") as lock:
                    try:
                        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        self.free = True
                    except BlockingIOError:
                        self.free = False
            super().sync(descriptor)

    probe = Probe()
    open_store(probe).add([a_task("a")], by="test")
    assert probe.free is True


class PowerCut(Disk):
    """Knows what of the journal a power cut would leave: the bytes at the last sync."""

    def __init__(self, journal: Path, *, syncs: bool = True) -> None:
        self._journal = journal
        self._syncs = syncs
        self.durable = b""

    def sync(self, descriptor: int) -> None:
        if self._syncs and self._journal.exists() and os.fstat(descriptor).st_ino == self._journal.stat().st_ino:
            self.durable = self._journal.read_bytes()


def survivors(
    disk: PowerCut, open_store: OpenStore, queue: QueueFolder, a_task: Builder
) -> tuple[list[str], list[str]]:
    """Return what was acknowledged, and what is there after the power was cut."""
    store = open_store(disk)
    said = [store.add([a_task(f"t{number}")], by="test")[0].id for number in range(5)]
    queue.journal.write_bytes(disk.durable)
    return list(map(str, said)), list(open_store().read().tasks)


def test_what_was_acknowledged_was_synced_after_it_was_written(
    open_store: OpenStore, queue: QueueFolder, a_task: Builder
) -> None:
    said, there = survivors(PowerCut(queue.journal), open_store, queue, a_task)
    assert there == said


def test_without_the_sync_a_power_cut_takes_acknowledged_tasks(
    open_store: OpenStore, queue: QueueFolder, a_task: Builder
) -> None:
    """The control of the test above."""
    said, there = survivors(PowerCut(queue.journal, syncs=False), open_store, queue, a_task)
    assert (len(said), there) == (5, [])


CALLS = ("write", "sync", "sync_all", "replace", "truncate", "overwrite")


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("call", CALLS)
def test_whatever_call_fails_an_add_is_there_exactly_when_it_was_said_or_told_to_be_in_doubt(
    call: str, error: int, tmp_path: Path, open_store: OpenStore, a_task: Builder, faulty_disk: type
) -> None:
    outcomes = []
    for at in range(1, 8):
        folder = create_queue(tmp_path / f"{call}-{at}").root
        disk = faulty_disk(call=call, at=at, error=error)
        try:
            open_store(disk, folder).add([a_task("a", text="x" * 300_000), a_task("b")], by="test")
            outcome = "done"
        except StorageError:
            outcome = "refused"
        except CorruptStateError:
            outcome = "doubt"
        there = list(open_store(folder=folder).read().tasks)
        assert there == ([] if outcome == "refused" else ["a", "b"])
        outcomes.append(outcome)
    assert outcomes[-1] == "done"  # past the last call of this kind


@pytest.mark.parametrize("call", ["write", "sync_all", "replace", "overwrite"])
def test_whatever_call_fails_a_repair_loses_no_byte(
    call: str, open_store: OpenStore, queue: QueueFolder, a_task: Builder, faulty_disk: type, clock: Clock
) -> None:
    store = open_store()
    for name in "abc":
        store.add([a_task(name)], by="test")
    content = queue.journal.read_bytes().replace(b'"id":"b"', b'"id":"X"')
    for at in range(1, 12):
        queue.journal.write_bytes(content)
        disk = faulty_disk(call=call, at=at)
        try:
            fsck.repair(queue.root, clock, disk=disk)
        except StorageError:
            good = [line for line in content.splitlines(keepends=True) if b'"X"' not in line]
            assert queue.journal.read_bytes() in {content, b"".join(good)}
        fsck.repair(queue.root, clock)
        assert fsck.check(queue.root).is_sound
        assert any(path.read_bytes() == content for path in queue.history.glob("damaged-*"))
