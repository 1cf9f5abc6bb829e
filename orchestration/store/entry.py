"""One task as the lines of the journal say: which lines they are, and what they come to when somebody asks.

Guarantees: lines are parsed only when they are needed; members that this version does not know survive.
Not responsible for: task values (``store.codec``).
"""

import re
import struct
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from orchestration.core.urgency import microseconds, urgency
from orchestration.store.record import Record, read_record
from orchestration.store.values import decode_moment

if TYPE_CHECKING:
    from orchestration.core.models import Task

SPAN: Final = struct.Struct("<QI")
"""Where a line is: its offset in the journal, and its length without the newline."""

_STATUS_FIRST: Final = (
    rb'\{"seq":\d+,"kind":"task","id":"[^"]+","rev":\d+,"at":"[^"\\]*","by":"(?:[^"\\]|\\.)*","status":"([a-z]+)"'
)
"""How a change of ours begins that changes the status, which stands before all other fields."""
_RUN: Final = b',"run":{'
"""What begins the facts of an attempt, which stand behind all that an index keeps and have names in common with it."""
_ALSO_KEPT: Final = rb'"(?:priority|created_at|not_before|sandbox|removed)":'
"""What else an index keeps; where it is inside of another field, the line is parsed for nothing."""

ReadLine = Callable[[int, int], bytes]
"""Returns the bytes of the line at an offset, of a length."""


class State(NamedTuple):
    """What is known of a task without reading its lines.

    *place* is the offset of the line that added it, *line* the number of the last one that changed it, *spans* where
    all of them are, packed by ``SPAN``. *status* is None for a task that was removed, "" for one that cannot be read.
    """

    id: str
    place: int
    rev: int
    line: int
    status: str | None
    sandbox: str
    urgency: int
    not_before: int | None
    spans: bytes


class Entry:
    """One task; *task* is its decoded form once somebody asked, *fault* why there is none."""

    __slots__ = (
        "_changes",
        "_kept",
        "_known",
        "_merged",
        "_now",
        "_read",
        "before",
        "fault",
        "id",
        "line",
        "offset",
        "place",
        "removed",
        "rev",
        "task",
    )

    def __init__(self, identifier: str, *, place: int, rev: int, read: ReadLine) -> None:
        self.id = identifier
        self.place = place
        self.rev = rev
        self.line = 0
        self.offset = place
        self.removed = False
        self.task: Task | None = None
        self.fault: str | None = None
        self._read = read
        self.before: State | None = None
        """What an index keeps under this id, if it does: of this task, or of one that was removed before it."""
        self._kept: State | None = None
        self._now: State | None = None
        self._known: dict[str, Any] | None = None
        self._merged = 0
        self._changes: list[Record] = []

    @classmethod
    def kept(cls, state: State, *, read: ReadLine) -> "Entry":
        """Return the task of which an index keeps *state*."""
        entry = cls(state.id, place=state.place, rev=state.rev, read=read)
        entry.line, entry.removed, entry._kept = state.line, state.status is None, state
        entry.before = state
        entry.offset = SPAN.unpack_from(state.spans, len(state.spans) - SPAN.size)[0]
        return entry

    def copy(self) -> "Entry":
        """Return an entry that later changes of this one do not touch."""
        copied = Entry(self.id, place=self.place, rev=self.rev, read=self._read)
        copied.line, copied.offset, copied.removed = self.line, self.offset, self.removed
        copied.before, copied._kept, copied._changes = self.before, self._kept, list(self._changes)
        copied._known, copied._merged = self._known, self._merged
        return copied

    def add(self, record: Record) -> None:
        """Take one more change of this task."""
        self._changes.append(record)
        self.rev = record.rev if record.rev is not None else self.rev + 1
        self.line, self.offset = record.line, record.offset
        self.removed = record.removed
        self.task = self.fault = self._now = None

    def fields(self) -> dict[str, Any]:
        """Return all fields of the task, the newest value of each. Raises: BadRecordError."""
        if self._known is None:
            self._known = {} if self._kept is None else self._kept_fields(self._kept)
        while self._merged < len(self._changes):
            self._known = {**self._known, **self._changes[self._merged].fields()}
            self._merged += 1
        return {**self._known, "rev": self.rev}

    def state(self) -> State:
        """Return what an index keeps of the task as it is now."""
        if self._now is None:
            self._now = self._kept if self._kept is not None and not self._changes else self._folded()
        return self._now

    def _folded(self) -> State:
        before = self._kept
        try:
            changed = self._quickly_changed() if before is not None else None
            if changed is None:
                changed = self._changed_fields()
            if before is None or not changed.keys().isdisjoint({"priority", "created_at"}):
                changed, before = self.fields(), None
            status, sandbox, order, later = summary(changed, before)
        except ValueError:
            status, sandbox, order, later = "", "", 0, None
        spans = b"".join(SPAN.pack(record.offset, len(record.raw)) for record in self._changes)
        return State(
            id=self.id,
            place=self.place,
            rev=self.rev,
            line=self.line,
            status=None if self.removed else status,
            sandbox=sandbox,
            urgency=order,
            not_before=later,
            spans=spans if self._kept is None else self._kept.spans + spans,
        )

    def after(self) -> tuple[str, ...]:
        """Return the ids of the tasks that this one waits for. Raises: BadRecordError."""
        if self._kept is None and not any(_may_say_after(record) for record in self._changes):
            return ()
        return after_of(self.fields())

    def says_after(self) -> bool:
        """Return whether what the task waits for may be another than what an index knows."""
        return self._kept is None or any(b'"after"' in record.raw for record in self._changes)

    def _quickly_changed(self) -> dict[str, Any] | None:
        """Return what the changes say that an index keeps, if that is only the status and no line need be parsed."""
        status = None
        for record in self._changes:
            said = re.match(_STATUS_FIRST, record.raw)
            if said is None or re.search(_ALSO_KEPT, record.raw.partition(_RUN)[0]) is not None:
                return None
            status = said[1].decode("ascii")
        return None if status is None else {"status": status}

    def _changed_fields(self) -> dict[str, Any]:
        return {name: value for record in self._changes for name, value in record.fields().items()}

    def _kept_fields(self, state: State) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        for offset, length in SPAN.iter_unpack(state.spans):
            fields |= self._read_record(offset, length).fields()
        return fields

    def _read_record(self, offset: int, length: int) -> Record:
        return read_stored(self._read(offset, length), offset=offset, identifier=self.id)


