"""Every line of a journal, judged one after the other up to its last whole append.

Guarantees: a line is good when it reads, strictly, and its task can be read after it; a bad one changes nothing of what
the others mean. What is in memory of a task is where its lines are.
Not responsible for: what becomes of bad lines (``store.fsck``).
"""

import os
import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from orchestration.core.errors import CorruptStateError
from orchestration.core.naming import id_key
from orchestration.core.snapshot import Damage
from orchestration.store.blobs import Blobs, referred_blob
from orchestration.store.codec import decode_task
from orchestration.store.entry import SPAN
from orchestration.store.ledger import Ledger
from orchestration.store.line import BadRecordError
from orchestration.store.record import Record, read_record
from orchestration.store.scan import scan
from orchestration.store.tail import Tail
from orchestration.support.files import read_from

_PIECE: Final = 1 << 20
_REMEMBERED: Final = 4096
_SHOWN: Final = 20
_ID: Final = rb'"id": ?"([A-Za-z0-9._-]{1,64})"'
_BLOB: Final = rb'"blob": ?"([0-9a-f]{64})"'


class Inspection(NamedTuple):
    """What was found in the first *end* bytes; *tail* is what comes after them.

    *bad* has offset and length of the bad lines with their newlines, *lost* the tasks that they are about. *is_open*
    says that the last good line waits for more lines of its change. *chain* says where numbers do not follow each
    other, *named* are all blobs that a line names.
    """

    queue: str | None
    seq: int
    lines: int
    tasks: int
    end: int
    damage: tuple[Damage, ...]
    bad: tuple[tuple[int, int], ...]
    lost: tuple[str, ...]
    is_open: bool
    chain: tuple[str, ...]
    named: frozenset[str]
    blobs: tuple[str, ...]
    tail: Tail


NOTHING: Final = Inspection(None, 0, 0, 0, 0, (), (), (), False, (), frozenset(), (), Tail(0, b"", None))


def inspect(journal: int, blobs: Blobs) -> Inspection:
    """Look at every line of the open file *journal*, and at the blobs of its tasks.

    Raises: OSError; NewerVersionError.
    """
    tail = _tail(journal)
    inspector = _Inspector(journal)
    number = 0
    for number, (raw, offset) in enumerate(_lines(journal, tail.offset), start=1):
        inspector.take(raw, number, offset)
    return inspector.found(number, tail, blobs)


class _Life:
    """One task from its first line to its removal."""

    __slots__ = ("has_blob", "id", "removed", "rev", "spans")

    def __init__(self, identifier: str, rev: int) -> None:
        self.id = identifier
        self.rev = rev
        self.removed = False
        self.has_blob = False
        self.spans = b""


