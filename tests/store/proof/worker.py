"""A process that lives on a queue and says what was acknowledged to it, one JSON object per line.

Usage: worker.py ROOT (live|add|bulk|nursery|forget) QUEUE NAME COUNT SEED [OPTION ...]
Options: no-lock, no-sync, no-folder-sync; eager-index makes an index for a few lines already, and keeps it close.
A nursery makes a child for every line on its stdin, which lives until somebody kills it. Who forgets deletes the
index, over and over, until its stdin ends.
"""

import json
import os
import random
import select
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path

root, what, queue, name, count, seed, *options = sys.argv[1:]
sys.path.insert(0, root)

from orchestration.core.models import Task  # noqa: E402  # found by the path that was just given
from orchestration.core.naming import TaskId  # noqa: E402
from orchestration.core.snapshot import Snapshot  # noqa: E402
from orchestration.core.status import TRANSITIONS, Status  # noqa: E402
from orchestration.store.layout import QueueFolder  # noqa: E402
from orchestration.store.reader import Effort, JournalReader  # noqa: E402
from orchestration.store.tasks import JournalTaskStore  # noqa: E402
from orchestration.support.files import Disk  # noqa: E402

AT_REST = {Status.TODO, Status.REVIEW, Status.FAILED, Status.DONE, Status.CANCELLED}


class Clock:
    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return 0.0


class ChosenDisk(Disk):
    """A disk without what the options take out."""

    def lock(self, descriptor: int) -> None:
        if "no-lock" not in options:
            super().lock(descriptor)

    def sync(self, descriptor: int) -> None:
        if "no-sync" not in options:
            super().sync(descriptor)

    def sync_all(self, descriptor: int) -> None:
        if "no-folder-sync" not in options:
            super().sync_all(descriptor)


def open_store() -> JournalTaskStore:
    clock = Clock()
    effort = Effort(batch=2000, warm=4000) if "eager-index" in options else Effort()
    reader = JournalReader(QueueFolder(Path(queue)), clock, effort=effort)
    return JournalTaskStore(Path(queue), clock, disk=ChosenDisk(), reader=reader)


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def acknowledge(deed: str, task: Task, by: str) -> None:
    said = {"deed": deed, "id": task.id, "rev": task.rev, "status": task.status, "attempt": task.attempt, "by": by}
    say(json.dumps(said))


def build(identifier: str, text: str = "x") -> Task:
    now = datetime.now(UTC)
    return Task(
        id=TaskId(identifier),
        repo="/srv/repo",
        base="main",
        status=Status.TODO,
        text=text,
        created_at=now,
        updated_at=now,
    )


def first_todo(snapshot: Snapshot) -> Task | None:
    return next((task for task in snapshot.tasks.values() if task.status is Status.TODO), None)


def claimed(found: Task) -> Task:
    return found.advance(Status.PLANNING, at=datetime.now(UTC))._replace(attempt=found.attempt + 1)


def live(by: str, steps: int, chance: random.Random) -> None:
    """Add, claim and finish tasks at random; what is claimed is taken along the status table until it rests."""
    store = open_store()
    mine: list[Task] = []
    for step in range(steps):
        deed = chance.choice(("add", "batch", "claim", "claim", "move", "move", "move", "remove"))
        if deed == "add" or (deed == "batch" and step % 4):
            acknowledge("add", store.add([build(f"{by}-{step}")], by=by)[0], by)
        elif deed == "batch":
            for added in store.add([build(f"{by}-{step}-{place}") for place in range(3)], by=by):
                acknowledge("add", added, by)
        elif deed == "claim" and (found := store.claim(first_todo, claimed, by=by)) is not None:
            acknowledge("claim", found, by)
            mine.append(found)
        elif deed == "move" and mine:
            held = mine.pop(0)
            to = chance.choice(sorted(TRANSITIONS[held.status]))
            moved = store.change(held.id, lambda task, to=to: task.advance(to, at=datetime.now(UTC)), by=by)
            acknowledge("move", moved, by)
            if moved.status not in AT_REST:
                mine.append(moved)
        elif deed == "remove" and mine and step % 3 == 0:
            gone = store.remove(mine.pop().id, lambda _task: None, by=by)
            acknowledge("remove", gone._replace(rev=gone.rev + 1), by)


def add(by: str, tasks: int) -> None:
    """Add tasks one by one; the last has a text that is a blob."""
    store = open_store()
    for number in range(tasks):
        text = "y" * 300_000 if number == tasks - 1 else "x"
        acknowledge("add", store.add([build(f"{by}-{number}", text)], by=by)[0], by)


def keep_a_nursery() -> None:
    for generation, _ in enumerate(sys.stdin):
        child = os.fork()
        if child:
            os.waitpid(child, 0)
            say("gone")
            continue
        say(str(os.getpid()))
        live(f"{name}-{generation}", 100_000, random.Random(f"{seed}-{generation}"))


def forget() -> None:
    """Delete the index until nobody listens any more; say how often there was one."""
    index = Path(queue, "index")
    times = 0
    while not select.select([sys.stdin], [], [], 0.001)[0]:
        times += any(index.glob("*"))
        shutil.rmtree(index, ignore_errors=True)
    say(str(times))


say("ready")
sys.stdin.readline()
match what:
    case "live":
        live(name, int(count), random.Random(seed))
    case "add":
        add(name, int(count))
    case "bulk":
        open_store().add([build(f"{name}-{number}") for number in range(int(count))], by=name)
    case "nursery":
        keep_a_nursery()
    case "forget":
        forget()
