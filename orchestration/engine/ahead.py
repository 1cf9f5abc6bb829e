"""A finished attempt is one process's at a time, and a mark says that it may hold work that no revision has.

Guarantees: the mark is on disk before a person can change anything, and outlives a crash, so that whoever comes after
knows that the work is to be collected first.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime

from orchestration.core.attempts import AttemptFolders
from orchestration.core.errors import BusyError
from orchestration.core.models import Task
from orchestration.engine.lease import hold
from orchestration.support.files import storage_errors, write_durably


@contextmanager
def undisturbed(task: Task, folders: AttemptFolders) -> Iterator[int]:
    """Hold the task's finished attempt, whose folders are there, for the length of the block; yields the lease.

    Raises: BusyError while it is open elsewhere.
    """
    with ExitStack() as stack:
        try:
            lease = stack.enter_context(hold(folders.lease))
        except BusyError as error:
            message = f"attempt {task.attempt} of {task.id} is open in another process; leave that review first"
            raise BusyError(message, code="held") from error
        yield lease


def is_ahead(folders: AttemptFolders) -> bool:
    """Return whether the attempt may hold work that no revision has."""
    return folders.ahead.exists()


def set_ahead(folders: AttemptFolders, *, at: datetime) -> None:
    """Say that the attempt may hold such work from now on. Raises: StorageError."""
    write_durably(folders.ahead, f"{at:%Y-%m-%dT%H:%M:%SZ}\n".encode("ascii"))


def clear_ahead(folders: AttemptFolders) -> None:
    """Say that all of the attempt's work is in a revision, or under a ref of ours. Raises: StorageError."""
    with storage_errors("remove", folders.ahead):
        folders.ahead.unlink(missing_ok=True)
