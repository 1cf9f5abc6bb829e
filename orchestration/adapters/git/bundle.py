"""The head of a git bundle, parsed as hostile input before git sees any of it.

Guarantees: what comes back has exactly one ref, ``HEAD``, sha1 names, no filter, and is a pack of the size it says.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from orchestration.core.errors import WorkFailedError

_HEAD_LIMIT: Final = 1024**2
_MOST_PREREQUISITES: Final = 10_000
_SIGNATURES: Final = {b"# v2 git bundle\n": 2, b"# v3 git bundle\n": 3}
_NOTHING: Final = re.compile(rb"nothing ([0-9a-f]{40})\n")
_PREREQUISITE: Final = re.compile(rb"-([0-9a-f]{40})(?: .*)?\n", re.DOTALL)
_REF: Final = re.compile(rb"([0-9a-f]{40}) HEAD\n")
_PACK_HEAD: Final = 12
_TRAILER: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Nothing:
    """The sandbox says that HEAD, *commit*, holds nothing that the base does not."""

    commit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A bundle whose head is well formed. *pack_at* is where its pack starts, *objects* how many it claims."""

    tip: str
    prerequisites: tuple[str, ...]
    pack_at: int
    objects: int


def read(bundle: Path, *, limit: int, most_objects: int) -> Bundle | Nothing:
    """Return what the head of *bundle* says.

    Raises: WorkFailedError (``bad_bundle``).
    """
    try:
        size = bundle.stat().st_size
        if size > limit:
            raise _refused(f"it has {size} bytes and {limit} are allowed")
        with bundle.open("rb") as stream:
            return _parse(stream, size, most_objects)
    except OSError as error:
        raise _refused(f"it cannot be read: {error.strerror}") from error


def _parse(stream: BinaryIO, size: int, most_objects: int) -> Bundle | Nothing:
    first = stream.readline(_HEAD_LIMIT)
    said = _NOTHING.fullmatch(first)
    if said and not stream.read(1):
        return Nothing(commit=said[1].decode("ascii"))
    version = _SIGNATURES.get(first)
    if version is None:
        raise _refused("it does not start as a bundle does")
    prerequisites: list[str] = []
    tips: list[str] = []
    while (line := stream.readline(_HEAD_LIMIT)) != b"\n":
        _read_line(line, version, prerequisites, tips)
        if stream.tell() > _HEAD_LIMIT or len(prerequisites) > _MOST_PREREQUISITES:
            raise _refused("its head is too long")
    if len(tips) != 1:
        raise _refused(f"it has {len(tips)} refs and must have one")
    at = stream.tell()
    return Bundle(
        tip=tips[0], prerequisites=tuple(prerequisites), pack_at=at, objects=_objects(stream, size - at, most_objects)
    )


def _read_line(line: bytes, version: int, prerequisites: list[str], tips: list[str]) -> None:
    if not line.endswith(b"\n"):
        raise _refused("its head is cut off")
    if version == 3 and line == b"@object-format=sha1\n":
        return
    prerequisite, ref = _PREREQUISITE.fullmatch(line), _REF.fullmatch(line)
    if prerequisite and not tips:
        prerequisites.append(prerequisite[1].decode("ascii"))
    elif ref:
        tips.append(ref[1].decode("ascii"))
    else:
        raise _refused("its head has a line that is neither a prerequisite nor HEAD")


def _objects(stream: BinaryIO, rest: int, most: int) -> int:
    head = stream.read(_PACK_HEAD)
    if len(head) != _PACK_HEAD or head[:4] != b"PACK" or int.from_bytes(head[4:8], "big") != 2:
        raise _refused("its pack is cut off or none")
    objects = int.from_bytes(head[8:], "big")
    if objects > most:
        raise _refused(f"it claims {objects} objects and {most} are allowed")
    if rest < _PACK_HEAD + _TRAILER:
        raise _refused("its pack is cut off or none")
    return objects


def _refused(why: str) -> WorkFailedError:
    return WorkFailedError(f"the bundle from the sandbox was refused: {why}", code="bad_bundle")
