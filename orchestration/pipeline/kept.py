"""What is kept of an attempt that ended, and whether it is enough to go on with."""

from typing import Final

from orchestration.core.attempts import AttemptFolders
from orchestration.core.errors import UsageError
from orchestration.core.models import Task

_NEEDED: Final = ("workspace", "git", "config", "data")


def missing(folders: AttemptFolders) -> str | None:
    """Return in words what is gone of what a sandbox for the attempt needs; None when all is there."""
    if folders.base.is_symlink() and not folders.base.is_dir():
        return "the objects that its workspace borrows are no longer in taskq's cache"
    return next((f"its {name} folder is gone" for name in _NEEDED if not getattr(folders, name).is_dir()), None)


def not_resumable(task: Task, why: str) -> UsageError:
    """Return the error that says why the task's last attempt cannot go on."""
    message = f"attempt {task.attempt} of {task.id} cannot be resumed: {why}; start afresh with: taskq retry {task.id}"
    return UsageError(message, code="not_resumable")
