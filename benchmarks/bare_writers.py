"""What a durable record costs at least, and what it costs with SQLite: the same bytes as a line of ours, one by one."""

import fcntl
import os
import sqlite3
from typing import Final

from benchmarks.bare_worker import Act, Given

WAIT: Final = 60.0
"""Seconds that a peer waits for its lock, so that none gives up under a crowd."""


def raw_add(given: Given) -> Act:
    """Append the line of a task: lock, one write, unlock, sync."""
    return _append(given, line_of(given, 1))


def raw_claim(given: Given) -> Act:
    """Append the line of a claim: lock, one write, unlock, sync."""
    return _append(given, line_of(given, 2))


def sqlite_add(given: Given) -> Act:
    """Insert the line of a task under its id: WAL, synchronous=FULL, a transaction each."""
    connection = sqlite3.connect(given.place, timeout=WAIT, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE IF NOT EXISTS task (id TEXT PRIMARY KEY, line TEXT NOT NULL)")
    line = line_of(given, 1).decode("ascii")

    def act(number: int) -> None:
        connection.execute("INSERT INTO task VALUES (?, ?)", (f"{given.name}-{number}", line))

    return act


def line_of(given: Given, number: int) -> bytes:
    """Return a line of the template's journal: 1 is the task's, 2 that of its claim."""
    return (given.template / "tasks.jsonl").read_bytes().splitlines(keepends=True)[number]


def _append(given: Given, line: bytes) -> Act:
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    journal = os.open(given.place, flags, 0o600)
    lock = os.open(given.place.with_suffix(".lock"), flags, 0o600)

    def act(_number: int) -> None:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if os.write(journal, line) != len(line):
            raise RuntimeError("the disk took only a part")
        fcntl.flock(lock, fcntl.LOCK_UN)
        os.fdatasync(journal)

    return act
