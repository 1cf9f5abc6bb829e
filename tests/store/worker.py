"""A process that works on a queue and says what it did, one line each: what a test starts, stops and kills.

Usage: worker.py ROOT (add|claim|batch|nursery) QUEUE NAME COUNT [no-lock]
A nursery makes a child for every line on its stdin; the child adds tasks until somebody kills it.
"""

import os
import sys
from datetime import UTC, datetime
from pathlib import Path

root, what, queue, name, count, *options = sys.argv[1:]
sys.path.insert(0, root)

from orchestration.core.models import Task  # noqa: E402  # found by the path that was just given
from orchestration.core.naming import TaskId  # noqa: E402
from orchestration.core.snapshot import Snapshot  # noqa: E402
from orchestration.core.status import Status  # noqa: E402
from orchestration.store.tasks import JournalTaskStore  # noqa: E402
from orchestration.support.files import Disk  # noqa: E402


class Clock:
    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return 0.0


class UnlockedDisk(Disk):
    def lock(self, descriptor: int) -> None:
        """Let everybody in."""


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def task(identifier: str) -> Task:
    now = datetime.now(UTC)
    return Task(
        id=TaskId(identifier),
        repo="/srv/repo",
        base="main",
        status=Status.TODO,
        text="x",
        created_at=now,
        updated_at=now,
    )


def first_todo(snapshot: Snapshot) -> Task | None:
    return next((task for task in snapshot.tasks.values() if task.status is Status.TODO), None)


def claimed(found: Task) -> Task:
    return found.advance(Status.PLANNING, at=datetime.now(UTC))


store = JournalTaskStore(Path(queue), Clock(), disk=UnlockedDisk() if "no-lock" in options else Disk())
say("ready")
sys.stdin.readline()
match what:
    case "add":
        for number in range(int(count)):
            say(store.add([task(f"{name}-{number}")], by=name)[0].id)
    case "batch":
        for number in range(int(count)):
            added = store.add([task(f"{name}-{number}-{place}") for place in range(20)], by=name)
            say(f"{name}-{number} {len(added)}")
    case "nursery":
        for generation, _ in enumerate(sys.stdin):
            child = os.fork()
            if child:
                os.waitpid(child, 0)
                say("gone")
                continue
            say(str(os.getpid()))
            for number in range(100_000):
                say(store.add([task(f"{name}-{generation}-{number}")], by=name)[0].id)
    case "claim":
        while (found := store.claim(first_todo, claimed, by=name)) is not None:
            say(found.id)
