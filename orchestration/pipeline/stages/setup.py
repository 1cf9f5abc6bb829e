"""Setup: resolve the base, make the workspace, open the sandbox."""

from dataclasses import replace
from pathlib import Path

from orchestration.core.errors import BusyError
from orchestration.core.models import Task
from orchestration.core.ports import AttemptRecords, Repository, Workspace
from orchestration.pipeline.room import Room
from orchestration.pipeline.stage import Attempt


def setup(
    attempt: Attempt,
    *,
    workspace: Workspace,
    repository: Repository,
    records: AttemptRecords,
    room: Room,
    dirty_run: bool,
) -> Attempt:
    """Return the attempt with its base resolved, its workspace made and its sandbox open."""
    facts = repository.inspect(Path(attempt.task.repo), attempt.task.base, None)
    start = _start(attempt.task, facts.base_commit, repository=repository, dirty_run=dirty_run)
    spec = replace(attempt.spec, base_commit=facts.base_commit, start_commit=start)
    if dirty_run:
        room.end_leftovers(spec)
    workspace.prepare(spec, attempt.folders)
    records.save_spec(spec)  # whoever finds it may collect: from here on the workspace is complete
    room.enter(spec)
    return replace(attempt, spec=spec, prepared=True, collected=False)


def _start(task: Task, base_commit: str, *, repository: Repository, dirty_run: bool) -> str:
    """Return the commit to start from; what a person changed in the worktree is kept under a ref first."""
    if task.revision is None:
        return base_commit
    kept = repository.preserve(task)
    if dirty_run:
        return kept or task.revision.commit
    if kept is not None:
        message = (
            f"the worktree or branch of {task.id} was changed by hand (kept as {kept[:12]}); "
            f"start from it with: taskq run --id {task.id} --dirty-run"
        )
        raise BusyError(message, code="dirty_worktree")
    return base_commit
