"""A workspace as a tar, taken as hostile files are: for when its git is broken.

Guarantees: regular files and symbolic links only, the latter as links; nothing that git would take for ``.git``; the
same tree gives the same bytes; bounded in bytes, files and depth while it is written.
"""

import io
import os
import re
import stat
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from orchestration.adapters.sandbox.hostile_files import new_file, open_folder, open_regular, refusal, write_all
from orchestration.core.errors import WorkFailedError

_PATH_BYTES: Final = 4000
"""Longer paths cannot be checked out by git either."""
_IGNORED_BY_FILE_SYSTEMS: Final = re.compile("[\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]")
_CODE: Final = "archive_failed"


def is_git_name(name: str) -> bool:
    """Return whether git, on some file system, takes this component for ``.git``."""
    plain = _IGNORED_BY_FILE_SYSTEMS.sub("", name).partition(":")[0].rstrip(" .").lower()
    return plain in {".git", "git~1"}


def write_archive(root: Path, folder: str, to: Path, *, limit: int, files: int) -> None:
    """Write *folder* of *root* to the new file *to*.

    Raises: WorkFailedError with code ``archive_limit`` or ``archive_failed``; StorageError.
    """
    budget = _Budget(size=limit, entries=files, limit=limit, files=files)
    with (
        new_file(to) as target,
        tarfile.open(
            fileobj=_Sink(target, to), mode="w|", format=tarfile.PAX_FORMAT, encoding="utf-8", errors="surrogateescape"
        ) as archive,
    ):
        waiting: list[tuple[str, ...]] = [()]
        while waiting:
            parts = waiting.pop()
            try:
                folders = _add_folder(archive, root, folder, parts, budget)
            except OSError as error:
                shown = ascii("/".join(parts) or ".")
                raise refusal(error, f"a file in folder {shown} of the workspace", code=_CODE) from error
            waiting.extend((*parts, name) for name in reversed(folders))


@dataclass(slots=True, kw_only=True)
class _Budget:
    """What may still be written."""

    size: int
    entries: int
    limit: int
    files: int

    def take_entry(self) -> None:
        self.entries -= 1
        if self.entries < 0:
            message = f"the workspace has more than {self.files} files; raise limits.files if that is right"
            raise WorkFailedError(message, code="archive_limit")

    def take_bytes(self, size: int) -> None:
        self.size -= size
        if self.size < 0:
            message = f"the workspace is larger than {self.limit} bytes; raise limits.bundle if that is right"
            raise WorkFailedError(message, code="archive_limit")


class _Sink(io.RawIOBase):
    """Takes the tar's bytes; a full disk is a StorageError, not the agent's failure."""

    def __init__(self, target: int, to: Path) -> None:
        super().__init__()
        self._target = target
        self._to = to

    def write(self, chunk: bytes) -> int:  # type: ignore[override]  # tarfile writes bytes only
        write_all(self._target, chunk, self._to)
        return len(chunk)


def _add_folder(archive: tarfile.TarFile, root: Path, top: str, parts: tuple[str, ...], budget: _Budget) -> list[str]:
    """Add the files of one folder; return its folders, sorted."""
    folders: list[str] = []
    with open_folder(root, (top, *parts)) as descriptor:
        for name in sorted(_names(descriptor, budget)):
            path = "/".join((*parts, name))
            if len(os.fsencode(path)) > _PATH_BYTES:
                shown = f"{path[:80]!a}..."
                raise WorkFailedError(f"the workspace has a path of over {_PATH_BYTES} bytes: {shown}", code=_CODE)
            mode = os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode
            if stat.S_ISDIR(mode):
                folders.append(name)
            elif stat.S_ISLNK(mode):
                _add_link(archive, path, os.readlink(name, dir_fd=descriptor))
            elif stat.S_ISREG(mode):
                _add_file(archive, path, name, descriptor, budget)
    return folders


def _names(descriptor: int, budget: _Budget) -> Iterator[str]:
    """Yield a folder's names, counted while they are read, so that a million of them is no load."""
    with os.scandir(descriptor) as entries:
        for entry in entries:
            if not is_git_name(entry.name):
                budget.take_entry()
                yield entry.name


def _add_link(archive: tarfile.TarFile, path: str, target: str) -> None:
    member = tarfile.TarInfo(path)
    member.type = tarfile.SYMTYPE
    member.linkname = target
    archive.addfile(member)


def _add_file(archive: tarfile.TarFile, path: str, name: str, folder: int, budget: _Budget) -> None:
    with open_regular(name, folder) as (source, status):
        budget.take_bytes(status.st_size)
        member = tarfile.TarInfo(path)
        member.size = status.st_size
        member.mode = 0o755 if status.st_mode & stat.S_IXUSR else 0o644
        with open(source, "rb", closefd=False) as content:
            archive.addfile(member, content)
