"""A new journal beside the one that is there, until it takes its place.

Guarantees: nothing is left of it when it does not; what a kill leaves is known by its name and by nobody holding it.
"""

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from orchestration.store.layout import QueueFolder
from orchestration.support.files import Disk, create_new, storage_errors, write_all

_TEMPORARY: Final = r"\.tasks\.jsonl\.[0-9a-f]{12}\.tmp"
_PIECE: Final = 1 << 20


class NewJournal:
    """The file while it is written; small pieces are gathered first. While it is open it is locked."""

    def __init__(self, path: Path, descriptor: int, disk: Disk) -> None:
        self.path = path
        self.disk = disk
        self.size = 0
        self._descriptor = descriptor
        self._pieces: list[bytes] = []
        self._waiting = 0

    def write(self, content: bytes) -> None:
        """Add *content* at the end. Raises: StorageError."""
        self.size += len(content)
        self._pieces.append(content)
        self._waiting += len(content)
        if self._waiting >= _PIECE:
            self._flush()

    def sync(self) -> None:
        """Make all of it durable; a failure is final. Raises: StorageError."""
        self._flush()
        with storage_errors("write", self.path):
            self.disk.sync_all(self._descriptor)

    def _flush(self) -> None:
        with storage_errors("write", self.path):
            write_all(self._descriptor, b"".join(self._pieces), disk=self.disk)
        self._pieces.clear()
        self._waiting = 0


@contextmanager
def new_journal(queue: QueueFolder, disk: Disk) -> Iterator[NewJournal]:
    """Open a new file beside the journal, which is gone at the end of the block unless it has got another name."""
    path = queue.journal.with_name(f".{queue.journal.name}.{os.urandom(6).hex()}.tmp")
    descriptor = create_new(path)
    try:
        with storage_errors("lock", path):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield NewJournal(path, descriptor, disk)
    finally:
        with suppress(OSError):
            path.unlink()
        os.close(descriptor)


def remove_abandoned(queue: QueueFolder) -> None:
    """Take away such files whose process is gone; who calls holds the journal's lock."""
    with suppress(OSError):
        for entry in os.scandir(queue.root):
            if re.fullmatch(_TEMPORARY, entry.name) and entry.is_file(follow_symlinks=False) and _is_abandoned(entry):
                Path(entry).unlink(missing_ok=True)


def _is_abandoned(entry: "os.DirEntry[str]") -> bool:
    descriptor = os.open(entry, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True
