"""What a reader sees of the queue, and what was damaged in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from orchestration.core.status import Status
from orchestration.core.urgency import urgency_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from datetime import datetime

    from orchestration.core.glance import Glance
    from orchestration.core.models import Task


class Damage(NamedTuple):
    """A line of the journal that cannot be believed. *line* counts from 1, *offset* is in bytes."""

    line: int
    offset: int
    why: str


class Snapshot:
    """The queue as a reader sees it; here in memory, which says what every other kind answers.

    A store's snapshot asks the store at every call, so that it costs nothing to have one of a million tasks: each
    answer is of one moment, and inside of a change or a claim all are of the same.
    """

    def __init__(
        self, *, queue: str | None, seq: int, tasks: Mapping[str, Task], damage: tuple[Damage, ...] = ()
    ) -> None:
        self._queue = queue
        self._seq = seq
        self._tasks = tasks
        self._damage = damage

    @property
    def queue(self) -> str | None:
        """The queue's own id; None before its first change."""
        return self._queue

    @property
    def seq(self) -> int:
        """The number of the last change."""
        return self._seq

    @property
    def damage(self) -> tuple[Damage, ...]:
        """What of the journal cannot be believed, as far as it was looked at."""
        return self._damage

    @property
    def tasks(self) -> Mapping[str, Task]:
        """Every task by its id, in the order in which they were added."""
        return self._tasks

    def find(self, identifier: str) -> Task | None:
        """Return the task of this id, case ignored, or None."""
        wanted = identifier.lower()
        return next((task for task in self.tasks.values() if task.id.lower() == wanted), None)

    def counts(self) -> Mapping[Status, int]:
        """Return how many tasks have each status; all of the statuses, in their order."""
        counts = dict.fromkeys(Status, 0)
        for task in self.tasks.values():
            counts[task.status] += 1
        return counts

    def sandboxes(self, status: Status) -> frozenset[str]:
        """Return the kinds of sandbox of the tasks that have this status; "" for those that name none."""
        return frozenset(task.sandbox or "" for task in self.select((status,)))

    def select(self, statuses: Collection[Status]) -> Iterable[Task]:
        """Yield the tasks that have one of *statuses*, in the order in which they were added."""
        return (task for task in self.tasks.values() if task.status in statuses)

    def glances(self, statuses: Collection[Status] | None = None) -> Iterable[Glance]:
        """Yield what lists show of the tasks that have one of *statuses*, or of all, in the order of adding."""
        return self.tasks.values() if statuses is None else self.select(statuses)

    def urgent(self, now: datetime) -> Iterable[Task]:  # noqa: ARG002 -- for those that know who may start
        """Yield the tasks that are todo, the most urgent first, the earliest added among equals.

        One that may not start at *now* can be left out.
        """
        return sorted(self.select((Status.TODO,)), key=urgency_of)

    def awaiting(self, identifier: str) -> Iterable[Task]:
        """Yield the tasks that wait for the task of this id, case ignored, in the order in which they were added."""
        wanted = identifier.lower()
        return (task for task in self.tasks.values() if wanted in map(str.lower, task.after))

    def ids(self, prefix: str = "") -> Iterable[str]:
        """Yield the ids that begin with *prefix*, case ignored."""
        return (identifier for identifier in self.tasks if identifier.lower().startswith(prefix.lower()))
