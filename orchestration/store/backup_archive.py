"""The archive that a backup is: plain files in a tar, and last of all a manifest with the SHA-256 of each.

Guarantees: nothing is believed of an archive before all of it was read: every byte is in the manifest, under a name
that stays inside of a queue, once, as a regular file. Nothing of it is extracted here.
"""

import gzip
import hashlib
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import IO, Any, BinaryIO, Final, NamedTuple

from orchestration.core.errors import CorruptStateError, NewerVersionError, StorageError, UsageError
from orchestration.store.line import BadRecordError, strict_object
from orchestration.support.files import storage_errors

FOLDER: Final = "queue"
MANIFEST: Final = "MANIFEST.json"
FORMAT: Final = 1
ROOT_FILES: Final = ("tasks.jsonl", ".taskq", "README.md", ".gitignore", ".gitattributes", "config.toml")
FOLDERS: Final = ("blobs", "tasks", "errors", "history")
"""What of a queue is in a backup; locks and caches are not."""

_MODES: Final = MappingProxyType({".tar": "plain", ".tar.gz": "gzip", ".tgz": "gzip"})
_BLOCK: Final = 512
_PIECE: Final = 1 << 20
_MANIFEST_BYTES: Final = 256 * 1024**2

Take = Callable[[tarfile.TarInfo, Iterator[bytes]], None]
"""Gets each file of an archive; it must take all of its bytes."""


class Member(NamedTuple):
    """One file of a backup, as the manifest has it; *name* starts with ``queue/``."""

    name: str
    size: int
    sha256: str


class Manifest(NamedTuple):
    """What a backup says of itself."""

    queue: str | None
    seq: int
    tasks: int
    damaged: bool
    members: tuple[Member, ...]

    @property
    def size(self) -> int:
        """The bytes of all files."""
        return sum(member.size for member in self.members)

    def encode(self) -> dict[str, Any]:
        """Return the manifest as plain JSON values."""
        members = [member._asdict() for member in self.members]
        return {"taskq_backup": FORMAT, **self._asdict(), "members": members}


def is_packed(path: Path) -> bool:
    """Return whether the name says that the archive is compressed. Raises: UsageError for a name of no known kind."""
    kind = next((kind for suffix, kind in _MODES.items() if path.name.endswith(suffix)), None)
    if kind is None:
        raise UsageError(f"{path.name!a} does not say what it is; give it a name in {', '.join(_MODES)}")
    return kind == "gzip"


@contextmanager
def packed(content: BinaryIO, *, is_packed: bool) -> Iterator[IO[bytes]]:
    """Write through a compressor where *is_packed* says so; the same bytes give the same archive."""
    if not is_packed:
        yield content
        return
    with gzip.GzipFile(fileobj=content, mode="wb", filename="", mtime=0, compresslevel=6) as packer:
        yield packer  # type: ignore[misc]  # a GzipFile is all that writing asks for


def read_archive(path: Path, take: Take, *, packing: bool, room: int | None = None) -> Manifest:
    """Give every file of the archive at *path* to *take*, in order, and return the manifest that all of them keep to.

    Raises: CorruptStateError (``bad_backup``) for an archive that is cut, altered or no backup; UsageError when there
    is none; StorageError when its files are larger than *room*; NewerVersionError.
    """
    if not path.is_file():
        raise UsageError(f"there is no file {path}", code="no_file")
    seen: dict[str, Member] = {}
    try:
        with storage_errors("read", path), path.open("rb") as file, _unpacked(file, is_packed=packing) as stream:
            manifest = _read(stream, take, seen, room=room, where=path)
    except (tarfile.TarError, BadRecordError) as error:
        raise bad(path, str(error)) from error
    if manifest.members != tuple(seen.values()):
        differ = sorted({member.name for member in set(manifest.members) ^ set(seen.values())})
        raise bad(path, f"{differ[0]} is not as the manifest says" if differ else "its files are not in their order")
    return manifest


def bad(path: Path, why: str) -> CorruptStateError:
    """Return the error that says why *path* is no whole backup."""
    return CorruptStateError(f"{path} is no whole backup: {why}; use another one", code="bad_backup")


