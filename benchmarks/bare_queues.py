"""Queues of any size within seconds: the lines that taskq writes, made from one real line.

Guarantees: every line is one that the store could have written; the queue is on disk when it is returned.
Not responsible for: the index, which whoever looks first builds.
"""

import os
import random
import re
import subprocess
import sys
import zlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple

from orchestration.core.status import Status
from orchestration.store.layout import QueueFolder, create_queue
from orchestration.store.line import decode_line, encode_line
from orchestration.store.values import encode_moment

TASKQ: Final = str(Path(sys.executable).parent / "taskq")
TO_DONE: Final = (Status.PLANNING, Status.BUILDING, Status.REVIEW, Status.DONE)
TEXT: Final = "Mend the parser: it stops at the first empty line. Make it go on, and add a test."
_START: Final = datetime(2026, 1, 1, tzinfo=UTC)
_STEP: Final = timedelta(seconds=7)
_PRIORITIES: Final = 10
_PAUSE: Final = timedelta(minutes=5)
_BATCH: Final = 20_000
_TIMES: Final = {"created_at": "<at>", "updated_at": "<at>"}
_VARIED: Final = {
    "seq": "<#seq>",
    "id": "<id>",
    "at": "<at>",
    "branch": "task/<id>",
    "priority": "<#priority>",
    **_TIMES,
}
_MOVE: Final = {
    "seq": "<#seq>",
    "kind": "task",
    "id": "<id>",
    "rev": "<#rev>",
    "at": "<at>",
    "by": "run",
    "status": "<status>",
    "updated_at": "<at>",
}


class Template(NamedTuple):
    """What one real task left in a journal: the members of the queue's line and of the task's."""

    queue: Mapping[str, Any]
    task: Mapping[str, Any]


def record(identifier: str, repo: Path) -> dict[str, Any]:
    """Return a task as one line of `taskq add --from -`."""
    return {
        "id": identifier,
        "repo": str(repo),
        "base": "main",
        "text": TEXT,
        "agent_command": "true",
        "sandbox": "local",
        "priority": 1,
    }


def add_many(queue: Path, records: bytes, environ: Mapping[str, str]) -> None:
    """Let taskq add what *records* say, one JSON object per line."""
    command = [TASKQ, "add", "--from", "-", "--queue", str(queue)]
    subprocess.run(command, input=records, env=environ, stdout=subprocess.DEVNULL, check=True)


def template(queue: Path) -> Template:
    """Return what is in the journal of *queue*, to which one task was added."""
    first, task = QueueFolder(queue).journal.read_bytes().splitlines()
    return Template(decode_line(first), decode_line(task))


def make_queue(folder: Path, pattern: Template, *, tasks: int, done: bool) -> Path:
    """Make a queue of *tasks* tasks like that of *pattern*; with *done*, every other one was brought to its end."""
    queue = create_queue(folder)
    with queue.journal.open("wb") as journal:
        queue.journal.chmod(0o600)
        batch: list[bytes] = []
        for line in lines(pattern, tasks=tasks, done=done):
            batch.append(line)
            if len(batch) == _BATCH:
                journal.write(b"".join(batch))
                batch.clear()
        journal.write(b"".join(batch))
        journal.flush()
        os.fsync(journal.fileno())
    os.sync()
    return folder


def lines(pattern: Template, *, tasks: int, done: bool) -> Iterator[bytes]:
    """Yield the lines of a journal: the queue's own, and for each task its first and what became of it."""
    yield encode_line({**pattern.queue, "seq": 1})
    task, move = _form({**pattern.task, **_VARIED}), _form(_MOVE)
    chance = random.Random(tasks)
    seq = 1
    for number in range(tasks):
        moment = _START + number * _STEP
        at = encode_moment(moment).encode("ascii")
        name = b"task-%07d" % number
        seq += 1
        yield _checked(task % {b"seq": seq, b"id": name, b"at": at, b"priority": chance.randrange(_PRIORITIES)})
        if done and number % 2:
            for rev, status in enumerate(TO_DONE, start=2):
                seq += 1
                at = encode_moment(moment + rev * _PAUSE).encode("ascii")
                own = {b"seq": seq, b"id": name, b"rev": rev, b"at": at, b"status": status.encode("ascii")}
                yield _checked(move % own)


def _form(members: Mapping[str, Any]) -> bytes:
    """Return the line of *members* without its checksum; a value such as "<at>" or "<#seq>" is to be filled in."""
    body = encode_line(members).rpartition(b',"crc":')[0].replace(b"%", b"%%")
    return re.sub(rb"<(\w+)>", rb"%(\1)b", re.sub(rb'"<#(\w+)>"', rb"%(\1)d", body))


def _checked(body: bytes) -> bytes:
    return b'%b,"crc":"%08x"}\n' % (body, zlib.crc32(body))
