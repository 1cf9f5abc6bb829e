"""Removing a folder in which a hostile program could write.

Guarantees: links are not followed, permissions do not stop it, and neither depth nor width costs stack or descriptors.
"""

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

from orchestration.core.errors import StorageError

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_tree(folder: Path) -> bool:
    """Remove *folder* and all that is in it, itself never through a link; False when there is none.

    Raises: StorageError when something of it is still there.
    """
    try:
        if not stat.S_ISDIR(folder.lstat().st_mode):
            raise StorageError(f"{folder} is no folder; it is left alone")
    except FileNotFoundError:
        return False

    with suppress(OSError):
        _empty(folder)
        folder.rmdir()
    if os.path.lexists(folder):
        raise StorageError(f"{folder} cannot be removed; look at its owner and permissions")
    return True


def _empty(folder: Path) -> None:
    """Remove all below *folder*, depth first; what cannot be removed stays, and the rest goes on.

    One folder is open at a time; the way back up is checked, lest somebody moved a folder meanwhile.
    """
    current = _open(str(folder), None)
    way: list[tuple[str, tuple[int, int]]] = []
    pending = [_clear(current)]
    try:
        while pending[-1] or way:
            if pending[-1]:
                name = pending[-1].pop()
                with suppress(OSError):
                    inner = _open(name, current)
                    way.append((name, _identity(current)))
                    os.close(current)
                    current = inner
                    pending.append(_clear(current))
            else:
                outer = os.open("..", _FOLDER, dir_fd=current)
                os.close(current)
                current = outer
                pending.pop()
                name, identity = way.pop()
                if _identity(current) != identity:
                    return
                with suppress(OSError):
                    os.rmdir(name, dir_fd=current)
    finally:
        os.close(current)


def _clear(folder: int) -> list[str]:
    """Remove what is no folder from *folder*; return the names of the folders in it."""
    folders: list[str] = []
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in list(entries):
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.name)
            else:
                with suppress(OSError):
                    os.unlink(entry.name, dir_fd=folder)
    return folders


def _open(name: str, folder: int | None) -> int:
    """Open the folder *name* of *folder* and give ourselves every permission on it."""
    try:
        descriptor = os.open(name, _FOLDER, dir_fd=folder)
    except PermissionError:
        os.chmod(name, stat.S_IRWXU, dir_fd=folder)
        descriptor = os.open(name, _FOLDER, dir_fd=folder)
    with suppress(OSError):
        os.fchmod(descriptor, stat.S_IRWXU)
    return descriptor


def _identity(folder: int) -> tuple[int, int]:
    facts = os.fstat(folder)
    return facts.st_dev, facts.st_ino