@contextmanager
def _unpacked(file: BinaryIO, *, is_packed: bool) -> Iterator[IO[bytes]]:
    if not is_packed:
        yield file
        return
    with gzip.GzipFile(fileobj=file, mode="rb") as unpacker:
        yield unpacker  # type: ignore[misc]  # a GzipFile is all that reading asks for


def _read(stream: IO[bytes], take: Take, seen: dict[str, Member], *, room: int | None, where: Path) -> Manifest:
    total = 0
    while True:
        header = _exactly(stream, _BLOCK)
        if not header.strip(b"\0"):
            raise BadRecordError("it has no manifest")
        member = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
        _check(member, seen)
        if member.name == MANIFEST:
            return _manifest(stream, member)
        total += member.size
        if room is not None and total > room:
            raise StorageError(f"{where} holds more than the {room} bytes that are free; make room and try again")
        digest = hashlib.sha256()
        take(member, _content(stream, member.size, digest.update))
        seen[member.name] = Member(member.name, member.size, digest.hexdigest())


def _check(member: tarfile.TarInfo, seen: dict[str, Member]) -> None:
    """Refuse what we would not have written. Raises: BadRecordError; tarfile.FilterError."""
    parts = PurePosixPath(member.name).parts
    inside = len(parts) == 2 and parts[0] == FOLDER and parts[1] in ROOT_FILES
    below = len(parts) > 2 and parts[0] == FOLDER and parts[1] in FOLDERS and ".." not in parts
    plain = member.type == tarfile.REGTYPE and not member.linkname and "/".join(parts) == member.name
    if not plain or not (inside or below or member.name == MANIFEST):
        raise BadRecordError(f"{member.name[:80]!a} is no file of a queue")
    if not member.name.isprintable():
        raise BadRecordError(f"{member.name[:80]!a} is no name that a queue has")
    if member.size < 0 or (member.name == MANIFEST and member.size > _MANIFEST_BYTES):
        raise BadRecordError(f"{member.name[:80]!a} has no possible size")
    if member.name in seen:
        raise BadRecordError(f"{member.name!a} is there twice")
    tarfile.data_filter(member, "/nowhere")  # another pair of eyes


def _content(stream: IO[bytes], size: int, note: Callable[[bytes], object]) -> Iterator[bytes]:
    left = size
    while left:
        piece = _exactly(stream, min(left, _PIECE))
        left -= len(piece)
        note(piece)
        yield piece
    if _exactly(stream, -size % _BLOCK).strip(b"\0"):
        raise BadRecordError("it has bytes between its files")


def _exactly(stream: IO[bytes], size: int) -> bytes:
    content = _some(stream, size)
    if len(content) < size:
        raise BadRecordError("it is cut short")
    return content


def _some(stream: IO[bytes], size: int) -> bytes:
    try:
        return stream.read(size)
    except EOFError as error:
        raise BadRecordError("it is cut short") from error
    except (zlib.error, gzip.BadGzipFile) as error:
        raise BadRecordError(f"it cannot be unpacked ({error})") from error


def _manifest(stream: IO[bytes], member: tarfile.TarInfo) -> Manifest:
    said = strict_object(b"".join(_content(stream, member.size, len)))
    rest = _some(stream, 2 * tarfile.RECORDSIZE)  # to the end, where the checksum of a compressed file is looked at
    if len(rest) == 2 * tarfile.RECORDSIZE or rest.strip(b"\0"):
        raise BadRecordError("something comes after its manifest")
    version = said.get("taskq_backup")
    if type(version) is int and version > FORMAT:
        raise NewerVersionError(f"this backup has version {version} and this taskq knows up to {FORMAT}; upgrade taskq")
    try:
        members = tuple(Member(str(item["name"]), int(item["size"]), str(item["sha256"])) for item in said["members"])
        queue = None if said["queue"] is None else str(said["queue"])
        return Manifest(queue, int(said["seq"]), int(said["tasks"]), bool(said["damaged"]), members)
    except (KeyError, TypeError, ValueError) as error:
        raise BadRecordError(f"its manifest is none of ours ({error})") from error
