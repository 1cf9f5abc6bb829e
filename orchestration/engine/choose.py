"""Which task is next, and why the others wait. Pure."""

from collections.abc import Callable, Iterable
from datetime import datetime

from orchestration.core.models import Task
from orchestration.core.snapshot import Snapshot
from orchestration.core.status import RUNNING, Status


def obstacle(task: Task, snapshot: Snapshot, *, now: datetime) -> str | None:
    """Return in words why *task*, which is todo, may not start yet; None when it may."""

    def status_of(identifier: str) -> Status | None:
        parent = snapshot.find(identifier)
        return None if parent is None else parent.status

    return hindrance(task.not_before, task.after, status_of, now=now)


def hindrance(
    not_before: datetime | None, after: Iterable[str], status_of: Callable[[str], Status | None], *, now: datetime
) -> str | None:
    """Return in words what keeps a task from starting that waits for a time and for others; *status_of* knows those."""
    if not_before is not None and not_before > now:
        return f"not before {not_before:%Y-%m-%d %H:%M:%SZ}"
    parents = ((identifier, status_of(identifier)) for identifier in after)
    waits = [f"{name} ({status or 'no such task'})" for name, status in parents if status is not Status.DONE]
    return f"after {', '.join(waits)}" if waits else None


def ready(snapshot: Snapshot, *, now: datetime) -> Iterable[Task]:
    """Yield the tasks that may start, the most urgent first."""
    return (task for task in snapshot.urgent(now) if obstacle(task, snapshot, now=now) is None)


def next_task(snapshot: Snapshot, *, now: datetime) -> Task | None:
    """Return the most urgent task that may start, the earliest added among equals; None when none may."""
    return next(iter(ready(snapshot, now=now)), None)


def sandboxes_wanted(snapshot: Snapshot, *, now: datetime, only: str | None = None) -> frozenset[str]:
    """Return the kinds of sandbox that a run would need now: for what is ready, and for what was left running.

    With *only*, of what is ready just that task counts.
    """
    left = frozenset(kind for status in RUNNING for kind in snapshot.sandboxes(status))
    if only is not None:
        task = snapshot.find(only)
        is_meant = task is not None and task.status is Status.TODO and obstacle(task, snapshot, now=now) is None
        return left | {task.sandbox or ""} if task is not None and is_meant else left
    missing = snapshot.sandboxes(Status.TODO) - left
    wanted: set[str] = set()
    for task in ready(snapshot, now=now):
        if missing <= wanted:
            break
        wanted.add(task.sandbox or "")
    return left | wanted
