"""The head of an index: of which journal it speaks and how far, and whether it may be believed."""

import json
import os
import sqlite3
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from orchestration.core.snapshot import Damage
from orchestration.store.entry import State

FORMAT: Final = 2
"""Another number here makes every index of today one to build anew."""
GUARDED_BYTES: Final = 4096
_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")


class Head(NamedTuple):
    """What the whole of the index stands for: the first *end* bytes and *lines* lines of one journal file.

    *least* is how many of the bytes are lines that added tasks which are still there.
    """

    serial: int
    end: int
    lines: int
    seq: int
    compacted: int
    queue: str | None
    least: int
    damage: tuple[Damage, ...]


class Extent(NamedTuple):
    """What an index is made of: a head without its serial, and for each task its state and what it waits for.

    *others* are the places of the lines that are about no task: offset and length. Of the queue's own lines, what they
    come to is in *header* instead.
    """

    end: int
    lines: int
    seq: int
    compacted: int
    queue: str | None
    least: int
    damage: Sequence[Damage]
    tasks: Iterable[tuple[State, tuple[str, ...]]]
    others: Sequence[tuple[int, int]] = ()
    header: Mapping[str, Any] = MappingProxyType({})


def new_head(journal: int, extent: Extent, *, serial: int) -> tuple[str, tuple[Any, ...]]:
    """Return the statement that makes the index one to be believed."""
    status = os.fstat(journal)
    return (
        "INSERT OR REPLACE INTO head VALUES (1, ?, 1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            FORMAT,
            serial,
            _boot(),
            status.st_dev,
            status.st_ino,
            extent.end,
            _checksum(journal, extent.end),
            extent.lines,
            extent.seq,
            extent.compacted,
            extent.queue,
            extent.least,
            json.dumps(list(extent.damage)),
        ),
    )


def believed_head(connection: sqlite3.Connection, journal: int) -> Head | None:
    """Return the head if it fits the journal."""
    row = connection.execute(
        "SELECT format, clean, boot, device, inode, end, guard, serial, lines, seq, compacted, queue, least, damage "
        "FROM head"
    ).fetchone()
    if row is None or row[:3] != (FORMAT, 1, _boot()):
        return None
    device, inode, end, guard, serial, lines, seq, compacted, queue, least, damage = row[3:]
    status = os.fstat(journal)
    if (device, inode) != (status.st_dev, status.st_ino) or status.st_size < end or guard != _checksum(journal, end):
        return None
    found = tuple(Damage._make(item) for item in json.loads(damage))
    return Head(serial, end, lines, seq, compacted, queue, least, found)


def _checksum(journal: int, end: int) -> int:
    start = max(0, end - GUARDED_BYTES)
    return zlib.crc32(os.pread(journal, end - start, start))


def _boot() -> str:
    """Return what names the time since the machine started; "" where the system does not say, which never changes."""
    try:
        return _BOOT.read_text("ascii").strip()
    except OSError:
        return ""
