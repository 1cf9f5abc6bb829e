"""What compaction writes instead of a task's lines: one line that says as much, or the lines as they are.

Guarantees: a line that is all that is said of a task stays as it is byte for byte, and so do those that are about no
task; each line that is made is read back before it is believed; members that this version does not know survive.
"""

import os
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from orchestration.core.errors import CorruptStateError, UsageError
from orchestration.core.models import SCHEMA_VERSION
from orchestration.store.entry import SPAN, StaleIndexError, State, read_stored
from orchestration.store.index_head import Extent
from orchestration.store.journal import REPAIR_HINT, new_queue_id
from orchestration.store.layout import QueueFolder
from orchestration.store.line import BadRecordError, decode_line, encode_line
from orchestration.store.record import Record, read_record
from orchestration.support.files import storage_errors

_OF_REMOVED: Final = (("attempt", int), ("archived", str))
"""What is kept of a task that is not in the queue any more, for one that comes with its id."""
_OF_HEADER: Final = frozenset({"seq", "kind", "id", "at", "by", "v", "more", "compacted"})
_BY: Final = "compact"


class Source(NamedTuple):
    """The journal as it was scanned, and still open."""

    queue: QueueFolder
    journal: int
    extent: Extent

    def line(self, offset: int, length: int) -> bytes:
        """Return one line without its newline."""
        with storage_errors("read", self.queue.journal):
            return os.pread(self.journal, length, offset)


def damaged(queue: QueueFolder, why: str) -> CorruptStateError:
    """Return the error of who will not compact over damage."""
    return CorruptStateError(f"{queue.journal} is damaged at {why}; nothing was compacted; {REPAIR_HINT}")


def before_tasks(source: Source, *, at: str) -> Iterator[bytes]:
    """Yield the lines that come first: the queue's own, twice, and those that are about no task."""
    header = _header(source.extent, at)
    yield header
    yield header  # should one of them be damaged, all lines after it still mean what they say
    for offset, length in source.extent.others:
        yield _standing_alone(read_record(source.line(offset, length), line=0, offset=offset))


def of_task(source: Source, state: State, *, at: str) -> Sequence[bytes]:
    """Return what is to be said of a task: its one line, all of its lines as one, or as they are."""
    try:
        records = [
            read_stored(source.line(offset, length), offset=offset, identifier=state.id)
            for offset, length in SPAN.iter_unpack(state.spans)
        ]
    except StaleIndexError as error:
        raise damaged(source.queue, str(error)) from error
    if len(records) == 1 and _stands_alone(records[0], rev=state.rev):
        return (records[0].raw + b"\n",)
    line = _one_line(source.extent, state, records, at=at)
    return (line,) if line is not None else _as_they_are(source.extent, state, records, at=at)


def _header(extent: Extent, at: str) -> bytes:
    unknown = {name: value for name, value in extent.header.items() if name not in _OF_HEADER}
    envelope = {"seq": extent.seq, "kind": "queue", "id": extent.queue or new_queue_id(), "at": at, "by": _BY}
    return encode_line({**envelope, "v": SCHEMA_VERSION, "compacted": True, **unknown})


def _stands_alone(record: Record, *, rev: int) -> bool:
    """Say whether the line means as much without those before it."""
    has_seq = record.seq is not None or not (record.more or record.removed)
    return has_seq and rev == (1 if record.rev is None else record.rev)


def _one_line(extent: Extent, state: State, records: Sequence[Record], *, at: str) -> bytes | None:
    """Return all that the lines of a task come to; None when one line cannot say it."""
    seqs = [record.seq for record in records if record.seq is not None]
    if state.status is None and not seqs:
        seqs = [extent.seq]
    try:
        fields: dict[str, Any] = {}
        for record in records:
            fields |= record.fields()
        fields.pop("id", None)
        if state.status is None:
            kept = {name: fields[name] for name, kind in _OF_REMOVED if type(fields.get(name)) is kind}
            fields = {"removed": True, **kept}
        else:
            fields = {"v": fields.pop("v", None) or SCHEMA_VERSION, **fields}
        last = {"at": at, "by": _BY, **decode_line(records[-1].raw)}
        envelope = {"kind": "task", "id": state.id, "rev": state.rev, "at": last["at"], "by": last["by"]}
        line = encode_line({**({"seq": max(seqs)} if seqs else {}), **envelope, **fields})
        return line if _says(line, state, fields) else None
    except (BadRecordError, UsageError):
        return None


def _says(line: bytes, state: State, fields: dict[str, Any]) -> bool:
    """Say whether *line* is read as what it was made of."""
    record = read_record(line[:-1], line=0, offset=0)
    if record.removed or state.status is None:
        return record.removed and state.status is None and record.rev == state.rev
    found = {name: value for name, value in record.fields().items() if name != "id"}
    return record.full and record.rev == state.rev and found == fields


def _as_they_are(extent: Extent, state: State, records: Sequence[Record], *, at: str) -> Sequence[bytes]:
    rev = 0
    for record in records:
        rev = record.rev if record.rev is not None else rev + 1
    lines = [_standing_alone(record) for record in records]
    if rev == state.rev:
        return lines
    envelope = {"seq": extent.seq, "kind": "task", "id": state.id, "rev": state.rev - rev, "at": at, "by": _BY}
    return [encode_line({**envelope, "removed": True}), *lines]  # from there its revisions are counted


def _standing_alone(record: Record) -> bytes:
    """Return the line as it is; only one without a seq that waits for the next lines of its change must not do so."""
    if record.seq is not None or not record.more:
        return record.raw + b"\n"
    return encode_line({name: value for name, value in decode_line(record.raw).items() if name != "more"})
