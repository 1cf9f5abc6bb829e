"""One attempt of one claimed task, from its lease to its settlement.

Guarantees: a result is accepted only from the claim that the journal knows (the token); the result is on disk, where
its disk takes it, before the journal is told; a task never stays in a running status because its worker failed.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from orchestration.core.attempts import AttemptResult, AttemptSpec
from orchestration.core.errors import BusyError, TaskqError
from orchestration.core.events import TaskSettled
from orchestration.core.facts import Failure, Run, Runner, SandboxFacts
from orchestration.core.models import SCHEMA_VERSION, Task
from orchestration.core.naming import branch_for
from orchestration.core.ports import TaskStore
from orchestration.core.snapshot import Snapshot
from orchestration.core.status import Status
from orchestration.engine.lease import hold
from orchestration.pipeline.equipment import equip
from orchestration.pipeline.failure import from_error
from orchestration.pipeline.parts import Parts
from orchestration.pipeline.processor import process
from orchestration.pipeline.recipes import Recipe, salvage, standard
from orchestration.pipeline.room import Room
from orchestration.pipeline.stage import Attempt, StopSwitch
from orchestration.support.files import make_private_folder
from orchestration.support.logs import get_logger

log = get_logger()

_NOT_BUILT: Final = Failure(stage="build", code="bug", message="the attempt ended well, but nothing was built")


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """Claims tasks and runs their attempts; one object serves all threads of a runner.

    *allow* and *allow_private* are what the operator's configuration opens the network to.
    """

    store: TaskStore
    parts: Parts
    runner: Runner
    dirty_run: bool = False
    allow: tuple[str, ...] = ()
    allow_private: tuple[str, ...] = ()
    after_failure: Callable[[Task], None] | None = None

    def claim(self, choose: Callable[[Snapshot], Task | None]) -> Task | None:
        """Claim the chosen task, for a new attempt or to go on with its last one; None when nothing was chosen."""
        return self.store.claim(choose, self._claimed, by="run")

    def _claimed(self, task: Task) -> Task:
        now = self.parts.clock.now()
        before = resumable(task.run)
        attempt = task.attempt + 1 if before is None else before.attempt
        run = Run(
            attempt=attempt,
            token=task.rev + 1,
            sandbox=task.sandbox or "",
            folder=str(self.parts.records.folders(task.id, attempt).root),
            runner=self.runner,
            started_at=now,
            session=None if before is None else before.session,
            is_resumed=before is not None,
        )
        return task.advance(Status.PLANNING, at=now)._replace(attempt=attempt, run=run, error=None)

    def run(self, task: Task, *, queue: str, switch: StopSwitch) -> Task:
        """Run the attempt that *task* was claimed for, and settle it; return the task as settled.

        Raises: BusyError when the claim is no longer ours; StorageError or CorruptStateError when the journal cannot
        take the result, which is then in the attempt's folder for the next `run` to settle.
        """
        started = self.parts.clock.monotonic()
        try:
            result = self._attempt(task, queue=queue, switch=switch)
        except TaskqError as error:
            result = self._broken(task, error, switch=switch)
        except Exception as error:  # whatever it was, the task must not stay in a running status
            log.exception("attempt.broke", task=task.id, attempt=task.attempt)
            result = self._broken(task, error, switch=switch)
        settled_task = self.settle(task, result)
        if settled_task.status is Status.FAILED and self.after_failure is not None:
            self.after_failure(settled_task)
        elapsed = timedelta(seconds=self.parts.clock.monotonic() - started)
        self.parts.observe(TaskSettled(task=settled_task, elapsed=elapsed))
        return settled_task

    def _broken(self, task: Task, error: Exception, *, switch: StopSwitch) -> AttemptResult:
        """Return the result of an attempt that failed before its stages, or outside of them."""
        return AttemptResult(
            task=task.id,
            attempt=task.attempt,
            token=task.run.token if task.run is not None else 0,
            finished_at=self.parts.clock.now(),
            failure=from_error(error, stage="setup"),
            stopped=switch.reason,
        )

    def _attempt(self, task: Task, *, queue: str, switch: StopSwitch) -> AttemptResult:
        folders = self.parts.records.folders(task.id, task.attempt)
        make_private_folder(folders.root)
        spec = replace(first_spec(task, queue=queue), allow=self.allow, allow_private=self.allow_private)
        with hold(folders.lease) as lease:
            equipment = equip(self.parts, spec)
            room = Room(self.parts.provider(spec.sandbox), folders, lease=lease, switch=switch)
            recipe = standard(self.parts, room, equipment, dirty_run=self.dirty_run)
            attempt = Attempt(task=task, spec=equipment.spec, folders=folders, session=spec.session)
            return self._process(attempt, recipe, room, switch=switch)

    def salvage(self, task: Task, spec: AttemptSpec, *, switch: StopSwitch) -> AttemptResult:
        """Take out what a crashed attempt left. Raises: BusyError while somebody holds it."""
        folders = self.parts.records.folders(task.id, task.attempt)
        with hold(folders.lease) as lease:
            equipment = equip(self.parts, spec)
            room = Room(self.parts.provider(spec.sandbox), folders, lease=lease, switch=switch)
            attempt = Attempt(
                task=task,
                spec=replace(equipment.spec, allow_empty=True),
                folders=folders,
                prepared=True,
                collected=False,
                session=task.run.session if task.run is not None else None,
            )
            room.enter(equipment.spec)
            return self._process(attempt, salvage(self.parts, room, equipment), room, switch=switch)

    def _process(self, attempt: Attempt, recipe: Recipe, room: Room, *, switch: StopSwitch) -> AttemptResult:
        try:
            ended = process(
                attempt, recipe, enter=self._enter, switch=switch, observe=self.parts.observe, clock=self.parts.clock
            )
        finally:
            room.leave()
        result = AttemptResult(
            task=attempt.spec.task,
            attempt=attempt.spec.attempt,
            token=attempt.spec.token,
            finished_at=self.parts.clock.now(),
            revision=ended.revision,
            failure=ended.failure,
            collected=ended.collected,
            stopped=ended.stopped,
            session=ended.session,
            usage=ended.usage,
            timings=ended.timings,
            sandbox=room.facts,
        )
        try:
            return self.parts.records.save_result(result, ended.task)
        except TaskqError as error:  # what was collected counts, also when only the journal can still be written
            log.warning("result.not_saved", task=result.task, attempt=result.attempt, error=str(error))
            return result

    def _enter(self, attempt: Attempt, status: Status) -> Task:
        """Record that the held task is in *status* now. Raises: BusyError when the claim is no longer ours."""
        task = attempt.task

        def enter(current: Task) -> Task:
            if not is_claim_of(task, current):
                raise BusyError(f"task {task.id} is no longer ours: it is {current.status}", code="fenced")
            if current.status is status:
                return current
            now = current.advance(status, at=self.parts.clock.now())
            return observed(now, attempt.sandbox, session=attempt.session)

        return self.store.change(task.id, enter, by="run")

    def settle(self, task: Task, result: AttemptResult, *, reason: str | None = None) -> Task:
        """Record *result* if its claim is the journal's; *reason* is why a task that did not end goes back to todo."""

        def record(current: Task) -> Task:
            if current.run is None or current.run.token != result.token:
                raise BusyError(
                    f"task {task.id} was claimed again; the result of attempt {result.attempt} stays unused"
                )
            return settled(current, result, reason=reason)

        return self.store.change(task.id, record, by="run")

    def requeue(self, task: Task, reason: str) -> Task:
        """Put a task that never got as far as a workspace back to todo. Raises: BusyError when it was claimed again."""

        def record(current: Task) -> Task:
            if not current.is_running or current.run != task.run:
                raise BusyError(f"task {task.id} is no longer abandoned: it is {current.status}")
            todo = current.advance(Status.TODO, at=self.parts.clock.now(), reason=reason)
            return todo._replace(run=resumable(current.run))

        return self.store.change(task.id, record, by="recover")


