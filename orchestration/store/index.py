"""The journal folded into tasks, in memory: a cache that is rebuilt when in doubt.

Responsible for: which task each line changes, and what of the journal's end is no whole append.
Guarantees: an append of several lines is seen whole or not at all; damage never hides other lines; members that
this version does not know survive.
Not responsible for: reading files (``store.journal``), task values (``store.codec``).
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from orchestration.core.naming import id_key
from orchestration.core.snapshot import Damage
from orchestration.store.line import BadRecordError
from orchestration.store.record import Record, read_record

if TYPE_CHECKING:
    from orchestration.core.models import Task

GUARD_BYTES: Final = 64


class Entry:
    """One task as its lines say; *task* is its decoded form once somebody asked, *fault* why there is none."""

    __slots__ = ("fault", "id", "known", "line", "offset", "pending", "rev", "task")

    def __init__(self, identifier: str, *, rev: int, line: int, offset: int) -> None:
        self.id = identifier
        self.rev = rev
        self.line = line
        self.offset = offset
        self.pending: list[Record] = []
        self.known: dict[str, Any] = {}
        self.task: Task | None = None
        self.fault: str | None = None

    def copy(self) -> "Entry":
        """Return an entry that later changes of this one do not touch."""
        copied = Entry(self.id, rev=self.rev, line=self.line, offset=self.offset)
        copied.pending = list(self.pending)
        copied.known = self.known
        return copied

    def fields(self) -> dict[str, Any]:
        """Return all fields of the task, the newest value of each. Raises: BadRecordError."""
        while self.pending:
            self.known = {**self.known, **self.pending[0].fields()}
            del self.pending[0]
        return {**self.known, "rev": self.rev}

    def add(self, record: Record) -> None:
        """Take one more change of this task."""
        self.pending.append(record)
        self.rev = record.rev if record.rev is not None else self.rev + 1
        self.line, self.offset = record.line, record.offset
        self.task = self.fault = None


class Tail(NamedTuple):
    """Bytes after the last whole append. *damage* is None when they may be a write under way or cut short."""

    offset: int
    content: bytes
    damage: Damage | None


class _BadLine(NamedTuple):
    damage: Damage
    next_offset: int


class Index:
    """All that the first *offset* bytes of one journal file say."""

    def __init__(self) -> None:
        self.offset = 0
        self.lines = 0
        self.seq = 0
        self.queue: str | None = None
        self.guard = b""
        self.entries: dict[str, Entry] = {}
        self.removed: dict[str, Entry] = {}
        self.damage: list[Damage] = []

    def find(self, identifier: str) -> Entry | None:
        """Return the task of this id, case ignored."""
        return self.entries.get(id_key(identifier))

    def absorb(self, content: bytes) -> Tail:
        """Fold the bytes that follow what is folded already; return what cannot be folded yet.

        Raises: NewerVersionError; then this index is of no further use.
        """
        lines = content.split(b"\n")
        lines.pop()
        waiting: list[Record | _BadLine] = []
        start = offset = self.offset
        number = self.lines
        for raw in lines:
            number += 1
            item = _read(raw, number, offset)
            offset += len(raw) + 1
            if item is not None:
                waiting.append(item)
            if item is None and waiting:
                continue
            if item is None or (isinstance(item, Record) and item.more == 0):
                self._settle(waiting, line=number, offset=offset)
                waiting = []
        waiting = self._settle_damage(waiting)
        if self.offset > start:
            self.guard = content[max(0, self.offset - start - GUARD_BYTES) : self.offset - start]
        return _tail(self.offset, content[self.offset - start :], waiting)

    def fold(self, record: Record) -> None:
        """Take one line. Raises: BadRecordError when it changes a task that was never added."""
        if record.kind == "task":
            self._fold_task(record)
        elif record.kind == "queue" and record.id and self.queue is None:
            self.queue = record.id
        self.seq = record.seq if record.seq is not None else self.seq + 1

    def _settle(self, items: Iterable[Record | _BadLine], *, line: int, offset: int) -> None:
        for item in items:
            if isinstance(item, _BadLine):
                self.damage.append(item.damage)
                continue
            try:
                self.fold(item)
            except BadRecordError as error:
                self.damage.append(Damage(line=item.line, offset=item.offset, why=str(error)))
        self.lines, self.offset = line, offset

    def _settle_damage(self, waiting: list[Record | _BadLine]) -> list[Record | _BadLine]:
        """Settle bad lines at the end that no crash explains: more than one, or one with good lines behind."""
        bad = 0
        while bad < len(waiting) and isinstance(waiting[bad], _BadLine):
            bad += 1
        if bad == 0 or (bad == 1 and len(waiting) == 1):
            return waiting
        for item in waiting[:bad]:
            if isinstance(item, _BadLine):
                self._settle((item,), line=item.damage.line, offset=item.next_offset)
        return waiting[bad:]

    def _fold_task(self, record: Record) -> None:
        key = id_key(record.id)
        entry = self.entries.get(key)
        if entry is None:
            if record.removed or not record.full:
                raise BadRecordError(f"a change of task {record.id}, which was not added before")
            gone = self.removed.pop(key, None)
            entry = Entry(record.id, rev=gone.rev if gone else 0, line=record.line, offset=record.offset)
            self.entries[key] = entry
        if record.removed:
            self.removed[key] = self.entries.pop(key)
        entry.add(record)


def _read(raw: bytes, line: int, offset: int) -> Record | _BadLine | None:
    if not raw.strip(b" \t\r"):
        return None
    try:
        return read_record(raw, line=line, offset=offset)
    except BadRecordError as error:
        return _BadLine(Damage(line=line, offset=offset, why=str(error)), offset + len(raw) + 1)


def _tail(offset: int, content: bytes, waiting: list[Record | _BadLine]) -> Tail:
    first = waiting[0] if waiting else None
    return Tail(offset=offset, content=content, damage=first.damage if isinstance(first, _BadLine) else None)
