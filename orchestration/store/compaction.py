"""The journal written anew, as short as it can be; the old file goes to the history.

Guarantees: at each moment the journal is the old file or the new one, whole and durable; what others append meanwhile
comes along; nothing is compacted over damage or doubt.
Not responsible for: what is written instead of a task's lines (``store.states``), when (``assembly``).
"""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from orchestration.core.errors import BusyError, CorruptStateError, StorageError, TaskqError
from orchestration.core.reports import CompactReport
from orchestration.store.history import keep_file
from orchestration.store.index import Index
from orchestration.store.journal import REPAIR_HINT, refuse_poison
from orchestration.store.layout import QueueFolder
from orchestration.store.ledger import Ledger
from orchestration.store.line import BadRecordError
from orchestration.store.lock import HeldLock, JournalLock
from orchestration.store.new_journal import NewJournal, new_journal, remove_abandoned
from orchestration.store.reader import JournalReader
from orchestration.store.record import read_record
from orchestration.store.scan import scan
from orchestration.store.states import Source, before_tasks, damaged, of_task
from orchestration.store.sweep import open_journal
from orchestration.store.values import encode_moment
from orchestration.support.files import (
    REAL_DISK,
    Disk,
    read_from,
    storage_errors,
    sync_folder,
    write_durably,
)
from orchestration.support.mounts import refuse_network

if TYPE_CHECKING:
    from orchestration.core.ports import Clock

WORTH: Final = 2
"""A journal is compacted by itself when it is more than this many times as large as it would be then."""
LEAST_SIZE: Final = 8 * 1024**2
"""And when it is larger than this many bytes."""

Tell = Callable[[int], object]
"""Is told how many tasks are written."""


def compact(
    folder: Path,
    clock: "Clock",
    *,
    at_least: float = 1.0,
    tell: Tell = lambda _count: None,
    disk: Disk = REAL_DISK,
) -> CompactReport:
    """Compact the journal, if it is more than *at_least* times as large as it would be then.

    Raises: CorruptStateError when it is damaged or in doubt, with nothing changed; BusyError when another process
    compacted it meanwhile; StorageError, with the journal whole.
    """
    queue = QueueFolder(folder)
    with open_journal(queue.journal) as journal:
        if journal is None:
            return CompactReport(before=0, after=0, tasks=0, history=None)
        refuse_network(queue.root)
        lock = JournalLock(queue.lock, disk=disk)
        with lock.hold() as held:
            refuse_poison(held)
            remove_abandoned(queue)
        with storage_errors("read", queue.journal):
            extent = scan(journal)
        if extent.damage:
            raise damaged(queue, f"line {extent.damage[0].line}: {extent.damage[0].why}")
        with new_journal(queue, disk) as target:
            source = Source(queue, journal, extent)
            tasks = _write(source, target, at=encode_moment(clock.now()), tell=tell)
            if extent.end <= at_least * target.size:
                return CompactReport(before=extent.end, after=extent.end, tasks=tasks, history=None)
            target.sync()  # most of it, while others may still write
            with lock.hold() as held:
                report = _take_over(source, target, held, tasks)
    with suppress(TaskqError):  # whoever comes next makes up for it
        JournalReader(queue, clock).prepare()
    return report


def is_worth_a_look(folder: Path) -> bool:
    """Return whether the journal is so large beside the lines that added its tasks that compacting may be worth it."""
    queue = QueueFolder(folder)
    with suppress(OSError, StorageError), open_journal(queue.journal) as journal:
        if journal is None:
            return False
        size = os.fstat(journal).st_size
        if size <= LEAST_SIZE or size <= WORTH * _looked_at(queue, journal):
            return False
        index = Index.open(queue.index_file, journal)
        if index is None:
            return False
        index.close()
        return size > WORTH * index.head.least
    return False


