"""Collect: take the work out of the sandbox, checked, whatever became of the attempt before.

Guarantees: the agent's folders stay as they are until the revision is under our ref.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from orchestration.core.attempts import AttemptSpec
from orchestration.core.errors import SandboxError, WorkFailedError
from orchestration.core.facts import Failure, Revision
from orchestration.core.ports import Command, Leaks, Repository, Workspace
from orchestration.pipeline.room import Room
from orchestration.pipeline.stage import Attempt, OpenLog

BUNDLE: Final = "work.bundle"
_FINAL: Final = frozenset({"unsafe_tree", "secret_in_work"})
"""Refusals that an archive of the same files would meet again."""


def collect(
    attempt: Attempt,
    *,
    workspace: Workspace,
    repository: Repository,
    room: Room,
    log_of: OpenLog,
    leaks_of: Callable[[AttemptSpec], Leaks | None],
) -> Attempt:
    """Return the attempt with its revision published; one that changed nothing has failed unless that is allowed.

    *leaks_of* returns what finds the attempt's secrets in the work; work that holds one stays where it is.
    """
    if not attempt.prepared:
        return attempt
    revision = _take(attempt, leaks_of(attempt.spec), workspace=workspace, room=room, log_of=log_of)
    if revision is None:
        return replace(attempt, collected=True, failure=attempt.failure or _no_changes(attempt))
    return replace(attempt, collected=True, revision=repository.publish(attempt.task, revision))


def _take(
    attempt: Attempt, leaks: Leaks | None, *, workspace: Workspace, room: Room, log_of: OpenLog
) -> Revision | None:
    """Return what came out: as a bundle, or as an archive when the workspace's git makes none that we accept."""
    inbox = attempt.folders.inbox
    inbox.mkdir(mode=0o700, exist_ok=True)
    bundle = _new(inbox, BUNDLE)
    try:
        _bundle(attempt, bundle, workspace=workspace, room=room, log_of=log_of)
        return workspace.accept_bundle(attempt.spec, attempt.folders, bundle, leaks=leaks)
    except WorkFailedError as error:
        if error.code == "secret_in_work":
            bundle.unlink()
        if error.code in _FINAL:
            raise
    archive = _new(inbox, "work.tar")
    limits = attempt.spec.limits
    room.enter_again(attempt.spec).archive(archive, limit=limits.bundle, files=limits.files)
    try:
        return workspace.accept_archive(attempt.spec, attempt.folders, archive, leaks=leaks)
    finally:
        archive.unlink()


def _bundle(attempt: Attempt, bundle: Path, *, workspace: Workspace, room: Room, log_of: OpenLog) -> None:
    """Let the workspace's own git make a bundle, inside, and fetch it. Raises: WorkFailedError when there is none."""
    limits = attempt.spec.limits
    command = Command(argv=workspace.collect_command(attempt.spec), timeout=limits.collect)
    with log_of(attempt, "collect") as log:
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
