"""A whole journal read at speed, for a new index: each line is decoded once, and only what an index keeps.

Guarantees: what comes out is what ``store.ledger`` makes of the same bytes, which is tested with random journals.
Not responsible for: where it goes (``store.index``).
"""

import gc
import os
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import msgspec

from orchestration.core.errors import UsageError
from orchestration.core.models import SCHEMA_VERSION
from orchestration.core.naming import task_id
from orchestration.core.snapshot import Damage
from orchestration.store.entry import SPAN, State, after_of, summary
from orchestration.store.index_head import Extent
from orchestration.store.line import LINE_BYTES, BadRecordError
from orchestration.store.record import HEAD, Record, read_record

_CHUNK: Final = 1 << 22
_CHECKSUM: Final = b',"crc":"'
_CHECKSUM_LENGTH: Final = len(b',"crc":"00000000"}')
_SIMPLE_ID: Final = re.compile(rb"[A-Za-z0-9][A-Za-z0-9_-]*")
_LIGHT: Final = ("status", "sandbox", "priority", "created_at", "not_before", "after")


class _Line(msgspec.Struct, gc=False):
    """What an index wants of a line that taskq wrote; other members are skipped."""

    seq: int
    id: str
    rev: int
    v: int | None = None
    more: int = 0
    status: str | msgspec.UnsetType | None = msgspec.UNSET
    sandbox: str | msgspec.UnsetType | None = msgspec.UNSET
    priority: int | msgspec.UnsetType | None = msgspec.UNSET
    created_at: str | msgspec.UnsetType | None = msgspec.UNSET
    not_before: str | msgspec.UnsetType | None = msgspec.UNSET
    after: list[str] | msgspec.UnsetType | None = msgspec.UNSET


class _Task:
    """One task while its lines come in; of its fields those that an index keeps."""

    __slots__ = ("first", "id", "line", "place", "removed", "rev", "spans", *_LIGHT)

    def __init__(self, identifier: str, place: int, first: int, rev: int) -> None:
        self.id = identifier
        self.place = place
        self.first = first
        """The size of the line that added it."""
        self.rev = rev
        self.line = 0
        self.removed = False
        self.spans = b""
        self.status: object = None
        self.sandbox: object = None
        self.priority: object = None
        self.created_at: object = None
        self.not_before: object = None
        self.after: object = None

    def take(self, line: _Line) -> None:
        """Take what *line* says anew."""
        unset = msgspec.UNSET
        if line.status is not unset:
            self.status = line.status
        if line.sandbox is not unset:
            self.sandbox = line.sandbox
        if line.priority is not unset:
            self.priority = line.priority
        if line.created_at is not unset:
            self.created_at = line.created_at
        if line.not_before is not unset:
            self.not_before = line.not_before
        if line.after is not unset:
            self.after = line.after

    def state(self) -> State:
        """Return what an index keeps of it."""
        try:
            status, sandbox, order, later = summary({name: getattr(self, name) for name in _LIGHT}, None)
        except ValueError:
            status, sandbox, order, later = "", "", 0, None
        known = None if self.removed else status
        return State(self.id, self.place, self.rev, self.line, known, sandbox, order, later, self.spans)


_DECODE: Final = msgspec.json.Decoder(_Line).decode
_Said = _Line | Record | Damage


def scan(journal: int, tell: Callable[[int | None], object] | None = None, *, end: int | None = None) -> Extent:
    """Return what the open file *journal* says up to the end of its last whole append, or of the last before *end*.

    *tell* hears how many lines were read, now and then. Raises: OSError; NewerVersionError.
    """
    scanned = _Scan()
    with _without_collection():
        number = offset = 0
        for lines in _lines(journal, end):
            for raw in lines:
                number += 1
                scanned.take(raw, number, offset)
                offset += len(raw) + 1
            if tell is not None:
                tell(number)
        return scanned.extent()


