"""A copy of a whole queue at one moment, in one file, while others go on writing.

How one moment is had without keeping anybody waiting: the journal is opened and read first, up to its last whole append
at that time, which only grows or is replaced by another file. A long text is durable beside the journal before the line
that names it, so all texts that these lines name are there to be copied after. What is moved from the journal to
``history/`` is durable there first; copied last, it can be there twice, never not at all.

Guarantees: the archive is read back before it gets its name; nothing is overwritten; a kill leaves nothing at the name.
Not responsible for: attempts (in the state folder), refs (in repositories), secrets: they are outside of the folder.
"""

import hashlib
import json
import os
import stat
import tarfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import IO, Final

from orchestration.core.errors import CorruptStateError, StorageError, UsageError
from orchestration.core.transfers import BackupReport
from orchestration.store import backup_archive
from orchestration.store.backup_archive import FOLDER, FOLDERS, MANIFEST, ROOT_FILES, Manifest, Member
from orchestration.store.blobs import referred_blob
from orchestration.store.layout import QueueFolder
from orchestration.store.line import BadRecordError
from orchestration.store.lock import JournalLock
from orchestration.store.sweep import Swept, open_journal, read_task, sweep
from orchestration.support.files import PRIVATE_FILE, REAL_DISK, Disk, open_beneath, storage_errors
from orchestration.support.new_file import new_file

_JOURNAL: Final = "tasks.jsonl"
_NOTHING: Final = Swept(0, 0, None, {}, ())


def back_up(folder: Path, path: Path, *, damaged: bool, disk: Disk = REAL_DISK) -> BackupReport:
    """Write the queue in *folder* to a new archive at *path*; with *damaged* also one that is damaged, as it is.

    Raises: UsageError for no queue, or something at *path*; CorruptStateError for damage; StorageError.
    """
    queue = QueueFolder(folder)
    packing = backup_archive.is_packed(path)
    if not queue.marker.is_file() and not queue.journal.is_file():
        raise UsageError(f"there is no queue at {folder}; say which with --queue", code="no_queue")
    with open_journal(queue.journal) as journal, new_file(path, disk=disk) as file:
        swept = sweep(journal) if journal is not None else _NOTHING
        archive = _Archive()
        with (
            backup_archive.packed(file.content, is_packed=packing) as stream,
            tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as tar,
        ):
            archive.fill(tar, queue, journal, swept)
            problems = tuple(_problems(queue, journal, swept, archive))
            if not damaged:
                _refuse(swept, problems)
            is_damaged = bool(swept.damage or problems)
            manifest = Manifest(swept.queue, swept.seq, len(swept.tasks), is_damaged, tuple(archive.members))
            archive.close(tar, manifest)
        file.content.flush()
        _read_back(file.path, path, manifest, packing=packing)
    return BackupReport(
        path=path,
        queue=manifest.queue,
        seq=manifest.seq,
        tasks=manifest.tasks,
        files=len(manifest.members),
        size=manifest.size,
        damage=swept.damage,
        problems=problems,
    )


class _Archive:
    """Adds files to a tar and remembers what went in."""

    def __init__(self) -> None:
        self.members: list[Member] = []

    def fill(self, tar: tarfile.TarFile, queue: QueueFolder, journal: int | None, swept: Swept) -> None:
        """Put in the journal's first whole appends, then everything else."""
        if journal is not None:
            with open(os.dup(journal), "rb") as content:  # noqa: PTH123 -- a descriptor
                content.seek(0)
                self._add(tar, _JOURNAL, content, swept.end)
        for name in _others(queue.root):
            try:
                with open_beneath(queue.root, name) as content:
                    self._add(tar, name, content, os.fstat(content.fileno()).st_size)
            except FileNotFoundError:
                continue  # reports and caches come and go; what the journal names is checked

    def close(self, tar: tarfile.TarFile, manifest: Manifest) -> None:
        """Put in the manifest, last of all."""
        content = json.dumps(manifest.encode(), indent=1).encode("ascii") + b"\n"
        _put(tar, MANIFEST, BytesIO(content), len(content))

    def _add(self, tar: tarfile.TarFile, name: str, content: IO[bytes], size: int) -> None:
        noted = _Noted(content)
        _put(tar, f"{FOLDER}/{name}", noted, size)
        self.members.append(Member(f"{FOLDER}/{name}", size, noted.digest.hexdigest()))


