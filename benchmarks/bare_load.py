"""Reading a journal with msgspec: all of the lines with all of their fields typed, or id and status and no more.

As a program (``bare_load.py FILE``) it loads the file typed, and is over. It knows nothing of taskq, so that nothing of
taskq is loaded for it.
"""

import gc
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import msgspec

Status = Literal["todo", "planning", "building", "verifying", "review", "done", "failed", "cancelled"]


class Limits(msgspec.Struct):
    """What a task may use."""

    setup: float
    plan: float
    build: float
    collect: float
    output: int
    bundle: int
    file: int
    files: int
    memory: int
    cpus: float
    pids: int


class Line(msgspec.Struct):
    """One line with every field of a task."""

    seq: int
    kind: Literal["task", "queue"]
    id: str
    at: datetime
    by: str
    crc: str
    rev: int | None = None
    v: int | None = None
    status: Status | None = None
    title: str | None = None
    repo: str | None = None
    base: str | None = None
    base_commit: str | None = None
    branch: str | None = None
    worktree_path: str | None = None
    task_file: str | None = None
    text: str | None = None
    reason: str | None = None
    priority: int | None = None
    labels: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    not_before: datetime | None = None
    agent: str | None = None
    agent_command: str | None = None
    model: str | None = None
    variant: str | None = None
    sandbox: str | None = None
    network: str | None = None
    limits: Limits | None = None
    allow_empty: bool | None = None
    attempt: int | None = None
    charged: int | None = None
    run: dict[str, Any] | None = None
    revision: dict[str, Any] | None = None
    verification: dict[str, Any] | None = None
    usage: dict[str, Any] | None = None
    landed: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None


class Glance(msgspec.Struct):
    """One line with two of its fields."""

    id: str
    status: str | None = None


def load(journal: Path) -> list[Line]:
    """Return all lines, typed."""
    decode: Callable[[bytes], Line] = msgspec.json.Decoder(Line).decode
    with journal.open("rb") as lines:
        return [decode(line) for line in lines]


def scan(journal: Path) -> int:
    """Read two fields of every line; return how many lines there are."""
    decode: Callable[[bytes], Glance] = msgspec.json.Decoder(Glance).decode
    count = 0
    with journal.open("rb") as lines:
        for line in lines:
            decode(line)
            count += 1
    return count


def scan_of(given: Any) -> Callable[[int], str]:
    """Return the role of a worker that scans the journal at its place."""
    return lambda _number: str(scan(given.place))


if __name__ == "__main__":
    gc.disable()
    sys.exit(0 if load(Path(sys.argv[1])) else "there is no line in it")
