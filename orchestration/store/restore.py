"""A backup becomes a queue again: in a folder beside the wanted one first, which takes its place in one step.

Guarantees: the whole archive is read and checked before a byte is written, and what was written is read and checked
before it is a queue; what fails or is killed leaves nothing at the wanted place.
"""

import hashlib
import os
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from orchestration.core.errors import StorageError, UsageError
from orchestration.core.transfers import BackupReport
from orchestration.store.backup_archive import Manifest, bad, is_packed, read_archive
from orchestration.store.layout import create_queue
from orchestration.store.sweep import Swept, open_journal, sweep
from orchestration.support.files import (
    PRIVATE_FOLDER,
    REAL_DISK,
    Disk,
    create_new,
    make_private_folder,
    storage_errors,
    sync_folder,
    write_all,
)
from orchestration.support.mounts import refuse_network

_NOTHING: Final = Swept(0, 0, None, {}, ())


def restore(path: Path, folder: Path, *, disk: Disk = REAL_DISK) -> BackupReport:
    """Make *folder*, which is empty or not there yet, the queue that the archive at *path* holds.

    Raises: UsageError when something is in *folder*, or no archive at *path*; CorruptStateError (``bad_backup``);
    StorageError, also for a network file system.
    """
    _refuse_taken(folder)
    refuse_network(folder)
    packing = is_packed(path)
    make_private_folder(folder.parent, disk=disk)
    with storage_errors("look at", folder.parent):
        room = shutil.disk_usage(folder.parent).free
    manifest = read_archive(path, _skip, packing=packing, room=room)
    building = folder.with_name(f".{folder.name[:64]}.{os.urandom(6).hex()}.tmp")
    try:
        with storage_errors("make the folder", building):
            building.mkdir(mode=PRIVATE_FOLDER)
        _unpack(path, building, manifest, packing=packing, disk=disk)
        swept = _checked(path, building, manifest)
        _take_place(building, folder)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    sync_folder(folder.parent, disk=disk)
    return BackupReport(
        path=path,
        queue=manifest.queue,
        seq=manifest.seq,
        tasks=manifest.tasks,
        files=len(manifest.members),
        size=manifest.size,
        damage=swept.damage,
    )


def _refuse_taken(folder: Path) -> None:
    with storage_errors("look at", folder):
        if not os.path.lexists(folder):
            return
        if folder.is_dir() and not folder.is_symlink() and not any(folder.iterdir()):
            return
    raise UsageError(f"{folder} is there and not empty; name a folder that is not there yet: --queue", code="exists")


def _skip(_member: tarfile.TarInfo, content: Iterator[bytes]) -> None:
    for _ in content:
        pass


def _unpack(path: Path, building: Path, manifest: Manifest, *, packing: bool, disk: Disk) -> None:
    """Write every file and its folder durably, in the order of the archive."""

    def take(member: tarfile.TarInfo, content: Iterator[bytes]) -> None:
        target = building.joinpath(*member.name.split("/")[1:])
        make_private_folder(target.parent, disk=disk)
        with storage_errors("write", target):
            descriptor = create_new(target)
            try:
                for piece in content:
                    write_all(descriptor, piece, disk=disk)
                disk.sync_all(descriptor)
            finally:
                os.close(descriptor)

    if read_archive(path, take, packing=packing) != manifest:
        raise bad(path, "it changed while it was read")
    create_queue(building)
    for folder, _, _ in os.walk(building):
        sync_folder(Path(folder), disk=disk)


def _checked(path: Path, building: Path, manifest: Manifest) -> Swept:
    """Read everything again and see that it is what the manifest says. Raises: StorageError; CorruptStateError."""
    for member in manifest.members:
        target = building.joinpath(*member.name.split("/")[1:])
        with storage_errors("read", target), target.open("rb") as content:
            if hashlib.file_digest(content, "sha256").hexdigest() != member.sha256:
                raise StorageError(f"{target} did not read back as it was written; check the disk and try again")
    with open_journal(building / "tasks.jsonl") as journal:
        swept = sweep(journal) if journal is not None else _NOTHING
    if (swept.queue, swept.seq, len(swept.tasks)) != (manifest.queue, manifest.seq, manifest.tasks):
        raise bad(path, "its journal holds another number of tasks or changes than its manifest says")
    if swept.damage and not manifest.damaged:
        raise bad(path, f"its journal is damaged at line {swept.damage[0].line}: {swept.damage[0].why}")
    return swept


def _take_place(building: Path, folder: Path) -> None:
    """Give the finished queue its name; an empty folder that is there goes in the same step."""
    try:
        building.rename(folder)
    except (FileExistsError, NotADirectoryError) as error:
        raise UsageError(
            f"{folder} was made by somebody else meanwhile; nothing was restored", code="exists"
        ) from error
    except OSError as error:
        if os.path.lexists(folder) and any(folder.iterdir()):
            message = f"{folder} was filled by somebody else meanwhile; nothing was restored"
            raise UsageError(message, code="exists") from error
        raise StorageError(f"cannot make {folder} the queue: {error.strerror}; name another folder") from error
