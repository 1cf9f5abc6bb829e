"""The end of a journal: lines one by one, and what of them is no whole append."""

from typing import NamedTuple

from orchestration.core.snapshot import Damage
from orchestration.store.line import BadRecordError
from orchestration.store.record import Record, read_record


class Tail(NamedTuple):
    """Bytes after the last whole append. *damage* is None when they may be a write under way or cut short."""

    offset: int
    content: bytes
    damage: Damage | None


class BadLine(NamedTuple):
    """A line that cannot be read, and where the next one begins."""

    damage: Damage
    next_offset: int


def read_line(raw: bytes, line: int, offset: int) -> Record | BadLine | None:
    """Return what the line *raw* says, without its newline; None of a blank one. Raises: NewerVersionError."""
    if not raw.strip(b" \t\r"):
        return None
    try:
        return read_record(raw, line=line, offset=offset)
    except BadRecordError as error:
        return BadLine(Damage(line=line, offset=offset, why=str(error)), offset + len(raw) + 1)


def tail_of(offset: int, content: bytes, waiting: list[Record | BadLine]) -> Tail:
    """Return the tail that *content* is, of whose lines *waiting* were read and wait for the rest of their append."""
    bad = next((item.damage for item in waiting if isinstance(item, BadLine)), None)
    return Tail(offset=offset, content=content, damage=bad)