class _Inspector:
    def __init__(self, journal: int) -> None:
        self._journal = journal
        self._lives: dict[str, _Life] = {}
        self._fields: dict[str, dict[str, Any]] = {}
        self._queue: str | None = None
        self._seq = self._compacted = 0
        self._is_open = False
        self._damage: list[Damage] = []
        self._bad: list[tuple[int, int]] = []
        self._lost: dict[str, None] = {}
        self._chain: list[str] = []
        self._named: set[str] = set()

    def take(self, raw: bytes, number: int, offset: int) -> None:
        """Judge one line."""
        if not raw.strip():
            return
        self._named.update(name.decode("ascii") for name in re.findall(_BLOB, raw))
        try:
            self._fold(read_record(raw, line=number, offset=offset))
        except (BadRecordError, CorruptStateError) as error:
            self._damage.append(Damage(line=number, offset=offset, why=str(error)))
            self._bad.append((offset, len(raw) + 1))
            identifier = re.search(_ID, raw)
            self._lost[f"line {number}" if identifier is None else identifier[1].decode("ascii")] = None

    def found(self, lines: int, tail: Tail, blobs: Blobs) -> Inspection:
        """Return all of it."""
        present = [life for life in self._lives.values() if not life.removed]
        problems = [blobs.problem({**self._read(life), "id": life.id}) for life in present if life.has_blob]
        damage = self._damage if tail.damage is None else [*self._damage, tail.damage]
        return Inspection(
            queue=self._queue,
            seq=self._seq,
            lines=lines,
            tasks=len(present),
            end=tail.offset,
            damage=tuple(damage),
            bad=tuple(self._bad),
            lost=tuple(self._lost),
            is_open=self._is_open,
            chain=shortened(self._chain),
            named=frozenset(self._named),
            blobs=tuple(problem for problem in problems if problem is not None),
            tail=tail,
        )

    def _fold(self, record: Record) -> None:
        if record.kind == "task":
            self._fold_task(record)
        elif record.kind == "queue" and record.id:
            self._queue = self._queue or record.id
            if record.members is not None and record.members.get("compacted") is True:
                self._compacted = record.seq or 0
        self._is_open = record.more > 0 and not self._is_state(record)
        if record.seq is None:
            self._seq += not 0 < self._compacted == self._seq
            return
        if record.seq != self._seq + 1 and not self._is_state(record):
            self._chain.append(f"line {record.line}: seq {record.seq} where {self._seq + 1} is due")
        self._seq = max(self._seq, record.seq)

    def _is_state(self, record: Record) -> bool:
        return record.seq is not None and record.seq <= self._compacted

    def _fold_task(self, record: Record) -> None:
        """Take a line of a task, or raise with nothing changed."""
        key = id_key(record.id)
        life = self._lives.get(key)
        due = 1 if life is None else life.rev + 1
        is_state = self._is_state(record)
        if life is None or life.removed:
            if not (is_state if record.removed else record.full):
                raise BadRecordError(f"a change of task {record.id}, which was not added before")
            life = _Life(record.id, due - 1)
            self._fields.pop(key, None)
        rev = due if record.rev is None else record.rev
        fields = {**self._fields_of(key, life), **record.fields()}
        if not record.removed:
            plain = {name: value for name, value in fields.items() if referred_blob(value) is None}
            decode_task({**plain, "rev": rev, "id": life.id})
            life.has_blob = life.has_blob or len(plain) < len(fields)
        if rev != due and not is_state:
            self._chain.append(f"line {record.line}: rev {rev} of task {record.id} where {due} is due")
        life.rev, life.removed = rev, record.removed
        life.spans += SPAN.pack(record.offset, len(record.raw))
        self._lives[key] = life
        if len(self._fields) >= _REMEMBERED:
            self._fields.clear()
        self._fields[key] = fields

    def _fields_of(self, key: str, life: _Life) -> dict[str, Any]:
        known = self._fields.get(key)
        return self._read(life) if known is None else known

    def _read(self, life: _Life) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        for offset, length in SPAN.iter_unpack(life.spans):
            fields |= read_record(os.pread(self._journal, length, offset), line=0, offset=offset).fields()
        return fields


def shortened(sentences: list[str]) -> tuple[str, ...]:
    """Return the first of *sentences*, and how many more there are."""
    more = len(sentences) - _SHOWN
    return (*sentences[:_SHOWN], f"and {more} more") if more > 0 else tuple(sentences)


def _tail(journal: int) -> Tail:
    """Return what comes after the last whole append."""
    extent = scan(journal)
    ledger = Ledger()
    ledger.offset, ledger.lines, ledger.seq, ledger.compacted = extent.end, extent.lines, extent.seq, extent.compacted
    return ledger.absorb(read_from(journal, extent.end))


def _lines(journal: int, end: int) -> Iterator[tuple[bytes, int]]:
    """Yield each line below *end*, without its newline, and where it starts."""
    start, rest = 0, b""
    for offset in range(0, end, _PIECE):
        *lines, rest = (rest + os.pread(journal, min(_PIECE, end - offset), offset)).split(b"\n")
        for line in lines:
            yield line, start
            start += len(line) + 1
