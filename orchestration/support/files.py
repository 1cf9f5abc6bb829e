"""Files that stay: durable writes, link-safe opens, and one way to say what a disk refused.

Responsible for: writing so that a finished write survives power loss; opening so that no link is followed.
Guarantees: an OSError that is about the disk leaves as StorageError, naming the path and what would help.
"""

import errno
import fcntl
import os
import stat
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from pathlib import Path, PurePosixPath
from types import MappingProxyType, TracebackType
from typing import BinaryIO, Final

from orchestration.core.errors import StorageError

PRIVATE_FILE: Final = 0o600
PRIVATE_FOLDER: Final = 0o700

_FULL_SYNC: Final[int | None] = getattr(fcntl, "F_FULLFSYNC", None)
"""Only macOS has it, where a plain fsync stops at the drive's own cache."""

_PIECE: Final = 1 << 22

_REMEDIES: Final[Mapping[int, str]] = MappingProxyType(
    {
        errno.ENOSPC: "the disk is full; free some space and try again",
        errno.EDQUOT: "the disk quota is used up; free some space and try again",
        errno.EROFS: "the file system is read-only; remount it for writing or use another folder",
        errno.EACCES: "permission denied; check who owns it and its mode",
        errno.EPERM: "operation not permitted; check who owns it, its mode and its attributes",
        errno.EIO: "the disk reports an input/output error; check the disk",
        errno.ELOOP: "it is a symbolic link where a plain file or folder is needed; remove the link",
        errno.ENOENT: "it is not there; check the path",
        errno.ENOTDIR: "a part of the path is no folder; check the path",
        errno.EISDIR: "it is a folder where a file is needed; move it away",
        errno.EMFILE: "too many open files; raise the limit with: ulimit -n",
        errno.ENAMETOOLONG: "the name is too long; use a shorter one",
    }
)


class Disk:
    """The calls through which data reaches the disk, so that a test can make each of them fail."""

    def write(self, descriptor: int, content: bytes) -> int:
        """Write once; return how many bytes the system took."""
        return os.write(descriptor, content)

    def overwrite(self, descriptor: int, content: bytes, offset: int) -> int:
        """Write once at *offset*, which needs no new space where the file already has bytes."""
        return os.pwrite(descriptor, content, offset)

    def truncate(self, descriptor: int, size: int) -> None:
        """Cut the file to *size* bytes."""
        os.ftruncate(descriptor, size)

    def sync(self, descriptor: int) -> None:
        """Make the file's content and size durable."""
        _sync_content(descriptor)

    def sync_all(self, descriptor: int) -> None:
        """Make a file or a folder durable with all that describes it."""
        os.fsync(descriptor)

    def replace(self, source: Path, target: Path) -> None:
        """Rename, taking the place of *target* in one step."""
        source.replace(target)

    def lock(self, descriptor: int) -> None:
        """Wait until the file's lock is ours alone; closing the descriptor gives it back."""
        fcntl.flock(descriptor, fcntl.LOCK_EX)


REAL_DISK: Final = Disk()


def storage_error(error: OSError, deed: str, path: Path | str) -> StorageError:
    """Return *error* as what the operator can do about it; *deed* is a verb such as ``write``."""
    remedy = _REMEDIES.get(error.errno or 0, f"{error.strerror or error}; check the path and the disk")
    return StorageError(f"cannot {deed} {path}: {remedy}")


def storage_errors(deed: str, path: Path | str) -> AbstractContextManager[None]:
    """Turn every OSError of the block into a StorageError about *path*."""
    return _StorageErrors(deed, path)


class _StorageErrors:
    """What `storage_errors` returns; a class, as every change of the journal enters several."""

    __slots__ = ("_deed", "_path")

    def __init__(self, deed: str, path: Path | str) -> None:
        self._deed = deed
        self._path = path

    def __enter__(self) -> None:
        """Begin the block."""

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if isinstance(error, OSError):
            raise storage_error(error, self._deed, self._path) from error


def write_durably(path: Path, content: bytes, mode: int = PRIVATE_FILE, *, disk: Disk = REAL_DISK) -> None:
    """Put *content* at *path*, whole or not at all, replacing what was there; durable when this returns.

    Raises: StorageError; then *path* is as it was.
    """
    with storage_errors("write", path):
        temporary = _write_beside(path, content, mode, disk)
        try:
            disk.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    sync_folder(path.parent, disk=disk)


