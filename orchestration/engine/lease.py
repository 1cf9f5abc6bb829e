"""The lock that says that an attempt is held.

Guarantees: the lock is free exactly when neither the runner nor anything that it handed the descriptor to is alive;
the kernel frees it, also after kill -9.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from orchestration.core.errors import BusyError

_TRIES: Final = 40
_PAUSE: Final = 0.005
"""Between two tries; somebody who only looks holds the lock for microseconds."""


@contextmanager
def hold(path: Path) -> Iterator[int]:
    """Hold the lease at *path* for the length of the block; yields its descriptor, to be shared with a supervisor.

    Raises: BusyError when it is held.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        if not _take(descriptor):
            raise BusyError(f"another process holds the attempt in {path.parent}")
        yield descriptor
    finally:
        os.close(descriptor)


def is_held(path: Path) -> bool:
    """Return whether somebody holds the lease at *path*; a missing one is not held."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: those who look do not see each other
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)


def _take(descriptor: int) -> bool:
    """Take the lock in spite of those who only look; False when it is held."""
    for _ in range(_TRIES):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_PAUSE)
        else:
            return True
    return False
