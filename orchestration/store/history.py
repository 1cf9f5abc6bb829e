"""What is moved out of the journal, kept in ``history/`` under names of its own, never overwritten."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from orchestration.core.errors import StorageError
from orchestration.support.files import (
    REAL_DISK,
    Disk,
    create_durably,
    make_private_folder,
    storage_errors,
    sync_folder,
)

_TRIES: Final = 1000


def keep_bytes(folder: Path, name: str, content: bytes, *, disk: Disk = REAL_DISK) -> Path:
    """Put *content* into *folder* under *name*, or *name* and a number; durable. Raises: StorageError."""
    make_private_folder(folder, disk=disk)
    return _at_free_name(folder, name, lambda path: create_durably(path, content, disk=disk))


def keep_file(folder: Path, name: str, path: Path, *, disk: Disk = REAL_DISK) -> Path:
    """Give the file at *path* a second name in *folder*; durable. Raises: StorageError."""
    make_private_folder(folder, disk=disk)
    kept = _at_free_name(folder, name, lambda free: os.link(path, free, follow_symlinks=False))
    sync_folder(folder, disk=disk)
    return kept


def archives(folder: Path) -> tuple[Path, ...]:
    """Return the files of archived tasks in *folder*, the oldest first."""
    found = (path for path in folder.glob("archive-*.jsonl") if path.is_file() and not path.is_symlink())
    return tuple(sorted(found, key=_age))


def _age(path: Path) -> tuple[int, str]:
    seq = path.name.split("-")[1]
    return (int(seq) if seq.isdecimal() else 0, path.name)


def stamp(at: str) -> str:
    """Return a time of the journal as it stands in file names."""
    return at.replace(":", "").replace("-", "")


def _at_free_name(folder: Path, name: str, create: Callable[[Path], None]) -> Path:
    for number in range(_TRIES):
        path = folder / (f"{name}.{number}" if number else name)
        with storage_errors("write", path):
            try:
                create(path)
            except FileExistsError:
                continue
            return path
    raise StorageError(f"cannot write {folder / name}: too many of its kind; tidy up {folder}")