class StaleIndexError(Exception):
    """The index says what the journal does not: it is no longer to be trusted."""


def read_stored(raw: bytes, *, offset: int, identifier: str) -> Record:
    """Return the line *raw* of the task *identifier*, to which an index pointed.

    Raises: StaleIndexError when it is no such line.
    """
    try:
        record = read_record(raw, line=0, offset=offset)
    except ValueError as error:
        raise StaleIndexError(f"byte {offset}: {error}") from error
    if record.kind != "task" or record.id.lower() != identifier.lower():
        raise StaleIndexError(f"byte {offset}: a line of another task than {identifier}")
    return record


def summary(fields: Mapping[str, Any], before: State | None) -> tuple[str, str, int, int | None]:
    """Return status, sandbox, urgency and not_before of *fields*; what is not in them is as *before*.

    Raises: ValueError when a time is none.
    """
    if before is None:
        priority, created = fields.get("priority"), fields.get("created_at")
        if type(priority) is not int:
            priority = 0
        order = urgency(priority, decode_moment(created)) if created is not None else 0
        return _text(fields, "status", ""), _text(fields, "sandbox", ""), order, _later(fields)
    return (
        _text(fields, "status", before.status or ""),
        _text(fields, "sandbox", before.sandbox),
        before.urgency,
        _later(fields) if "not_before" in fields else before.not_before,
    )


def _text(fields: Mapping[str, Any], name: str, default: str) -> str:
    value = fields.get(name, default)
    return value if isinstance(value, str) else ""


def _later(fields: Mapping[str, Any]) -> int | None:
    moment = fields.get("not_before")
    return None if moment is None else microseconds(decode_moment(moment))


def _may_say_after(record: Record) -> bool:
    return record.members is not None or b'"after":["' in record.raw


def after_of(fields: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the ids that a task of these *fields* waits for."""
    after = fields.get("after")
    return tuple(name for name in after if isinstance(name, str)) if isinstance(after, list) else ()
