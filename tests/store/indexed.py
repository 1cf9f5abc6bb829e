"""Stores that keep their indexes in different ways, and all that a reader is told by one."""

from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from orchestration.core.models import Task
from orchestration.core.naming import TaskId
from orchestration.core.snapshot import Snapshot
from orchestration.core.status import Status
from orchestration.store.layout import QueueFolder
from orchestration.store.reader import Effort, JournalReader
from orchestration.store.tasks import JournalTaskStore

START = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
NEVER = Effort(batch=1 << 40)
ANEW = Effort(batch=0, warm=0, extending=1 << 40)
EXTENDED = Effort(batch=0, warm=0, extending=0)
LAGGING = Effort(batch=2500, warm=1 << 40, extending=0)
"""Keeps some lines in memory that its index does not know."""
IDS = st.sampled_from(["a", "B", "c.d", "e-f", "G_1", "h"])


class Clock:
    def __init__(self) -> None:
        self.current = START

    def now(self) -> datetime:
        self.current += timedelta(seconds=1)
        return self.current

    def monotonic(self) -> float:
        return 0.0


def opened(queue: QueueFolder, effort: Effort, clock: Clock | None = None) -> JournalTaskStore:
    clock = clock or Clock()
    return JournalTaskStore(queue.root, clock, reader=JournalReader(queue, clock, effort=effort))


def built(identifier: str, **fields: object) -> Task:
    values = {"repo": "/srv/repo", "base": "main", "status": Status.TODO, "created_at": START, "updated_at": START}
    return Task(id=TaskId(identifier), **{**values, **fields})  # type: ignore[arg-type]  # a builder takes any field


def start(task: Task) -> Task:
    return task.advance(Status.PLANNING, at=START)


def answers(snapshot: Snapshot, now: datetime = START) -> dict[str, object]:
    """Return what a reader is told, in a form that can be compared; of what waits, whether it is left out is free."""
    tasks = list(snapshot.tasks.values())
    done = {task.id.lower() for task in tasks if task.status is Status.DONE}

    def may_start(task: Task) -> bool:
        return (task.not_before is None or task.not_before <= now) and {name.lower() for name in task.after} <= done

    return {
        "tasks": tasks,
        "counts": dict(snapshot.counts()),
        "find": [snapshot.find(name) for name in ("a", "b", "C.D", "nobody")],
        "todo": list(snapshot.select([Status.TODO])),
        "over": list(snapshot.select([Status.DONE, Status.CANCELLED])),
        "urgent": [task.id for task in snapshot.urgent(now) if may_start(task)],
        "awaiting": [[task.id for task in snapshot.awaiting(name)] for name in ("a", "b", "h")],
        "ids": [sorted(snapshot.ids(prefix)) for prefix in ("", "g", "C.")],
    }
