"""Which tasks can leave the queue for the archive, and why the others stay.

Not responsible for: the archive's files (``store.archive``).
"""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Final

from orchestration.core.models import Task
from orchestration.core.ports import AttemptRecords
from orchestration.core.snapshot import Snapshot
from orchestration.core.status import Status

OVER: Final = (Status.DONE, Status.CANCELLED)

Leftover = Callable[[Task], str | None]


def archivable(snapshot: Snapshot, *, before: datetime, leftover: Leftover) -> tuple[list[Task], dict[str, str]]:
    """Return the tasks that are over and were not changed since *before*, and for those that must stay the reason."""
    chosen: list[Task] = []
    kept: dict[str, str] = {}
    for task in snapshot.select(OVER):
        if task.updated_at >= before:
            continue
        why = _awaited(snapshot.awaiting(task.id)) or leftover(task)
        if why is None:
            chosen.append(task)
        else:
            kept[task.id] = why
    return chosen, kept


def left_behind(task: Task, records: AttemptRecords) -> str | None:
    """Say what cleanup has still to take away of *task*, or None."""
    for attempt in range(1, task.attempt + 1):
        if records.folders(task.id, attempt).root.exists():
            return f"attempt {attempt} is still there; run: taskq cleanup {task.id}"
    if task.revision is not None and task.worktree_path is not None:
        return f"its worktree is still there; run: taskq cleanup {task.id}"
    if task.run is not None or task.error is not None:
        return f"it was not cleaned up; run: taskq cleanup {task.id}"
    return None


def _awaited(others: Iterable[Task]) -> str | None:
    waiting = [other.id for other in others if other.status not in OVER]
    return f"{', '.join(waiting[:3])} waits for it" if waiting else None