def create_durably(path: Path, content: bytes, mode: int = PRIVATE_FILE, *, disk: Disk = REAL_DISK) -> None:
    """Put *content* at *path*, whole or not at all, where nothing is yet; durable when this returns.

    Raises: StorageError; FileExistsError when something is at *path*, which is then untouched.
    """
    with storage_errors("write", path):
        temporary = _write_beside(path, content, mode, disk)
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError as error:
        raise storage_error(error, "write", path) from error
    finally:
        with suppress(OSError):
            temporary.unlink()
    sync_folder(path.parent, disk=disk)


def create_new(path: Path, mode: int = PRIVATE_FILE) -> int:
    """Create a file that must not exist and return its descriptor, open for reading and writing.

    Raises: FileExistsError (a link counts as existing), StorageError.
    """
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    except FileExistsError:
        raise
    except OSError as error:
        raise storage_error(error, "create", path) from error


def write_all(descriptor: int, content: bytes, *, disk: Disk = REAL_DISK) -> None:
    """Write all of *content*, in as many calls as it takes."""
    view = memoryview(content)
    while view:
        view = view[disk.write(descriptor, bytes(view)) :]


def read_from(descriptor: int, offset: int, expected: int = _PIECE) -> bytes:
    """Return the file's bytes from *offset* to its end, of which there may be *expected*."""
    pieces: list[bytes] = []
    size = min(expected + 1, _PIECE)
    while piece := os.pread(descriptor, size, offset):
        pieces.append(piece)
        offset += len(piece)
        if len(piece) < size:
            break
        size = _PIECE
    return b"".join(pieces)


def sync_folder(folder: Path, *, disk: Disk = REAL_DISK) -> None:
    """Make the names in *folder* durable."""
    with storage_errors("sync", folder):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            disk.sync_all(descriptor)
        finally:
            os.close(descriptor)


def make_private_folder(path: Path, *, disk: Disk = REAL_DISK) -> None:
    """Make *path* and its missing parents, 0700 and durable; a folder that is there keeps its mode."""
    missing = []
    folder = path
    with storage_errors("make the folder", path):
        while not folder.is_dir():
            missing.append(folder)
            folder = folder.parent
        for folder in reversed(missing):
            with suppress(FileExistsError):
                folder.mkdir(mode=PRIVATE_FOLDER)
            if not folder.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    for folder in reversed(missing):
        sync_folder(folder.parent, disk=disk)


def open_beneath(root: Path, relative: str | PurePosixPath) -> BinaryIO:
    """Open the regular file *relative* below *root* for reading, following no link on the way.

    Raises: FileNotFoundError; StorageError (``unsafe_path``) for links, ``..``, and what is no regular file.
    """
    parts = PurePosixPath(relative).parts
    if not parts or any(part in {"..", "/"} or "\0" in part for part in parts):
        raise StorageError(f"{str(relative)!a} is no path inside of {root}; name a file below it", code="unsafe_path")
    try:
        return _open_regular(root, parts)
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.ENXIO, errno.EMLINK}:
            msg = f"{root / relative} is or passes a link, or is no regular file; it is not followed"
            raise StorageError(msg, code="unsafe_path") from error
        raise storage_error(error, "open", root / relative) from error


def _open_regular(root: Path, parts: tuple[str, ...]) -> BinaryIO:
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in parts[:-1]:
            inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
            os.close(folder)
            folder = inner
        # Non-blocking, so that a FIFO with no writer cannot hold us.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(parts[-1], flags, dir_fd=folder)
    finally:
        os.close(folder)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EISDIR, "no regular file")
    return os.fdopen(descriptor, "rb")


def _write_beside(path: Path, content: bytes, mode: int, disk: Disk) -> Path:
    temporary = path.with_name(f".{path.name[:64]}.{os.urandom(6).hex()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        write_all(descriptor, content, disk=disk)
        disk.sync_all(descriptor)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)
    return temporary


def _sync_content(descriptor: int) -> None:
    if _FULL_SYNC is not None:
        fcntl.fcntl(descriptor, _FULL_SYNC)
    else:
        os.fdatasync(descriptor)
