"""A finished attempt opened again: a person goes on in its kept folders, and what that adds becomes a new revision.

Guarantees: one process at a time; what was added is never lost: until it is under our ref, a mark in the attempt's
folder (`engine.ahead`) keeps it from being approved around or cleaned up. No ref is ever moved, and no revision that
was recorded meanwhile is overruled.
Not responsible for: what the person does; a visitor is a function that is handed the open sandbox.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from typing import Final

from orchestration.core.attempts import AttemptFolders
from orchestration.core.errors import BusyError, SandboxError, TaskNotFoundError, TaskqError, UsageError
from orchestration.core.facts import Revision
from orchestration.core.models import Task
from orchestration.core.ports import AgentJob, AgentServer, Sandbox, TaskStore, discard_output
from orchestration.core.review import Visit, Visitor
from orchestration.core.status import Status
from orchestration.engine.ahead import clear_ahead, is_ahead, set_ahead, undisturbed
from orchestration.engine.operate import find
from orchestration.pipeline.equipment import Equipment, equip
from orchestration.pipeline.kept import missing
from orchestration.pipeline.parts import Parts
from orchestration.pipeline.recipes import salvage
from orchestration.pipeline.room import Room
from orchestration.pipeline.stage import Attempt, StopSwitch
from orchestration.support.logs import get_logger

log = get_logger()

LONGEST_VISIT: Final = timedelta(days=7)
"""After which what a person left open ends by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What became of an attempt that was open. *revision* is what was added to the task's; None when nothing was.

    *unrecorded* says why the task does not name the revision, which is under its ref all the same. *problem* is what
    the visit ended with, when it did not end well.
    """

    task: Task
    revision: Revision | None = None
    unrecorded: str | None = None
    problem: TaskqError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """An attempt that is held, and the room that its sandbox is opened in."""

    task: Task
    folders: AttemptFolders
    equipment: Equipment
    room: Room


@dataclass(frozen=True, slots=True, kw_only=True)
class Attendant:
    """Opens finished attempts. Whoever made this sets *left* when the person is to leave."""

    store: TaskStore
    parts: Parts
    left: threading.Event = field(default_factory=threading.Event)

    def attend(self, identifier: str, visitor: Visitor) -> Collected:
        """Open the attempt of a task in review for *visitor*, and collect what was added.

        Raises: UsageError when it cannot be opened, BusyError while it is open elsewhere, SandboxError, and what
        collecting raises: then the mark stays, and `collect` does it again.
        """
        with self._held(identifier, is_visit=True) as place:
            problem = self._visit(place, visitor)
            return replace(self._collect(place, by="review"), problem=problem)

    def collect(self, identifier: str) -> Collected:
        """Collect what a review left that ended early; or see that there is nothing. Raises: as `attend`."""
        with self._held(identifier, is_visit=False) as place:
            with self._marked(place):
                self._enter(place)
            return self._collect(place, by="collect")

    @contextmanager
    def _held(self, identifier: str, *, is_visit: bool) -> Iterator[_Place]:
        """Hold the attempt for the length of the block, after which nothing of it runs."""
        task = find(self.store.read(), identifier)
        folders = self.parts.records.folders(task.id, task.attempt)
        _check_status(task, folders, is_visit=is_visit)
        spec = self.parts.records.load_spec(task.id, task.attempt)
        gone = "its description is gone" if spec is None else missing(folders)
        if spec is None or gone is not None:
            message = f"attempt {task.attempt} of {task.id} cannot be opened again: {gone}; its work is shown by: "
            raise UsageError(f"{message}taskq review {task.id} --diff", code="not_kept")
        with undisturbed(task, folders) as lease:
            task = find(self.store.read(), task.id)
            _check_status(task, folders, is_visit=is_visit)
            equipment = equip(self.parts, spec)
            provider = self.parts.provider(spec.sandbox)
            provider.reap(spec.labels)
            room = Room(provider, folders, lease=lease, switch=StopSwitch())
            try:
                yield _Place(task=task, folders=folders, equipment=equipment, room=room)
            finally:
                room.leave()

    @contextmanager
    def _marked(self, place: _Place) -> Iterator[None]:
        """Say that the attempt may be ahead from now on; a block that fails has let nobody in, and takes that back."""
        was_ahead = is_ahead(place.folders)
        set_ahead(place.folders, at=self.parts.clock.now())
        try:
            yield
        except TaskqError:
            if not was_ahead:
                clear_ahead(place.folders)
            raise

    def _visit(self, place: _Place, visitor: Visitor) -> TaskqError | None:
        """Let the person in until they leave; return what that ended with, when it did not end well."""
        with self._marked(place):
            sandbox = self._enter(place)
            visit = self._welcome(place, sandbox)
        try:
            if not self.left.is_set():
                visitor(visit)
        except TaskqError as error:
            return error
        return None

    def _enter(self, place: _Place) -> Sandbox:
        """Open the sandbox; where its image is gone, from one that is made again."""
        spec = place.equipment.spec
        try:
            return place.room.enter(spec)
        except SandboxError as error:
            if error.code != "image_missing":
                raise
        image = place.room.prepare(spec, self.parts.workspace.base(spec), discard_output)
        return place.room.enter(replace(spec, image=image))

    def _welcome(self, place: _Place, sandbox: Sandbox) -> Visit:
        if sandbox.services is None:
            kind, identifier = place.equipment.spec.sandbox, place.task.id
            message = f"nobody can visit a sandbox of kind {kind}; see the work with: taskq review {identifier} --diff"
            raise UsageError(message, code="no_services")
        return Visit(
            task=place.task,
            folders=place.folders,
            services=sandbox.services,
            serve=partial(self._serve, place, sandbox),
            left=self.left,
            stop=sandbox.stop,
        )

    @contextmanager
    def _serve(self, place: _Place, sandbox: Sandbox) -> Iterator[AgentServer]:
        """Open the agent's session while the block lasts. Raises: UsageError when the agent has none."""
        spec = place.equipment.spec
        session = session_of(place.task, self.parts)
        job = AgentJob(spec=spec, folders=place.folders, timeout=LONGEST_VISIT, session=session)
        served = None if session is None else place.equipment.agent.serve(sandbox, job, discard_output)
        if served is None:
            raise no_session(place.task)
        with served as server:
            yield server

    def _collect(self, place: _Place, *, by: str) -> Collected:
        """Take out what is there under a ref of its own, and record it where it is new."""
        task, known = place.task, place.task.revision
        is_next = known is not None and known.attempt == task.attempt
        spec = replace(place.equipment.spec, allow_empty=True, collect=known.collect if known and is_next else 1)
        attempt = Attempt(task=task, spec=spec, folders=place.folders, prepared=True, collected=False)
        for stage in salvage(self.parts, place.room, place.equipment):
            attempt = stage.run(attempt)
        found = attempt.revision
        is_new = found is not None and (known is None or found.commit != known.commit)
        collected = self._record(task, found, by=by) if found is not None and is_new else Collected(task=task)
        clear_ahead(place.folders)
        log.info("attempt.collected", task=task.id, attempt=spec.attempt, ref=found.ref if found is not None else None)
        return collected

    def _record(self, task: Task, revision: Revision, *, by: str) -> Collected:
        def record(current: Task) -> Task:
            if current.status is not Status.REVIEW:
                raise BusyError(f"{task.id} is {current.status}")
            if current.revision != task.revision:
                raise BusyError(f"{task.id} got another revision meanwhile")
            return current._replace(revision=revision, verification=None, updated_at=self.parts.clock.now())

        try:
            return Collected(task=self.store.change(task.id, record, by=by), revision=revision)
        except (BusyError, TaskNotFoundError) as error:
            return Collected(task=task, revision=revision, unrecorded=str(error))


def session_of(task: Task, parts: Parts) -> str | None:
    """Return the agent's session in the task's attempt; None when there is none."""
    if task.run is not None and task.run.session is not None:
        return task.run.session
    result = parts.records.load_result(task.id, task.attempt)
    return result.session if result is not None else None


def no_session(task: Task) -> UsageError:
    """Return the error that says that the task's agent has no session to open."""
    message = f"agent {task.agent} left no session of {task.id}; look around with: taskq review {task.id} --shell"
    return UsageError(message, code="no_session")


def _check_status(task: Task, folders: AttemptFolders, *, is_visit: bool) -> None:
    """Refuse a task whose attempt may not be opened now; what a review left is collected whatever the task is by now.

    Raises: UsageError.
    """
    if task.status is Status.REVIEW or (not is_visit and not task.is_running and is_ahead(folders)):
        return
    what = "opened for a review" if is_visit else "collected again"
    raise UsageError(
        f"task {task.id} is {task.status}, and only what is in review can be {what}; see: taskq show {task.id}",
        code="illegal_transition",
    )