@contextmanager
def _without_collection() -> Iterator[None]:
    """Spare Python the search for cycles among millions of values that have none."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _lines(journal: int, end: int | None) -> Iterator[list[bytes]]:
    place = 0
    rest = b""
    while piece := os.pread(journal, _CHUNK if end is None else min(_CHUNK, end - place), place):
        place += len(piece)
        lines = (rest + piece).split(b"\n")
        rest = lines.pop()
        yield lines


class _Scan:
    def __init__(self) -> None:
        self._tasks: dict[str, _Task] = {}
        self._waiting: list[tuple[_Said, int, int, int]] = []
        self._damage: list[Damage] = []
        self._queue: str | None = None
        self._others: list[tuple[int, int]] = []
        self._header: dict[str, Any] = {}
        self._end = self._lines = self._seq = self._compacted = 0

    def take(self, raw: bytes, number: int, offset: int) -> None:
        """Take one line; lines of one append count when the last of them has come."""
        length = len(raw)
        line = _quickly(raw, length)
        if line is not None and not self._waiting and (line.more == 0 or line.seq <= self._compacted):
            try:
                self._fold_line(line, number, offset, length)
            except BadRecordError as error:
                self._damage.append(Damage(line=number, offset=offset, why=str(error)))
            self._lines, self._end = number, offset + length + 1
            return
        said = line or _slowly(raw, number, offset)
        if said is not None:
            self._waiting.append((said, number, offset, length))
        elif self._waiting:
            return
        if said is None or (not isinstance(said, Damage) and (said.more == 0 or self._is_state(said))):
            self._settle(number, offset + length + 1)

    def extent(self) -> Extent:
        """Return all of it, as far as it can be told by now; what may be an append under way is left out."""
        self._settle_damage()
        tasks = sorted(self._tasks.values(), key=lambda task: task.place)
        self._tasks = {}
        found = ((task.state(), after_of({"after": task.after}) if task.after else ()) for task in tasks)
        least = sum(task.first + 1 for task in tasks if not task.removed)
        return Extent(
            end=self._end,
            lines=self._lines,
            seq=self._seq,
            compacted=self._compacted,
            queue=self._queue,
            least=least,
            damage=self._damage,
            tasks=found,
            others=self._others,
            header=self._header,
        )

    def _settle_damage(self) -> None:
        """Settle bad lines at the end that no crash explains: more than one, or one with good lines behind."""
        good = (place for place, (said, *_) in enumerate(self._waiting) if not isinstance(said, Damage))
        bad = next(good, len(self._waiting))
        if bad > 1 or (bad == 1 and len(self._waiting) > 1):
            rest = self._waiting[bad:]
            del self._waiting[bad:]
            _, number, offset, length = self._waiting[-1]
            self._settle(number, offset + length + 1)
            self._waiting = rest

    def _is_state(self, said: _Line | Record) -> bool:
        return said.seq is not None and said.seq <= self._compacted

    def _settle(self, number: int, end: int) -> None:
        for said, line, offset, length in self._waiting:
            try:
                if isinstance(said, Damage):
                    self._damage.append(said)
                elif isinstance(said, _Line):
                    self._fold_line(said, line, offset, length)
                else:
                    self._fold_record(said)
            except BadRecordError as error:
                self._damage.append(Damage(line=line, offset=offset, why=str(error)))
        self._waiting.clear()
        self._lines, self._end = number, end

    def _fold_line(self, line: _Line, number: int, offset: int, length: int) -> None:
        task = self._tasks.get(line.id.lower())
        if task is None or task.removed:
            task = self._new(line.id, offset, length, task, may_be=line.v is not None)
        task.take(line)
        task.rev = line.rev
        task.line = number
        task.spans += SPAN.pack(offset, length)
        self._seq = max(self._seq, line.seq)

    def _fold_record(self, record: Record) -> None:
        if record.kind == "task":
            self._fold_task(record)
        elif record.kind == "queue" and record.id:
            self._queue = self._queue or record.id
            self._header |= record.members or {}
            if record.members is not None and record.members.get("compacted") is True:
                self._compacted = record.seq or 0
        else:
            self._others.append((record.offset, len(record.raw)))
        if record.seq is not None:
            self._seq = max(self._seq, record.seq)
        elif not 0 < self._compacted == self._seq:
            self._seq += 1

    def _fold_task(self, record: Record) -> None:
        task = self._tasks.get(record.id.lower())
        if task is None or task.removed:
            may_be = self._is_state(record) if record.removed else record.full
            task = self._new(record.id, record.offset, len(record.raw), task, may_be=may_be)
        for name, value in record.fields().items():
            if name in _LIGHT:
                setattr(task, name, value)
        task.rev = record.rev if record.rev is not None else task.rev + 1
        task.line = record.line
        task.removed = record.removed
        task.spans += SPAN.pack(record.offset, len(record.raw))

    def _new(self, identifier: str, place: int, length: int, earlier: _Task | None, *, may_be: bool) -> _Task:
        if not may_be:
            raise BadRecordError(f"a change of task {identifier}, which was not added before")
        task = self._tasks[identifier.lower()] = _Task(identifier, place, length, earlier.rev if earlier else 0)
        return task


def _quickly(raw: bytes, length: int) -> _Line | None:
    """Return what a line says that taskq wrote of a task; None of any other."""
    head = HEAD.match(raw)
    if (
        head is None
        or raw[-_CHECKSUM_LENGTH : 8 - _CHECKSUM_LENGTH] != _CHECKSUM
        or length > LINE_BYTES
        or b'"removed":' in raw
    ):
        return None
    try:
        if int(raw[-10:-2], 16) != zlib.crc32(raw[:-_CHECKSUM_LENGTH]):
            return None
        line = _DECODE(raw)
        if line.more and not raw[:-_CHECKSUM_LENGTH].endswith(b',"more":%d' % line.more):
            return None  # it stands where we do not write it
        if (line.v is None or line.v <= SCHEMA_VERSION) and (_SIMPLE_ID.fullmatch(head[2]) or task_id(line.id)):
            return line
    except (ValueError, msgspec.MsgspecError, UsageError):
        return None  # read it the other way, which says what is wrong
    return None


def _slowly(raw: bytes, number: int, offset: int) -> Record | Damage | None:
    if not raw.strip(b" \t\r"):
        return None
    try:
        return read_record(raw, line=number, offset=offset)
    except BadRecordError as error:
        return Damage(line=number, offset=offset, why=str(error))
