"""One pass over a journal, for who needs every task of it and no index.

Guarantees: one moment is seen, that of a whole append, whatever others write meanwhile; what counts as whole, torn or
damaged is as everywhere (docs/reference/journal.md). Of tasks, only the places of their lines are in memory.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from orchestration.core.naming import id_key
from orchestration.core.snapshot import Damage
from orchestration.store.entry import SPAN
from orchestration.store.record import read_record
from orchestration.store.scan import scan
from orchestration.support.files import storage_errors


class Swept(NamedTuple):
    """What a pass found. The first *end* bytes are whole appends and damage.

    *tasks* has, by the key of the id and in the order of adding, where the lines of a task are, packed by ``SPAN``.
    """

    end: int
    seq: int
    queue: str | None
    tasks: dict[str, bytes]
    damage: tuple[Damage, ...]


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
    extent = scan(descriptor)
    tasks = {id_key(state.id): state.spans for state, _ in extent.tasks if state.status is not None}
    return Swept(extent.end, extent.seq, extent.queue, tasks, tuple(extent.damage))


class Stored(NamedTuple):
    """What the lines of one task come to; *is_ours* says that taskq wrote each of them, and that none was changed."""

    fields: dict[str, Any]
    is_ours: bool


def read_task(descriptor: int, spans: bytes) -> Stored:
    """Return all fields of the task whose lines are at *spans*, the newest value of each. Raises: BadRecordError."""
    fields: dict[str, Any] = {}
    is_ours = True
    for offset, size in SPAN.iter_unpack(spans):
        record = read_record(os.pread(descriptor, size, offset), line=0, offset=offset)
        rev = record.rev if record.rev is not None else fields.get("rev", 0) + 1
        fields |= {**record.fields(), "id": record.id, "rev": rev}
        is_ours = is_ours and record.members is None  # known by its head and its checksum
    return Stored(fields, is_ours)
