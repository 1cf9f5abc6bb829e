"""What an operator does with a task: approve, retry, cancel, remove.

Guarantees: a landing is bound to the revision that the journal names; asking again changes nothing.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import Final, Literal

from orchestration.core.errors import BusyError, RepositoryError, TaskNotFoundError, UsageError
from orchestration.core.facts import Landed, Revision, Run
from orchestration.core.models import Task
from orchestration.core.naming import branch_for
from orchestration.core.ports import AttemptRecords, Clock, Repository, TaskStore
from orchestration.core.snapshot import Snapshot
from orchestration.core.status import Status
from orchestration.engine.ahead import is_ahead, undisturbed
from orchestration.engine.lease import is_held
from orchestration.pipeline.kept import missing, not_resumable

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

        Only what is recorded is accepted: never while the sandbox or the branch may hold more.
        Raises: IllegalTransitionError, RepositoryError, BusyError; the task then stays in review.
        """
        task = self.task(identifier)
        task.advance(Status.DONE, at=self.clock.now(), hint=_approve_hint(task))

        def approve(current: Task) -> Task:
            if current.revision != task.revision:
                raise BusyError(f"the work of {task.id} has changed since it was looked at; review it again")
            done = current.advance(Status.DONE, at=self.clock.now(), hint=_approve_hint(current))
            return done._replace(landed=landed)

        with self._nothing_ahead(task):
            landed = self._land(task, how=land)
            return self.store.change(task.id, approve, by="approve")

    @contextmanager
    def _nothing_ahead(self, task: Task) -> Iterator[None]:
        """See that all of the task's work is in its revision, and keep it so for the length of the block.

        Raises: BusyError that says how to go on.
        """
        folders = self.records.folders(task.id, task.attempt)
        with undisturbed(task, folders) if folders.root.is_dir() else nullcontext():
            if is_ahead(folders):
                message = (
                    f"a review of {task.id} ended before its work was taken; collect it with: taskq collect {task.id}"
                )
                raise BusyError(message, code="uncollected")
            if task.revision is not None:
                self._check_branch(task, task.revision)
            yield

    def _check_branch(self, task: Task, revision: Revision) -> None:
        """Refuse when a person committed on the task's branch. Raises: BusyError."""
        branch = task.branch or branch_for(task.id)
        try:
            tip = self.repository.inspect(Path(task.repo), f"refs/heads/{branch}", None).base_commit
        except RepositoryError as error:
            if error.code != "no_base":
                raise
            return
        if tip == revision.commit or not (revision.published or tip == self.repository.preserve(task)):
            return
        message = (
            f"branch {branch} is at {tip[:12]}, and the collected work of {task.id} at {revision.commit[:12]}; merge "
            f"the branch yourself and cancel the task, or keep it under another name, and then approve: "
            f"git branch --move {branch} NAME && git branch {branch} {revision.commit[:12]}"
        )
        raise BusyError(message, code="branch_ahead")

    def _land(self, task: Task, *, how: Landing) -> Landed | None:
        if how == "none":
            return None
        if task.revision is None:
            raise UsageError(f"task {task.id} changed nothing, so there is nothing to land; approve it without --land")
        return self.repository.land(task, task.revision, at=self.clock.now())

    def retry(self, identifier: str, *, resume: bool = False) -> Task:
        """Put a failed task back to todo, branch and worktree kept: for an attempt with fresh folders.

        With *resume* its last attempt is to go on instead, in its own folders and its agent's session.
        Raises: UsageError when that cannot be, BusyError while somebody holds the attempt.
        """

        def retry(current: Task) -> Task:
            if current.status is not Status.FAILED:  # the table lets others go back to todo, for other reasons
                hint = _RETRY_HINTS.get(current.status, "it runs now; cancel it first")
                raise UsageError(
                    f"task {current.id} is {current.status}, and only failed tasks can be retried; {hint}",
                    code="illegal_transition",
                )
            todo = current.advance(Status.TODO, at=self.clock.now(), reason="to be resumed" if resume else "retried")
            return todo._replace(run=self._to_resume(current) if resume else None, error=None)

        return self.store.change(self.task(identifier).id, retry, by="retry")

    def _to_resume(self, task: Task) -> Run:
        """Return the run that the next claim is to go on with. Raises: UsageError, BusyError."""
        folders = self.records.folders(task.id, task.attempt)
        if task.run is None:
            raise not_resumable(task, "its folders were taken away")
        if task.run.session is None:
            raise not_resumable(task, "its agent told of no session")
        if is_held(folders.lease):
            raise BusyError(f"attempt {task.attempt} of {task.id} is still held; try again when it has ended")
        gone = missing(folders)
        if gone is not None:
            raise not_resumable(task, gone)
        result = self.records.load_result(task.id, task.attempt)
        if result is None or not result.collected:
            raise not_resumable(task, f"its work could not be collected and stays in {folders.root}")
        return replace(task.run, is_resumed=True)

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
        awaiting = [other.id for other in self.store.read().awaiting(task.id) if other.status is Status.TODO]
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
        ids = list(snapshot.ids(identifier[:1])) or snapshot.ids()
        near = get_close_matches(identifier, ids, n=3, cutoff=0.6)
        hint = f"did you mean {', '.join(near)}?" if near else "see the ids with: taskq status"
        raise TaskNotFoundError(f"no task {identifier[:80]!a}; {hint}")
    return task