def note_that_it_was_not_worth_it(folder: Path) -> None:
    """Keep in mind, as long as the index's folder is there, that this journal of this size needs no look."""
    queue = QueueFolder(folder)
    with suppress(OSError, StorageError):
        status = queue.journal.stat()
        write_durably(_note(queue), f"{status.st_ino} {status.st_size}\n".encode("ascii"))


def _looked_at(queue: QueueFolder, journal: int) -> int:
    try:
        inode, size = map(int, _note(queue).read_bytes().split())
    except (OSError, ValueError):
        return 0
    return size if inode == os.fstat(journal).st_ino else 0


def _note(queue: QueueFolder) -> Path:
    return queue.index_file.with_name("compaction")


def _write(source: Source, target: NewJournal, *, at: str, tell: Tell) -> int:
    """Write what the journal says, and return of how many tasks."""
    for line in before_tasks(source, at=at):
        target.write(line)
    tasks = 0
    for state, _ in source.extent.tasks:
        for line in of_task(source, state, at=at):
            target.write(line)
        tasks += state.status is not None
        tell(tasks)
    return tasks


# --- taking its place -----------------------------------------------------------------------------------------------


def _take_over(source: Source, target: NewJournal, held: HeldLock, tasks: int) -> CompactReport:
    """Add what was appended since, and put the new file in the place of the old."""
    queue, journal, extent = source
    refuse_poison(held)
    with storage_errors("read", queue.journal):
        ours, there = os.fstat(journal), queue.journal.lstat()
    if (ours.st_dev, ours.st_ino) != (there.st_dev, there.st_ino):
        raise BusyError(f"{queue.journal} was replaced while it was compacted; nothing was changed; try again")
    _remove_own_names(queue)
    target.write(_appended_since(source))
    target.sync()
    try:
        name = f"journal-{extent.compacted + 1}-{extent.seq}.jsonl"
        kept = keep_file(queue.history, name, queue.journal, disk=target.disk)
        with storage_errors("replace", queue.journal):
            target.disk.replace(target.path, queue.journal)
    except BaseException:
        _remove_own_names(queue)
        raise
    try:
        sync_folder(queue.root, disk=target.disk)
    except StorageError as error:
        why = f"the disk did not confirm the compacted journal ({error}), so that it is in doubt which one is there"
        held.set_poison(why)
        raise CorruptStateError(f"{why}; check the disk, then {REPAIR_HINT}", code="in_doubt") from error
    return CompactReport(before=ours.st_size, after=target.size, tasks=tasks, history=kept)


def _appended_since(source: Source) -> bytes:
    """Return the whole appends since the scan; an end that is no whole append stays in the old file alone.

    Raises: CorruptStateError for damage, BusyError for lines that only another scan can put in their place.
    """
    queue, journal, extent = source
    with storage_errors("read", queue.journal):
        content = read_from(journal, extent.end, os.fstat(journal).st_size - extent.end)
    ledger = Ledger()
    ledger.seq, ledger.compacted = extent.seq, extent.compacted
    tail = ledger.absorb(content)
    if tail.damage is not None and b"\n" in tail.content.rstrip(b"\n"):
        raise damaged(queue, f"its end: {tail.damage.why}")
    whole = content[: ledger.offset]
    for raw in whole.split(b"\n"):
        if not raw.strip(b" \t\r"):
            continue
        try:
            seq = read_record(raw, line=0, offset=0).seq
        except BadRecordError as error:
            raise damaged(queue, f"its end: {error}") from error
        if seq is None or seq <= extent.seq:
            raise BusyError(f"a line without a new seq was added to {queue.journal} meanwhile; try again")
    return whole


def _remove_own_names(queue: QueueFolder) -> None:
    """Take away the names in the history that compactions gave to the journal before they failed."""
    with suppress(OSError):
        journal = queue.journal.lstat()
        for path in queue.history.glob("journal-*.jsonl"):
            status = path.lstat()
            if (status.st_dev, status.st_ino) == (journal.st_dev, journal.st_ino):
                path.unlink()
