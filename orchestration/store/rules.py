"""What the store refuses whoever asks: duplicate ids, dependencies that cannot be met, transitions off the table."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from orchestration.core.errors import DuplicateTaskError, TaskqError, UsageError
from orchestration.core.models import Task
from orchestration.core.naming import id_key, task_id
from orchestration.core.status import TRANSITIONS

_WaitsFor = Callable[[str], Sequence[str]]


class Dependencies(Protocol):
    """Which tasks of the queue wait for which."""

    def waits_for(self, identifier: str) -> Sequence[str]:
        """Return what the task of this id waits for. Raises: KeyError when there is no such task."""
        ...

    def is_awaited(self, identifiers: Iterable[str]) -> bool:
        """Return whether a task of the queue waits for one of *identifiers*."""
        ...


def check_new(tasks: Iterable[Task], taken: Callable[[str], str | None]) -> None:
    """Refuse ids that break the grammar, are in the queue (*taken* says as which) or come twice."""
    batch: dict[str, str] = {}
    for task in tasks:
        task_id(task.id)
        present = taken(task.id)
        if present is not None:
            spelled = "" if present == task.id else f" as {present}"
            raise DuplicateTaskError(f"task {task.id} is already in the queue{spelled}; choose another id")
        if id_key(task.id) in batch:
            other = batch[id_key(task.id)]
            raise DuplicateTaskError(f"task {task.id} is given twice (as {other} too); give every task its own id")
        batch[id_key(task.id)] = task.id


def check_dependencies(tasks: Sequence[Task], stored: Dependencies) -> None:
    """Refuse an ``after`` of *tasks* that names no task or that leads back to where it starts."""
    if not any(task.after for task in tasks):
        return
    given: Mapping[str, Sequence[str]] = {id_key(task.id): task.after for task in tasks}
    for task in tasks:
        for identifier in task.after:
            if id_key(identifier) in given:
                continue
            try:
                stored.waits_for(identifier)
            except KeyError:
                msg = f"task {task.id} waits for {identifier!a}, which is not in the queue; add that one first"
                raise UsageError(msg, code="unknown_dependency") from None
    # A ring that leads through the queue comes back from it, to a task that is waited for there.
    comes_back = stored.is_awaited(given)

    def waits_for(identifier: str) -> Sequence[str]:
        if id_key(identifier) in given:
            return given[id_key(identifier)]
        return stored.waits_for(identifier) if comes_back else ()

    finished: set[str] = set()
    for task in tasks:
        _refuse_cycle(task.id, waits_for, finished)


def check_transition(before: Task, after: Task) -> None:
    """Refuse a change that no caller may make: a guard against our own bugs."""
    if after.id != before.id:
        raise TaskqError(f"a change of task {before.id} would rename it to {after.id!a}")
    if after.status is not before.status and after.status not in TRANSITIONS[before.status]:
        raise TaskqError(f"a change of task {before.id} goes from {before.status} to {after.status}, off the table")


def _refuse_cycle(start: str, waits_for: _WaitsFor, finished: set[str]) -> None:
    """Walk depth first without recursion, so that a long chain is no problem."""
    path: list[tuple[str, list[str]]] = [(start, _waiting(start, waits_for))]
    on_path = {id_key(start)}
    while path:
        current, left = path[-1]
        if not left:
            path.pop()
            on_path.discard(id_key(current))
            finished.add(id_key(current))
            continue
        following = left.pop()
        if id_key(following) in on_path:
            names = [name for name, _ in path]
            first = next(place for place, name in enumerate(names) if id_key(name) == id_key(following))
            circle = " -> ".join([*names[first:], following])
            msg = f"these tasks would wait for each other for ever: {circle}; leave out one 'after'"
            raise UsageError(msg, code="dependency_cycle")
        if id_key(following) not in finished:
            path.append((following, _waiting(following, waits_for)))
            on_path.add(id_key(following))


def _waiting(identifier: str, waits_for: _WaitsFor) -> list[str]:
    try:
        return list(waits_for(identifier))
    except KeyError:
        return []  # removed since; that task says so itself
