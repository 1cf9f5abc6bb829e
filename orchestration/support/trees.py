"""Removing a folder in which a hostile program could write: links are not followed, permissions do not stop it."""

import os
import shutil
import stat
from pathlib import Path

from orchestration.core.errors import StorageError


def remove_tree(folder: Path) -> bool:
    """Remove *folder* and all that is in it, itself never through a link; False when there is none.

    Raises: StorageError when something of it is still there.
    """
    try:
        if not stat.S_ISDIR(folder.lstat().st_mode):
            raise StorageError(f"{folder} is no folder; it is left alone")
    except FileNotFoundError:
        return False

    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        _open_all(folder)
        shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        raise StorageError(f"{folder} cannot be removed; look at its owner and permissions")
    return True


def _open_all(folder: Path) -> None:
    """Give ourselves every permission on the folders below *folder*, from the top down, following no link."""
    pending = [folder]
    while pending:
        current = pending.pop()
        current.chmod(stat.S_IRWXU)
        with os.scandir(current) as entries:
            pending.extend(Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False))
