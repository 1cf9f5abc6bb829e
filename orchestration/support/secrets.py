"""The operator's secrets: one private file each, by name.

Guarantees: a value is on disk before its name is, never half; no link is followed, and a file or folder that others
could read or that is not the operator's own is refused rather than used.
Not responsible for: how a value reaches a sandbox, nor for keeping it out of logs (``support.redaction``).
"""

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from orchestration.core.errors import StorageError, UsageError
from orchestration.support.files import make_private_folder, storage_error, storage_errors, sync_folder, write_durably

VALUE_LIMIT: Final = 64 * 1024
"""Bytes that a value may have."""
VALUE_LEAST: Final = 4
"""Fewer bytes (white space around them not counted) could not be told from other output, so not be kept out of it."""

_NAME: Final = r"[A-Z_][A-Z0-9_]{0,63}"
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def check_name(name: str) -> str:
    """Return *name*, which may name a secret. Raises: ValueError."""
    if not re.fullmatch(_NAME, name, re.ASCII):
        raise ValueError(f"{name[:70]!a} is no name of a secret; use 1 to 64 of A-Z, 0-9 and _, as in NPM_TOKEN")
    return name


class SecretStore:
    """The secrets in *folder*, which is made for the first one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def names(self) -> tuple[str, ...]:
        """Return the names of all secrets, sorted. Raises: StorageError."""
        try:
            with self._opened() as folder:
                return tuple(sorted(name for name in _entries(folder) if re.fullmatch(_NAME, name, re.ASCII)))
        except FileNotFoundError:
            return ()

    def set(self, name: str, value: bytes) -> None:
        """Keep *value*, of 4 bytes to 64 KiB, under *name*, in the place of an earlier one; durable when this returns.

        Raises: UsageError for a name or value that cannot be one; StorageError.
        """
        name = _checked(name)
        _check_value(name, value)
        make_private_folder(self._folder)
        with self._opened():
            write_durably(self._folder / name, value)

    def read(self, name: str) -> bytes:
        """Return the value of *name*. Raises: UsageError when there is none; StorageError."""
        name = _checked(name)
        path = self._folder / name
        try:
            with self._opened() as folder:
                return _content(folder, name, path)
        except FileNotFoundError:
            raise self._missing(name) from None

    def remove(self, name: str) -> None:
        """Forget *name*, and what a write of it that was cut short left. Raises: UsageError when there is none."""
        name = _checked(name)
        try:
            with self._opened() as folder, storage_errors("remove", self._folder / name):
                entries = _entries(folder)
                if name not in entries:
                    raise self._missing(name)
                for entry in entries:
                    if entry == name or (entry.startswith(f".{name}.") and entry.endswith(".tmp")):
                        os.unlink(entry, dir_fd=folder)
        except FileNotFoundError:
            raise self._missing(name) from None
        sync_folder(self._folder)

    def _missing(self, name: str) -> UsageError:
        return UsageError(f"there is no secret {name}; set it with: taskq secret set {name}", code="no_secret")

    @contextmanager
    def _opened(self) -> Iterator[int]:
        """Open the folder, which must be the operator's alone. Raises: FileNotFoundError, StorageError."""
        try:
            folder = os.open(self._folder, _FOLDER)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise storage_error(error, "open", self._folder) from error
        try:
            _check_private(folder, self._folder, remedy=f"chmod 700 {self._folder}")
            yield folder
        finally:
            os.close(folder)


def _checked(name: str) -> str:
    try:
        return check_name(name)
    except ValueError as error:
        raise UsageError(str(error), code="bad_secret") from error


def _check_value(name: str, value: bytes) -> None:
    if len(value.strip()) < VALUE_LEAST:
        raise UsageError(
            f"the value of {name} has fewer than {VALUE_LEAST} bytes, too few to keep it out of logs; use a longer one",
            code="bad_secret",
        )
    if len(value) > VALUE_LIMIT:
        raise UsageError(f"the value of {name} has more than {VALUE_LIMIT >> 10} KiB", code="bad_secret")


def _entries(folder: int) -> list[str]:
    with os.scandir(folder) as entries:
        return [entry.name for entry in entries]


def _content(folder: int, name: str, path: Path) -> bytes:
    try:
        descriptor = os.open(name, _FILE, dir_fd=folder)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise storage_error(error, "read", path) from error
    with os.fdopen(descriptor, "rb") as file, storage_errors("read", path):
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise StorageError(f"{path} is no regular file; set it anew: taskq secret set {name}", code="unsafe_secret")
        _check_private(descriptor, path, remedy=f"chmod 600 {path}")
        value = file.read(VALUE_LIMIT + 1)
    if len(value) > VALUE_LIMIT:
        raise StorageError(f"{path} has more than {VALUE_LIMIT >> 10} KiB; set it anew", code="unsafe_secret")
    return value


def _check_private(descriptor: int, path: Path, *, remedy: str) -> None:
    status = os.fstat(descriptor)
    if status.st_uid not in {os.geteuid(), 0}:
        raise StorageError(f"{path} belongs to another user ({status.st_uid}); move it away", code="unsafe_secret")
    if status.st_mode & 0o077:
        mode = stat.S_IMODE(status.st_mode)
        raise StorageError(f"{path} is open to others (mode {mode:04o}); close it: {remedy}", code="unsafe_secret")
