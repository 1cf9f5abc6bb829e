"""Resume: an attempt that ended goes on in the folders that it had, its agent in the session that it had.

Guarantees: what was written there stays; until it is collected again, nothing says that it is.
"""

from dataclasses import replace

from orchestration.core.errors import BusyError
from orchestration.core.models import Task
from orchestration.core.ports import AttemptRecords, Repository
from orchestration.pipeline.kept import missing, not_resumable
from orchestration.pipeline.stage import Attempt


def resume(attempt: Attempt, *, repository: Repository, records: AttemptRecords) -> Attempt:
    """Return the attempt as it was described before, now under its new claim, ready for its sandbox.

    Raises: UsageError when its folders are gone, BusyError when a person has changed what it brought.
    """
    task = attempt.task
    before = records.load_spec(task.id, task.attempt)
    if before is None:
        raise not_resumable(task, "its description is gone")
    gone = missing(attempt.folders)
    if gone is not None:
        raise not_resumable(task, gone)
    _refuse_changes(task, repository)
    result = records.load_result(task.id, task.attempt)
    spec = replace(
        attempt.spec,
        base_commit=before.base_commit,
        start_commit=before.start_commit,
        collect=_next_collect(task, before.collect),
    )
    return replace(
        attempt,
        spec=spec,
        planned=result is None or result.failure is None or result.failure.stage != "plan",
        usage=result.usage if result is not None else None,
    )


def _refuse_changes(task: Task, repository: Repository) -> None:
    """Refuse what a person changed since: the agent would not see it, and what it brings could not be shown."""
    kept = repository.preserve(task) if task.revision is not None else None
    if kept is not None:
        message = (
            f"the worktree or branch of {task.id} was changed by hand (kept as {kept[:12]}), and a resumed attempt "
            f"does not see that; start from it with: taskq retry {task.id}, then taskq run --id {task.id} --dirty-run"
        )
        raise BusyError(message, code="dirty_worktree")


def _next_collect(task: Task, first: int) -> int:
    revision = task.revision
    return revision.collect + 1 if revision is not None and revision.attempt == task.attempt else first