def is_claim_of(task: Task, current: Task) -> bool:
    """Return whether *current* is still under the claim under which *task* runs."""
    return (
        current.is_running and current.run is not None and task.run is not None and current.run.token == task.run.token
    )


def resumable(run: Run | None) -> Run | None:
    """Return the *run* that a claim goes on with: one of which that was asked for; an interruption does not undo it."""
    return run if run is not None and run.is_resumed else None


def observed(task: Task, sandbox: SandboxFacts | None, *, session: str | None) -> Task:
    """Return *task* with what was observed of its sandbox and its agent's session, where something was."""
    run = task.run
    if run is None or (sandbox is None and session is None):
        return task
    return task._replace(run=replace(run, observed=sandbox or run.observed, session=session or run.session))


def settled(current: Task, result: AttemptResult, *, reason: str | None = None) -> Task:
    """Return *current* with *result*: in review, failed, or back in todo when it was ended from outside. Pure."""
    at = result.finished_at
    known = observed(current, result.sandbox, session=result.session)._replace(
        revision=result.revision or current.revision, usage=result.usage or current.usage, updated_at=at
    )
    if not current.is_running:  # cancelled under us: what was collected is kept all the same
        return known
    if result.stopped is not None or reason is not None:
        todo = known.advance(Status.TODO, at=at, reason=reason or result.stopped)
        return todo._replace(run=resumable(known.run))
    if result.failure is not None:
        failed = known.advance(Status.FAILED, at=at, reason=result.failure.code)
        return failed._replace(error=result.failure, charged=current.charged + 1)
    if current.status is Status.PLANNING:
        return settled(current, replace(result, failure=_NOT_BUILT))
    return known.advance(Status.REVIEW, at=at)._replace(charged=current.charged + 1)


def first_spec(task: Task, *, queue: str) -> AttemptSpec:
    """Return the attempt's description as far as it is known before setup."""
    if task.run is None:
        raise ValueError(f"task {task.id} is not claimed")
    commit = task.base_commit or ""
    return AttemptSpec(
        version=SCHEMA_VERSION,
        queue=queue,
        task=task.id,
        attempt=task.attempt,
        token=task.run.token,
        text=task.text or "",
        repo=task.repo,
        base=task.base,
        base_commit=commit,
        branch=task.branch or branch_for(task.id),
        worktree_path=task.worktree_path,
        agent=task.agent or "",
        agent_command=task.agent_command,
        model=task.model,
        variant=task.variant,
        sandbox=task.run.sandbox,
        limits=task.limits,
        allow_empty=task.allow_empty,
        network=task.network,
        created_at=task.created_at,
        start_commit=commit,
        session=task.run.session,
        previous_tip=task.revision.commit if task.revision is not None and task.revision.published else None,
        collect=1,
    )
