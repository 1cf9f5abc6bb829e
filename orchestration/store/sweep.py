"""One pass over a journal, line by line, for who needs all of it and no index.

Guarantees: one moment is seen, that of the last whole append when the pass began, whatever others write meanwhile; what
counts as whole, torn or damaged is as everywhere (docs/reference/journal.md). No more than one append is in memory.
"""

import os
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from orchestration.core.naming import id_key
from orchestration.core.snapshot import Damage
from orchestration.store.line import BadRecordError
from orchestration.store.record import Record, read_record
from orchestration.support.files import storage_errors

_PIECE: Final = 1 << 20


class Swept(NamedTuple):
    """What a pass found. The first *end* bytes are whole appends and damage.

    *tasks* has, by the key of the id and in the order of adding, offset and size of each line of a task, oldest first.
    """

    end: int
    seq: int
    queue: str | None
    tasks: "dict[str, array[int]]"
    damage: tuple[Damage, ...]


class _Bad(NamedTuple):
    damage: Damage


@contextmanager
def open_journal(path: Path) -> Iterator[int | None]:
    """Open the journal for reading; None when there is none yet. Whoever replaces the file leaves us the old one."""
    with storage_errors("read", path):
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            yield None
            return
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def sweep(descriptor: int) -> Swept:
    """Read the journal to its end as it is now. Raises: NewerVersionError."""
    return _Sweep().run(descriptor)


class Stored(NamedTuple):
    """What the lines of one task come to; *is_ours* says that taskq wrote each of them, and that none was changed."""

    fields: dict[str, Any]
    is_ours: bool


def read_task(descriptor: int, places: "array[int]") -> Stored:
    """Return all fields of the task whose lines are at *places*, the newest value of each. Raises: BadRecordError."""
    fields: dict[str, Any] = {}
    is_ours = True
    for offset, size in zip(places[::2], places[1::2], strict=True):
        record = read_record(os.pread(descriptor, size, offset), line=0, offset=offset)
        rev = record.rev if record.rev is not None else fields.get("rev", 0) + 1
        fields |= {**record.fields(), "id": record.id, "rev": rev}
        is_ours = is_ours and record.members is None  # known by its head and its checksum
    return Stored(fields, is_ours)


class _Sweep:
    """Folds lines into places; a line waits until all lines of its append are there."""

    def __init__(self) -> None:
        self._end = 0
        self._seq = 0
        self._compacted = 0
        self._queue: str | None = None
        self._tasks: dict[str, array[int]] = {}
        self._damage: list[Damage] = []
        self._waiting: list[tuple[Record | _Bad, int, int]] = []

    def run(self, descriptor: int) -> Swept:
        for number, (raw, offset) in enumerate(_lines(descriptor, os.fstat(descriptor).st_size), start=1):
            end = offset + len(raw) + 1
            item = _read(raw, number, offset)
            if item is not None:
                self._waiting.append((item, len(raw), end))
            elif self._waiting:
                continue
            if item is None or (isinstance(item, Record) and (item.more == 0 or self._is_state(item))):
                self._settle(len(self._waiting))
                self._end = end
        self._settle_damage()
        return Swept(self._end, self._seq, self._queue, self._tasks, tuple(self._damage))

    def _settle(self, count: int) -> None:
        for item, size, end in self._waiting[:count]:
            if isinstance(item, _Bad):
                self._damage.append(item.damage)
            else:
                self._fold(item, size)
            self._end = end
        del self._waiting[:count]

    def _settle_damage(self) -> None:
        """Settle bad lines at the end that no crash explains: more than one, or one with good lines behind."""
        items = [item for item, _, _ in self._waiting]
        bad = next((place for place, item in enumerate(items) if isinstance(item, Record)), len(items))
        if bad > 1 or (bad == 1 and len(items) > 1):
            self._settle(bad)

    def _fold(self, record: Record, size: int) -> None:
        if record.kind == "task":
            if not self._fold_task(record, size):
                why = f"a change of task {record.id}, which was not added before"
                self._damage.append(Damage(line=record.line, offset=record.offset, why=why))
                return
        elif record.kind == "queue" and record.id:
            self._queue = self._queue or record.id
            if record.members is not None and record.members.get("compacted") is True:
                self._compacted = record.seq or 0
        if record.seq is not None:
            self._seq = max(self._seq, record.seq)
        elif not 0 < self._compacted == self._seq:
            self._seq += 1

    def _fold_task(self, record: Record, size: int) -> bool:
        """Take a line of a task; False when it changes one that is not there."""
        key = id_key(record.id)
        if record.removed:
            return self._tasks.pop(key, None) is not None or self._is_state(record)
        if key not in self._tasks and not record.full:
            return False
        self._tasks.setdefault(key, array("Q")).extend((record.offset, size))
        return True

    def _is_state(self, record: Record) -> bool:
        """Say whether the line was there when the journal was compacted: each such line stands for itself."""
        return record.seq is not None and record.seq <= self._compacted


def _read(raw: bytes, number: int, offset: int) -> Record | _Bad | None:
    if not raw.strip(b" \t\r"):
        return None
    try:
        return read_record(raw, line=number, offset=offset)
    except BadRecordError as error:
        return _Bad(Damage(line=number, offset=offset, why=str(error)))


def _lines(descriptor: int, size: int) -> Iterator[tuple[bytes, int]]:
    """Yield each whole line below *size*, without its newline, and where it starts."""
    start, rest = 0, b""
    for offset in range(0, size, _PIECE):
        piece = os.pread(descriptor, min(_PIECE, size - offset), offset)
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            yield line, start
            start += len(line) + 1