class _Noted:
    """A source whose bytes are hashed as they are read."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source = source
        self.digest = hashlib.sha256()

    def read(self, size: int = -1, /) -> bytes:
        """Read from the source."""
        piece = self._source.read(size)
        self.digest.update(piece)
        return piece


def _put(tar: tarfile.TarFile, name: str, content: "BytesIO | _Noted", size: int) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, PRIVATE_FILE
    try:
        tar.addfile(member, content)
    except ValueError as error:
        raise StorageError(f"{name} has no place in an archive ({error}); move it out of the queue") from error
    except OSError as error:
        if error.errno is not None:
            raise
        raise StorageError(f"{name} became shorter while it was copied; try again") from error


def _others(root: Path) -> Iterator[str]:
    """Yield every file of the queue but the journal: long texts first, what is moved out of the journal last."""
    for folder in FOLDERS:
        yield from _below(root, folder)
    for name in ROOT_FILES:
        if name != _JOURNAL and _is_file(root / name):
            yield name


def _below(root: Path, folder: str) -> Iterator[str]:
    with storage_errors("read", root / folder):
        try:
            entries = sorted(os.scandir(root / folder), key=lambda entry: entry.name)
        except FileNotFoundError:
            return
    for entry in entries:
        name = f"{folder}/{entry.name}"
        if entry.is_dir(follow_symlinks=False):
            yield from _below(root, name)
        elif entry.is_file(follow_symlinks=False) and not _is_temporary(entry.name):
            yield name


def _is_temporary(name: str) -> bool:
    return name.startswith(".") and name.endswith(".tmp")


def _is_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except FileNotFoundError:
        return False


def _problems(queue: QueueFolder, journal: int | None, swept: Swept, archive: _Archive) -> Iterator[str]:
    """Yield what is wrong besides damaged lines: a mark of doubt, long texts that are missing or altered."""
    poison = JournalLock(queue.lock).peek()
    if poison is not None:
        yield f"the queue is in doubt: {poison}"
    blobs = {member.name.rpartition("/")[2]: member.sha256 for member in archive.members if "/blobs/" in member.name}
    if journal is None:
        return
    for key, places in swept.tasks.items():
        try:
            fields = read_task(journal, places).fields
        except BadRecordError as error:
            yield f"task {key}: {error}"
            continue
        for blob in filter(None, map(referred_blob, fields.values())):
            if blobs.get(blob) != blob:
                yield f"blob {blob} of task {fields['id']} {'was altered' if blob in blobs else 'is missing'}"


def _refuse(swept: Swept, problems: tuple[str, ...]) -> None:
    found = [f"line {item.line} of the journal: {item.why}" for item in swept.damage] + list(problems)
    if found:
        more = f" and {len(found) - 1} more" if len(found) > 1 else ""
        hint = "see: taskq fsck, or take it as it is with --damaged"
        raise CorruptStateError(f"this queue is damaged: {found[0]}{more}; nothing was backed up; {hint}")


def _read_back(written: Path, path: Path, manifest: Manifest, *, packing: bool) -> None:
    """See that what was written is what was meant. Raises: StorageError."""
    try:
        found = backup_archive.read_archive(written, _skip, packing=packing)
    except CorruptStateError as error:
        raise StorageError(f"{path} did not read back as it was written: {error}; check the disk") from error
    if found != manifest:
        raise StorageError(f"{path} did not read back as it was written; check the disk and try again")


def _skip(_member: tarfile.TarInfo, content: Iterator[bytes]) -> None:
    for _ in content:
        pass
