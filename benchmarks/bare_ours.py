"""What a process of a crowd does with taskq's own store, through the port that the engine has."""

import os
import shutil
import socket
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.bare_worker import Act, Given
from orchestration.core.facts import Run, Runner
from orchestration.core.models import Task
from orchestration.core.naming import TaskId
from orchestration.core.snapshot import Snapshot
from orchestration.core.status import Status
from orchestration.engine.choose import next_task
from orchestration.store.tasks import JournalTaskStore
from orchestration.support.clock import SystemClock


def open_store(queue: Path) -> JournalTaskStore:
    """Return the store of *queue*, as a process that just started has it."""
    return JournalTaskStore(queue, SystemClock())


def count_tasks(queue: Path) -> int:
    """Return how many tasks *queue* has, by the counts of every status."""
    return sum(open_store(queue).read().counts().values())


def add(given: Given) -> Act:
    """Add one task after the other, each durable before the next."""
    store = open_store(given.place)
    (pattern,) = open_store(given.template).read().tasks.values()
    tasks = [_named(pattern, f"{given.name}-{number}") for number in range(given.times + 1)]

    def act(number: int) -> str:
        (added,) = store.add([tasks[number]], by="bench")
        return added.id

    return act


def claim(given: Given) -> Act:
    """Claim one task after the other with one open store, as a runner does."""
    store = open_store(given.place)
    return lambda _number: _claim(store)


def claim_anew(given: Given) -> Act:
    """Claim one task after the other, each with a store that was just opened."""
    return lambda _number: _claim(open_store(given.place))


def counts_anew(given: Given) -> Act:
    """Count the tasks of each status, each time with a store that was just opened."""

    def act(_number: int) -> None:
        count_tasks(given.place)

    return act


def rebuild(given: Given) -> Act:
    """Count the tasks of a queue whose index was taken away."""
    shutil.rmtree(given.place / "index", ignore_errors=True)

    def act(_number: int) -> str:
        return str(count_tasks(given.place))

    return act


def _claim(store: JournalTaskStore) -> str:
    claimed = store.claim(_next, _claimed, by="run")
    if claimed is None:
        raise RuntimeError("no task is left to claim; the queue is too small for so many rounds")
    return claimed.id


def _next(snapshot: Snapshot) -> Task | None:
    return next_task(snapshot, now=datetime.now(UTC))


def _claimed(task: Task) -> Task:
    """Return *task* with what a runner writes when it claims."""
    now = datetime.now(UTC)
    attempt = task.attempt + 1
    run = Run(
        attempt=attempt,
        token=task.rev + 1,
        sandbox=task.sandbox or "",
        folder=f"/srv/attempts/{task.id}/{attempt}",
        runner=Runner(host=socket.gethostname(), pid=os.getpid(), started="1", boot="00000000-0000-0000-0000"),
        started_at=now,
    )
    return task.advance(Status.PLANNING, at=now)._replace(attempt=attempt, run=run, error=None)


def _named(pattern: Task, name: str) -> Task:
    now = datetime.now(UTC)
    return pattern._replace(id=TaskId(name), branch=f"task/{name}", rev=0, created_at=now, updated_at=now)
