"""The one lock of all writers of a queue, and the poison mark that lives in its file.

Guarantees: the lock file is never replaced or removed by us, and a lock on a file that is no longer at its path
does not count. The mark is written over bytes that are there already, so a full disk cannot keep it from being set.
"""

import os
from pathlib import Path
from typing import Final, NamedTuple, Self

from orchestration.core.errors import StorageError
from orchestration.support.files import (
    PRIVATE_FILE,
    REAL_DISK,
    Disk,
    make_private_folder,
    storage_errors,
    sync_folder,
)

_SIZE: Final = 1024
_HEAD: Final = b"taskq: the writers' lock of this queue; do not remove or replace this file\n"
_CLEAN: Final = b"clean"
_POISONED: Final = b"poisoned: "
_TRIES: Final = 100


class HeldLock(NamedTuple):
    """The lock while it is ours; leaving the block gives it back."""

    descriptor: int
    path: Path
    disk: Disk

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_ending: object) -> None:
        os.close(self.descriptor)

    def poison(self) -> str | None:
        """Return why writers must refuse, or None."""
        with storage_errors("read", self.path):
            return _poison_in(os.pread(self.descriptor, _SIZE, 0))

    def set_poison(self, why: str | None) -> None:
        """Set the mark, or with None clear it; it holds for every process from now on.

        Raises: StorageError when even that failed.
        """
        with storage_errors("mark", self.path):
            content = _content(why)
            if self.disk.overwrite(self.descriptor, content, 0) != len(content):
                raise StorageError(f"cannot mark {self.path}: the disk took only a part; check the disk")
            self.disk.sync(self.descriptor)


class JournalLock:
    """The lock of one queue; every holder opens the file anew, so threads exclude each other too."""

    def __init__(self, path: Path, *, disk: Disk = REAL_DISK) -> None:
        self._path = path
        self._disk = disk

    def hold(self) -> HeldLock:
        """Wait for the lock, which is ours from now on and for the block. Raises: StorageError."""
        held = HeldLock(self._acquire(), self._path, self._disk)
        try:
            self._prepare(held)
        except BaseException:
            os.close(held.descriptor)
            raise
        return held

    def peek(self) -> str | None:
        """Return why writers refuse, without waiting for the lock; None also when it cannot be read."""
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            return _poison_in(os.pread(descriptor, _SIZE, 0))
        except OSError:
            return None
        finally:
            os.close(descriptor)

    def _acquire(self) -> int:
        for _ in range(_TRIES):
            with storage_errors("lock", self._path):
                descriptor = self._open()
                try:
                    self._disk.lock(descriptor)
                    if _is_at(descriptor, self._path):
                        return descriptor
                except BaseException:
                    os.close(descriptor)
                    raise
                os.close(descriptor)
        raise StorageError(f"cannot lock {self._path}: something keeps replacing it; leave the file in place")

    def _open(self) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            return os.open(self._path, flags, PRIVATE_FILE)
        except FileNotFoundError:
            root = self._path.parent.parent
            if not root.is_dir():
                raise StorageError(f"there is no queue at {root}; make one with: taskq init") from None
        make_private_folder(self._path.parent, disk=self._disk)
        return os.open(self._path, flags, PRIVATE_FILE)

    def _prepare(self, held: HeldLock) -> None:
        with storage_errors("lock", self._path):
            size = os.fstat(held.descriptor).st_size
        if size < _SIZE:
            held.set_poison(None)
            sync_folder(self._path.parent, disk=self._disk)


def _is_at(descriptor: int, path: Path) -> bool:
    ours = os.fstat(descriptor)
    try:
        there = path.lstat()
    except FileNotFoundError:
        return False
    return (ours.st_dev, ours.st_ino) == (there.st_dev, there.st_ino)


def _content(why: str | None) -> bytes:
    state = _CLEAN if why is None else _POISONED + ascii(why)[1:-1].encode("ascii")
    return (_HEAD + state)[: _SIZE - 1].ljust(_SIZE - 1) + b"\n"


def _poison_in(content: bytes) -> str | None:
    _, _, state = content.partition(b"\n")
    if not state.startswith(_POISONED):
        return None
    return state.removeprefix(_POISONED).decode("ascii", "replace").strip()
