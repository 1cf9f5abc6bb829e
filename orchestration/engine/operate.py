"""What an operator does with a task: approve, retry, cancel, remove.

Guarantees: a landing is bound to the revision that the journal names; asking again changes nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from difflib import get_close_matches
from typing import Final, Literal

from orchestration.core.errors import BusyError, TaskNotFoundError, UsageError
from orchestration.core.facts import Landed
from orchestration.core.models import Task
from orchestration.core.ports import AttemptRecords, Clock, Repository, TaskStore
from orchestration.core.snapshot import Snapshot
from orchestration.core.status import Status
from orchestration.engine.lease import is_held

Landing = Literal["none", "ff"]

_RETRY_HINTS: Final = {
    Status.TODO: "it waits to be run already",
    Status.REVIEW: "look at it with: taskq review",
    Status.DONE: "add a new task for more work",
    Status.CANCELLED: "add it again under another id",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """Changes single tasks on an operator's word."""

    store: TaskStore
    repository: Repository
    records: AttemptRecords
    clock: Clock

    def approve(self, identifier: str, *, land: Landing) -> Task:
        """Accept the task's revision; with *land* ``ff`` bring it into its base first.

        Raises: IllegalTransitionError, RepositoryError, BusyError; the task then stays in review.
        """
        task = self.task(identifier)
        task.advance(Status.DONE, at=self.clock.now(), hint=_approve_hint(task))
        landed = self._land(task, how=land)

        def approve(current: Task) -> Task:
            if current.revision != task.revision:
                raise BusyError(f"the work of {task.id} has changed since it was looked at; review it again")
            done = current.advance(Status.DONE, at=self.clock.now(), hint=_approve_hint(current))
            return done._replace(landed=landed)

        return self.store.change(task.id, approve, by="approve")

    def _land(self, task: Task, *, how: Landing) -> Landed | None:
        if how == "none":
            return None
        if task.revision is None:
            raise UsageError(f"task {task.id} changed nothing, so there is nothing to land; approve it without --land")
        return self.repository.land(task, task.revision, at=self.clock.now())

    def retry(self, identifier: str) -> Task:
        """Put a failed task back to todo: fresh folders next time, branch and worktree kept."""

        def retry(current: Task) -> Task:
            if current.status is not Status.FAILED:  # the table lets others go back to todo, for other reasons
                hint = _RETRY_HINTS.get(current.status, "it runs now; cancel it first")
                raise UsageError(
                    f"task {current.id} is {current.status}, and only failed tasks can be retried; {hint}",
                    code="illegal_transition",
                )
            todo = current.advance(Status.TODO, at=self.clock.now(), reason="retried")
            return todo._replace(run=None, error=None)

        return self.store.change(self.task(identifier).id, retry, by="retry")

    def cancel(self, identifier: str) -> Task:
        """Cancel the task, whatever it does; a cancelled one stays as it is. What runs is ended by its runner."""

        def cancel(current: Task) -> Task:
            if current.status is Status.CANCELLED:
                return current
            return current.advance(Status.CANCELLED, at=self.clock.now(), hint="what is done stays done")

        return self.store.change(self.task(identifier).id, cancel, by="cancel")

    def has_stopped(self, task: Task) -> bool:
        """Return whether nothing of the task's last attempt runs any more."""
        return task.run is None or not is_held(self.records.folders(task.id, task.run.attempt).lease)

    def wait_until_stopped(self, task: Task, *, timeout: timedelta, pause: Callable[[float], None]) -> bool:
        """Wait until nothing of the task runs; False when *timeout* has passed before."""
        deadline = self.clock.monotonic() + timeout.total_seconds()
        while not self.has_stopped(task):
            if self.clock.monotonic() >= deadline:
                return False
            pause(0.05)
        return True

    def check_not_awaited(self, task: Task) -> None:
        """Refuse a task that others wait for. Raises: UsageError that names them."""
        awaiting = [
            other.id
            for other in self.store.read().tasks.values()
            if other.status is Status.TODO and task.id.lower() in map(str.lower, other.after)
        ]
        if awaiting:
            raise UsageError(
                f"task {task.id} is waited for by {', '.join(awaiting)}; remove or cancel those first", code="awaited"
            )

    def remove(self, identifier: str) -> Task:
        """Take the task out of the queue. Raises: UsageError while it runs or another task waits for it."""
        self.check_not_awaited(self.task(identifier))
        return self.store.remove(identifier, check_removable, by="remove")

    def task(self, identifier: str) -> Task:
        """Return the task of this id. Raises: TaskNotFoundError."""
        return find(self.store.read(), identifier)


def check_removable(task: Task) -> None:
    """Refuse a task that runs. Raises: UsageError."""
    if task.is_running:
        raise UsageError(f"task {task.id} is {task.status}; cancel it first: taskq cancel {task.id}", code="running")


def _approve_hint(task: Task) -> str:
    if task.is_running or task.status is Status.TODO:
        return "only what is in review can be approved"
    return f"see why with: taskq show {task.id}"


def find(snapshot: Snapshot, identifier: str) -> Task:
    """Return the task of this id, case ignored. Raises: TaskNotFoundError that names near ones."""
    task = snapshot.find(identifier)
    if task is None:
        near = get_close_matches(identifier, snapshot.tasks, n=3, cutoff=0.6)
        hint = f"did you mean {', '.join(near)}?" if near else "see the ids with: taskq status"
        raise TaskNotFoundError(f"no task {identifier[:80]!a}; {hint}")
    return task
