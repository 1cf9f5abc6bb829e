"""One lock per repository: git's worktree commands and our refs are changed by one process at a time.

git 2.39 fails about one in fifty concurrent worktree commands of one repository.
"""

from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Final

from orchestration.core.errors import BusyError

PATIENCE: Final = timedelta(minutes=10)


@contextmanager
def hold(lock: Path, *, what: str, patience: timedelta = PATIENCE) -> Generator[None, None, None]:
    """Hold the lock file *lock*, across threads and processes; the file stays for ever.

    Raises: BusyError after *patience*.
    """
    import filelock  # noqa: PLC0415 - loads asyncio, and `taskq add` must not pay it

    lock.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    held = filelock.FileLock(lock, timeout=patience.total_seconds(), mode=0o600, thread_local=False, poll_interval=0.02)
    try:
        held.acquire()
    except filelock.Timeout:
        message = f"another taskq works on {what} since {patience.total_seconds():.0f} s; wait for it or end it"
        raise BusyError(message, code="repository_locked") from None
    try:
        yield
    finally:
        held.release()
