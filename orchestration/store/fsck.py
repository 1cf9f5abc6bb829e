"""Finding damage in a queue and setting it aside.

Guarantees: repair keeps every good line byte for byte and in order, and every other byte in ``history/``; at each
moment the journal is the old file or the new one, whole. Repairing again changes nothing.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from orchestration.core.errors import CorruptStateError
from orchestration.core.naming import id_key
from orchestration.core.reports import FsckReport
from orchestration.core.snapshot import Damage
from orchestration.store.blobs import Blobs, referred_blob
from orchestration.store.codec import decode_task
from orchestration.store.entry import Entry
from orchestration.store.history import keep_bytes, keep_file, stamp
from orchestration.store.layout import QueueFolder
from orchestration.store.ledger import Ledger, Tail
from orchestration.store.line import BadRecordError
from orchestration.store.lock import JournalLock
from orchestration.store.record import Record, read_record
from orchestration.store.values import encode_moment
from orchestration.support.files import REAL_DISK, Disk, read_from, storage_errors, write_durably

if TYPE_CHECKING:
    from orchestration.core.ports import Clock


@dataclass(frozen=True, slots=True)
class _Scan:
    ledger: Ledger
    lines: int
    good: Sequence[bytes]
    bad: Sequence[bytes]
    damage: tuple[Damage, ...]
    tail: Tail


def check(folder: Path) -> FsckReport:
    """Look at every line and blob of the queue; change nothing.

    Raises: StorageError; NewerVersionError.
    """
    queue = QueueFolder(folder)
    return _report(queue, _scan(_content(queue.journal)), JournalLock(queue.lock).peek())


def repair(folder: Path, clock: "Clock", *, disk: Disk = REAL_DISK) -> FsckReport:
    """Set damage aside in ``history/``, take back the poison mark, and say how the queue is now.

    Raises: StorageError, with the journal as it was; NewerVersionError.
    """
    queue = QueueFolder(folder)
    at = encode_moment(clock.now())
    with JournalLock(queue.lock, disk=disk).hold() as held:
        content = _content(queue.journal)
        scan = _scan(content)
        kept: tuple[Path, ...] = ()
        if scan.damage or scan.tail.content or held.poison() is not None:
            kept = _rewrite(queue, scan, at, disk) if content else ()
            held.set_poison(None)
        return replace(_report(queue, _scan(_content(queue.journal)), held.poison()), kept=kept)


def _rewrite(queue: QueueFolder, scan: _Scan, at: str, disk: Disk) -> tuple[Path, ...]:
    """Put a new generation of the journal in the place of the old, which is kept where it was damaged."""
    kept = []
    if scan.tail.content:
        kept.append(keep_bytes(queue.history, f"torn-{stamp(at)}-{scan.tail.offset}", scan.tail.content, disk=disk))
    if scan.bad:
        kept.append(keep_bytes(queue.history, f"bad-{stamp(at)}", b"".join(scan.bad), disk=disk))
        kept.append(keep_file(queue.history, f"damaged-{stamp(at)}.jsonl", queue.journal, disk=disk))
    write_durably(queue.journal, b"".join(scan.good), disk=disk)
    return tuple(kept)


def _content(journal: Path) -> bytes:
    with storage_errors("read", journal):
        try:
            descriptor = os.open(journal, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return b""
        try:
            return read_from(descriptor, 0)
        finally:
            os.close(descriptor)


def _scan(content: bytes) -> _Scan:
    """Judge every line as it comes: good means that it reads, and that its task can be read after it."""
    tail = Ledger().absorb(content)
    ledger = Ledger()
    good, bad, damage = [], [], []
    offset = 0
    lines = content[: tail.offset].split(b"\n")[:-1]
    for number, raw in enumerate(lines, start=1):
        try:
            if raw.strip():
                _fold(ledger, read_record(raw, line=number, offset=offset))
            good.append(raw + b"\n")
        except (BadRecordError, CorruptStateError) as error:
            bad.append(raw + b"\n")
            damage.append(Damage(line=number, offset=offset, why=str(error)))
        offset += len(raw) + 1
    if tail.damage is not None:
        damage.append(tail.damage)
    return _Scan(ledger, len(lines), good, bad, tuple(damage), tail)


def _fold(ledger: Ledger, record: Record) -> None:
    """Take one line, or leave the index as it was."""
    key = id_key(record.id)
    entry = ledger.touched.get(key) if record.kind == "task" else None
    before = None if entry is None else entry.copy()
    ledger.fold(record)
    after = ledger.find(record.id) if record.kind == "task" else None
    if after is None:
        return
    try:
        fields = {name: value for name, value in after.fields().items() if referred_blob(value) is None}
        decode_task({**fields, "id": after.id})
    except (BadRecordError, CorruptStateError):
        if before is None:
            del ledger.touched[key]
        else:
            ledger.touched[key] = before
        raise


def _report(queue: QueueFolder, scan: _Scan, poison: str | None) -> FsckReport:
    blobs = Blobs(queue.blobs)
    problems = [blobs.problem({**entry.fields(), "id": entry.id}) for entry in _present(scan.ledger)]
    return FsckReport(
        queue=scan.ledger.queue,
        seq=scan.ledger.seq,
        lines=scan.lines,
        tasks=len(_present(scan.ledger)),
        damage=scan.damage,
        torn=len(scan.tail.content),
        poison=poison,
        blobs=tuple(problem for problem in problems if problem is not None),
    )


def _present(ledger: Ledger) -> list[Entry]:
    return [entry for entry in ledger.touched.values() if not entry.removed]
