"""Compaction that is disturbed: by damage, doubt, others who write, a disk that fails, and its own earlier deaths."""

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from orchestration.core.errors import BusyError, CorruptStateError, StorageError
from orchestration.core.models import Task
from orchestration.core.status import Status
from orchestration.store import fsck
from orchestration.store.compaction import compact
from orchestration.store.layout import QueueFolder, create_queue
from orchestration.store.lock import JournalLock
from orchestration.store.tasks import JournalTaskStore
from orchestration.support.files import Disk
from tests.store.indexed import Clock, built, start
from tests.store.test_compaction import left_in, make_history, meaning

OpenStore = Callable[..., JournalTaskStore]
Builder = Callable[..., Task]


def test_damage_and_doubt_refuse_it(queue: QueueFolder, store: JournalTaskStore, clock: Clock) -> None:
    make_history(store)
    sound = queue.journal.read_bytes()
    bent = sound.replace(b'"two"', b'"TWO"', 1)
    two_bad_lines = sound + b"one\ntwo\n"
    for content in (bent, two_bad_lines, two_bad_lines + b"three"):
        queue.journal.write_bytes(content)
        with pytest.raises(CorruptStateError, match="nothing was compacted; run: taskq fsck --repair"):
            compact(queue.root, clock)
        assert queue.journal.read_bytes() == content
    queue.journal.write_bytes(sound)
    with JournalLock(queue.lock).hold() as held:
        held.set_poison("a disk that did not answer")
    with pytest.raises(CorruptStateError, match="refuses changes: a disk that did not answer"):
        compact(queue.root, clock)
    assert queue.journal.read_bytes() == sound
    assert left_in(queue) == []


class Interrupted(Disk):
    """Lets *deed* happen at the *at*-th sync, as another process could do it then."""

    def __init__(self, at: int, deed: Callable[[], object]) -> None:
        self._left = at
        self._deed = deed

    def sync_all(self, descriptor: int) -> None:
        self._left -= 1
        if self._left == 0:
            self._deed()
        super().sync_all(descriptor)


def test_what_is_added_while_the_new_file_is_written_comes_along(
    queue: QueueFolder, store: JournalTaskStore, clock: Clock, open_store: OpenStore
) -> None:
    make_history(store)
    seq = store.read().seq
    other = open_store()

    def add() -> None:
        other.add([built("late-1"), built("late-2")], by="other")
        other.change("t2", start, by="other")

    assert compact(queue.root, clock, disk=Interrupted(1, add)).history is not None
    tasks = open_store().read().tasks
    assert [*tasks] == ["t0", "t2", "t3", "t4", "t5", "late-1", "late-2"]
    assert tasks["t2"].status is Status.PLANNING
    assert other.read().seq == seq + 3


def test_of_two_at_once_the_second_gives_way(
    queue: QueueFolder, store: JournalTaskStore, clock: Clock, open_store: OpenStore
) -> None:
    make_history(store)
    before = open_store().read().tasks
    names = list(before)
    disk = Interrupted(1, lambda: compact(queue.root, clock))
    with pytest.raises(BusyError, match="was replaced while it was compacted"):
        compact(queue.root, clock, disk=disk)
    assert list(open_store().read().tasks) == names
    assert [name for name in left_in(queue) if name.endswith(".tmp")] == []


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("call", ["write", "sync", "sync_all", "replace", "overwrite", "lock"])
def test_whatever_call_fails_the_queue_is_the_same_and_it_works_the_next_time(
    call: str, error: int, tmp_path: Path, clock: Clock, open_store: OpenStore, faulty_disk: Callable[..., Disk]
) -> None:
    outcomes = []
    for at in range(1, 12):
        queue = create_queue(tmp_path / f"{call}-{at}")
        make_history(open_store(folder=queue.root))
        before = meaning(queue.journal.read_bytes())
        try:
            compact(queue.root, clock, disk=faulty_disk(call=call, at=at, error=error))
            outcomes.append("done")
        except StorageError:
            outcomes.append("refused")
            assert left_in(queue) == []
        except CorruptStateError:
            outcomes.append("doubt")
            with pytest.raises(CorruptStateError, match="the disk did not confirm the compacted journal"):
                open_store(folder=queue.root).add([built("next")], by="test")
            assert fsck.repair(queue.root, clock).is_sound
        assert meaning(queue.journal.read_bytes()) == before
        with suppress(BusyError):
            compact(queue.root, clock)
        assert meaning(queue.journal.read_bytes()) == before
        assert open_store(folder=queue.root).add([built("next")], by="test")
    assert outcomes[-1] == "done"
    if call == "sync_all":
        assert {"refused", "doubt"} <= set(outcomes)


def test_who_listens_can_end_it_and_the_journal_is_as_it_was(
    queue: QueueFolder, store: JournalTaskStore, clock: Clock
) -> None:
    make_history(store)
    before = queue.journal.read_bytes()

    def enough(count: int) -> None:
        if count == 2:
            raise BusyError("enough")

    with pytest.raises(BusyError, match="enough"):
        compact(queue.root, clock, tell=enough)
    assert queue.journal.read_bytes() == before
    assert left_in(queue) == []


def test_files_of_killed_compactions_are_taken_away_and_no_others(
    queue: QueueFolder, store: JournalTaskStore, clock: Clock
) -> None:
    make_history(store)
    abandoned = queue.root / ".tasks.jsonl.0123456789ab.tmp"
    abandoned.write_bytes(b"half of it")
    kept = [queue.root / name for name in (".tasks.jsonl.mine.tmp", "tasks.jsonl.0123456789ab.tmp", ".README.md.tmp")]
    for path in kept:
        path.write_bytes(b"mine")
    link = queue.root / ".tasks.jsonl.aaaaaaaaaaaa.tmp"
    link.symlink_to(kept[0])
    of_the_journal = queue.history / "journal-1-7.jsonl"
    os.link(queue.journal, of_the_journal)
    report = compact(queue.root, clock)
    assert not abandoned.exists()
    assert all(path.read_bytes() == b"mine" for path in kept)
    assert link.is_symlink()
    assert [path.name for path in queue.history.iterdir()] == [report.history.name if report.history else ""]
