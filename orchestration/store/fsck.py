"""Finding damage in a queue and setting it aside.

Guarantees: repair keeps every good line byte for byte and in order, and every other byte in ``history/``; at each
moment the journal is the old file or the new one, whole. Repairing again changes nothing. An index that is wrong is
taken away; blobs, attempts and refs never are.
"""

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from orchestration.core.reports import FsckReport
from orchestration.store.blobs import Blobs
from orchestration.store.history import archives, keep_bytes, keep_file, stamp
from orchestration.store.index_check import index_problem
from orchestration.store.inspection import NOTHING, Inspection, inspect, shortened
from orchestration.store.layout import QueueFolder
from orchestration.store.line import encode_line
from orchestration.store.lock import JournalLock
from orchestration.store.new_journal import new_journal
from orchestration.store.sweep import open_journal
from orchestration.store.values import encode_moment
from orchestration.support.files import REAL_DISK, Disk, storage_errors, sync_folder

if TYPE_CHECKING:
    from orchestration.core.ports import Clock

_PIECE: Final = 1 << 20
_HASH: Final = r"[0-9a-f]{64}"
_REFERENCE: Final = rb'"blob": ?"([0-9a-f]{64})"'


def check(folder: Path) -> FsckReport:
    """Look at every line and blob of the queue, and at its index; change nothing.

    Raises: StorageError; NewerVersionError.
    """
    queue = QueueFolder(folder)
    with open_journal(queue.journal) as journal, storage_errors("read", queue.journal):
        found = NOTHING if journal is None else inspect(journal, Blobs(queue.blobs))
        problem = None if journal is None else index_problem(queue, journal)
    return _report(queue, found, poison=JournalLock(queue.lock).peek(), index=problem)


def repair(folder: Path, clock: "Clock", *, disk: Disk = REAL_DISK) -> FsckReport:
    """Set damage aside in ``history/``, take back the poison mark, and say how the queue is now.

    Raises: StorageError, with the journal as it was; NewerVersionError.
    """
    queue = QueueFolder(folder)
    at = encode_moment(clock.now())
    notes: tuple[str, ...] = ()
    with JournalLock(queue.lock, disk=disk).hold() as held:
        kept: tuple[Path, ...] = ()
        with open_journal(queue.journal) as journal, storage_errors("read", queue.journal):
            before = NOTHING if journal is None else inspect(journal, Blobs(queue.blobs))
            problem = None if journal is None else index_problem(queue, journal)
            if before.damage or before.tail.content or held.poison() is not None:
                kept = () if journal is None else _rewrite(queue, journal, before, at, disk)
                held.set_poison(None)
        if problem is not None:
            notes = (f"the index was wrong ({problem}) and is taken away; it is made anew when it is needed",)
            with suppress(FileNotFoundError), storage_errors("remove", queue.index_file):
                queue.index_file.unlink()
        after = check(folder)
        return replace(after, kept=kept, lost=before.lost, notes=(*notes, *after.notes))


def _rewrite(queue: QueueFolder, journal: int, found: Inspection, at: str, disk: Disk) -> tuple[Path, ...]:
    """Put a new generation of the journal in the place of the old, which is kept where it was damaged."""
    kept = []
    if found.tail.content:
        kept.append(keep_bytes(queue.history, f"torn-{stamp(at)}-{found.tail.offset}", found.tail.content, disk=disk))
    if found.bad:
        bad = b"".join(os.pread(journal, length, offset) for offset, length in found.bad)
        kept.append(keep_bytes(queue.history, f"bad-{stamp(at)}", bad, disk=disk))
        kept.append(keep_file(queue.history, f"damaged-{stamp(at)}.jsonl", queue.journal, disk=disk))
    with new_journal(queue, disk) as target:
        for content in _good(journal, found):
            target.write(content)
        if found.is_open:  # its last line was bad; without an end, the good ones of the same change would not count
            target.write(encode_line({"seq": found.seq + 1, "kind": "repair", "at": at, "by": "fsck"}))
        target.sync()
        with storage_errors("write", queue.journal):
            disk.replace(target.path, queue.journal)
    sync_folder(queue.root, disk=disk)
    return tuple(kept)


def _good(journal: int, found: Inspection) -> Iterator[bytes]:
    """Yield what is not bad, in pieces."""
    start = 0
    for offset, length in (*found.bad, (found.end, 0)):
        for place in range(start, offset, _PIECE):
            yield os.pread(journal, min(_PIECE, offset - place), place)
        start = offset + length


def _report(queue: QueueFolder, found: Inspection, *, poison: str | None, index: str | None) -> FsckReport:
    unnamed = sorted(_blobs(queue) - found.named - _archived_blobs(archives(queue.history)))
    return FsckReport(
        queue=found.queue,
        seq=found.seq,
        lines=found.lines,
        tasks=found.tasks,
        damage=found.damage,
        torn=len(found.tail.content),
        poison=poison,
        blobs=found.blobs,
        index=index,
        chain=found.chain,
        unnamed=shortened(unnamed),
    )


def _blobs(queue: QueueFolder) -> set[str]:
    with storage_errors("read", queue.blobs):
        try:
            return {path.name for path in queue.blobs.iterdir() if re.fullmatch(_HASH, path.name)}
        except FileNotFoundError:
            return set()


def _archived_blobs(files: Iterable[Path]) -> set[str]:
    names: set[str] = set()
    for path in files:
        with storage_errors("read", path), path.open("rb") as lines:
            for line in lines:
                names.update(name.decode("ascii") for name in re.findall(_REFERENCE, line))
    return names
