"""A tar of a workspace, parsed as hostile input and unpacked into a fresh folder of ours.

Guarantees: only regular files and symbolic links come out, under names that are safe, through no link, within bounds.
"""

import os
import tarfile
from collections.abc import Container, Iterator
from pathlib import Path
from typing import IO, Final

from orchestration.adapters.git import tree_check
from orchestration.adapters.git.escape import shown
from orchestration.core.errors import WorkFailedError

_CHUNK: Final = 1024 * 1024
_EXECUTABLE: Final = 0o100


def unpack(archive: Path, into: Path, *, limit: int, most: int) -> None:
    """Unpack *archive*, of at most *limit* bytes and *most* members, into the new folder *into*.

    Raises: WorkFailedError (``bad_archive``, ``unsafe_tree``).
    """
    if archive.stat().st_size > limit:
        raise _bad(f"it is larger than {limit} bytes")
    into.mkdir(mode=0o700)
    links: dict[bytes, bytes] = {}
    try:
        with tarfile.open(archive, mode="r:", encoding="utf-8", errors="surrogateescape") as tar:
            for member, path in _members(tar, most):
                if path in links:
                    raise _unsafe(path, "is there twice")
                if member.issym():
                    links[path] = os.fsencode(member.linkname)
                else:
                    _write(tar.extractfile(member), into, path, executable=bool(member.mode & _EXECUTABLE))
    except (tarfile.TarError, ValueError, EOFError, OverflowError, RecursionError) as error:
        raise _bad(f"it is no readable tar: {shown(str(error))}") from error
    for path, target in links.items():
        _link(into, path, target, links)


def _members(tar: tarfile.TarFile, most: int) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    """Yield files and links with their checked paths; folders come with their files."""
    for number, member in enumerate(tar, start=1):
        if number > most:
            raise _bad(f"it has more than {most} members")
        path = os.fsencode(member.name).removeprefix(b"./").rstrip(b"/")
        if member.isdir():
            continue
        problem = tree_check.place_problem(path)
        if problem is not None:
            raise _unsafe(path, problem)
        if member.type not in {tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.SYMTYPE} or member.sparse is not None:
            raise _unsafe(path, "is neither a regular file nor a symbolic link")
        yield member, path


def _write(source: IO[bytes] | None, into: Path, path: bytes, *, executable: bool) -> None:
    if source is None:
        raise _unsafe(path, "has no content")
    target = into / os.fsdecode(path)
    try:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(target, flags, 0o700 if executable else 0o600)
    except (OSError, ValueError) as error:
        raise _unsafe(path, "is in the way of another file, or too long") from error
    with os.fdopen(descriptor, "wb") as stream, source:
        while chunk := source.read(_CHUNK):
            stream.write(chunk)


def _link(into: Path, path: bytes, target: bytes, links: Container[bytes]) -> None:
    """Make a link; where it points is judged later, against the base, and until then nobody follows it."""
    parts = path.split(b"/")
    if any(b"/".join(parts[:length]) in links for length in range(1, len(parts))):
        raise _unsafe(path, "is behind a link")
    place = into / os.fsdecode(path)
    try:
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        place.symlink_to(os.fsdecode(target))
    except (OSError, ValueError) as error:
        raise _unsafe(path, "is in the way of another file, or too long") from error


def _bad(why: str) -> WorkFailedError:
    return WorkFailedError(f"the archive of the workspace was refused: {why}", code="bad_archive")


def _unsafe(path: bytes, why: str) -> WorkFailedError:
    return WorkFailedError(f"the archive of the workspace was refused: '{shown(path)}' {why}", code="unsafe_tree")
