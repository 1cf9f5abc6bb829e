"""Taking files out of a folder that an agent may write, or may still be writing.

Guarantees: no link is followed at any component, whatever is swapped while we look; only regular files are opened for
reading; nothing larger than asked for is written; a failure leaves no file behind.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from orchestration.core.errors import StorageError, WorkFailedError

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_CHUNK: Final = 1 << 18
_SPECIAL: Final = (errno.ELOOP, errno.ENOTDIR, errno.ENXIO)


def components(name: str) -> tuple[str, ...]:
    """Return the parts of a relative path.

    Raises: ValueError when it is none, or could lead elsewhere.
    """
    parts = tuple(name.split("/"))
    if any(part in {"", ".", ".."} for part in parts) or "\0" in name:
        raise ValueError(f"{name!r} is no path below a folder")
    return parts


@contextlib.contextmanager
def open_folder(root: Path, parts: Sequence[str]) -> Iterator[int]:
    """Open the folder *parts* below our own folder *root*, component by component, as a descriptor.

    Raises: OSError, ELOOP or ENOTDIR for a component that is a link or no folder.
    """
    descriptor = os.open(root, _FOLDER)
    try:
        for part in parts:
            inner = os.open(part, _FOLDER, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = inner
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def open_regular(name: str, folder: int) -> Iterator[tuple[int, os.stat_result]]:
    """Open the regular file *name* of an open folder; special files are not even opened.

    Raises: OSError, ENXIO for what is no regular file.
    """
    if not stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
        raise OSError(errno.ENXIO, "no regular file", name)
    descriptor = os.open(name, _FILE, dir_fd=folder)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.ENXIO, "no regular file", name)
        yield descriptor, status
    finally:
        os.close(descriptor)


def fetch_file(root: Path, parts: Sequence[str], to: Path, *, limit: int) -> None:
    """Copy the regular file *parts* below *root* to the new file *to*.

    Raises: WorkFailedError with code ``missing_output``, ``unsafe_output`` or ``output_limit``; StorageError.
    """
    shown = ascii("/".join(parts[1:]) or parts[0])
    try:
        with open_folder(root, parts[:-1]) as folder, open_regular(parts[-1], folder) as (source, status):
            if status.st_nlink > 1:
                raise WorkFailedError(
                    f"the output file {shown} has a second name; write a new file", code="unsafe_output"
                )
            if status.st_size > limit:
                raise too_large(shown, limit)
            with new_file(to) as target:
                _copy(source, target, shown, to, limit=limit)
    except FileNotFoundError as error:
        message = f"the command left no output file {shown}; its log says why"
        raise WorkFailedError(message, code="missing_output") from error
    except OSError as error:
        raise refusal(error, f"the output file {shown}", code="unsafe_output") from error


@contextlib.contextmanager
def new_file(to: Path) -> Iterator[int]:
    """Make the new host file *to*, ours alone; it is removed again when the block fails.

    Raises: StorageError.
    """
    try:
        target = os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StorageError(f"cannot make {to}: {error.strerror}") from error
    try:
        yield target
    except BaseException:
        to.unlink(missing_ok=True)
        raise
    finally:
        os.close(target)


def refusal(error: OSError, what: str, *, code: str) -> WorkFailedError:
    """Return why *what* was not taken, in words for the operator."""
    if error.errno in _SPECIAL:
        return WorkFailedError(f"{what} is no regular file, or lies behind a link; it was not read", code=code)
    return WorkFailedError(f"{what} cannot be read: {error.strerror}", code=code)


def too_large(shown: str, limit: int) -> WorkFailedError:
    """Return the refusal of a file larger than *limit* bytes."""
    message = f"the output file {shown} is larger than {limit} bytes; raise limits.bundle if that is right"
    return WorkFailedError(message, code="output_limit")


def _copy(source: int, target: int, shown: str, to: Path, *, limit: int) -> None:
    copied = 0
    while chunk := os.read(source, _CHUNK):
        copied += len(chunk)
        if copied > limit:
            raise too_large(shown, limit)
        write_all(target, chunk, to)


def write_all(target: int, chunk: bytes, to: Path) -> None:
    """Write all of *chunk*.

    Raises: StorageError.
    """
    view = memoryview(chunk)
    try:
        while view:
            view = view[os.write(target, view) :]
    except OSError as error:
        raise StorageError(f"cannot write {to}: {error.strerror}") from error
