"""Collect: take the work out of the sandbox, checked, whatever became of the attempt before.

Guarantees: the agent's folders stay as they are until the revision is under our ref.
"""

from dataclasses import replace
from pathlib import Path
from typing import Final

from orchestration.core.errors import SandboxError, WorkFailedError
from orchestration.core.facts import Failure, Revision
from orchestration.core.ports import Command, Repository, Workspace
from orchestration.pipeline.log import StageLog
from orchestration.pipeline.room import Room
from orchestration.pipeline.stage import Attempt
from orchestration.pipeline.stages.work import Watch

BUNDLE: Final = "work.bundle"


def collect(attempt: Attempt, *, workspace: Workspace, repository: Repository, room: Room, watch: Watch) -> Attempt:
    """Return the attempt with its revision published; one that changed nothing has failed unless that is allowed."""
    if not attempt.prepared:
        return attempt
    revision = _take(attempt, workspace=workspace, room=room, watch=watch)
    if revision is None:
        return replace(attempt, collected=True, failure=attempt.failure or _no_changes(attempt))
    return replace(attempt, collected=True, revision=repository.publish(attempt.task, revision))


def _take(attempt: Attempt, *, workspace: Workspace, room: Room, watch: Watch) -> Revision | None:
    """Return what came out: as a bundle, or as an archive when the workspace's git makes none that we accept."""
    inbox = attempt.folders.inbox
    inbox.mkdir(mode=0o700, exist_ok=True)
    bundle = _new(inbox, BUNDLE)
    try:
        _bundle(attempt, bundle, workspace=workspace, room=room, watch=watch)
        return workspace.accept_bundle(attempt.spec, attempt.folders, bundle)
    except WorkFailedError as error:
        if error.code == "unsafe_tree":
            raise
    archive = _new(inbox, "work.tar")
    limits = attempt.spec.limits
    room.enter_again(attempt.spec).archive(archive, limit=limits.bundle, files=limits.files)
    return workspace.accept_archive(attempt.spec, attempt.folders, archive)


def _bundle(attempt: Attempt, bundle: Path, *, workspace: Workspace, room: Room, watch: Watch) -> None:
    """Let the workspace's own git make a bundle, inside, and fetch it. Raises: WorkFailedError when there is none."""
    limits = attempt.spec.limits
    command = Command(argv=workspace.collect_command(attempt.spec), timeout=limits.collect)
    path = attempt.folders.logs / "collect.log"
    with StageLog(path, limit=limits.output, watch=watch(attempt, "collect")) as log:
        try:
            ended = room.sandbox.run(command, log.write)
        except SandboxError:
            ended = room.enter_again(attempt.spec).run(command, log.write)
    if not ended.succeeded:
        raise WorkFailedError(f"the workspace's git made no bundle: {log.tail('stderr')[-200:]}", code="bad_bundle")
    room.sandbox.fetch(BUNDLE, bundle, limit=limits.bundle)


def _no_changes(attempt: Attempt) -> Failure | None:
    if attempt.spec.allow_empty:
        return None
    message = "the agent ended well but changed nothing; if that is right, add the task with --allow-empty"
    return Failure(stage="collect", code="no_changes", message=message)


def _new(folder: Path, name: str) -> Path:
    """Return the path of *name*, with what an earlier collection left there removed."""
    path = folder / name
    path.unlink(missing_ok=True)
    return path
