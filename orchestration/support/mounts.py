"""Which file system a path is on, and the refusal of those where a queue would not be safe.

Guarantees: what the kernel says of the path's own device counts; the path's text only where no device is listed (the
subvolumes of btrfs). Where there is no ``/proc/self/mountinfo``, as on macOS, nothing is known and nothing refused.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from orchestration.core.errors import StorageError

_FUSE: Final = (
    *(
        "sshfs",
        "glusterfs",
        "ceph",
        "ceph-fuse",
        "beegfs",
        "moosefs",
        "mfs",
        "lizardfs",
        "juicefs",
        "seaweedfs",
        "weed",
        "hdfs",
        "fuse_dfs",
    ),
    *(
        "curlftpfs",
        "davfs",
        "davfs2",
        "rclone",
        "s3fs",
        "goofys",
        "gcsfuse",
        "geesefs",
        "mountpoint-s3",
        "blobfuse",
        "blobfuse2",
    ),
    *("gvfsd-fuse", "kio-fuse", "grpcfuse", "smbnetfs", "afpfs", "vmhgfs-fuse", "fuse-nfs"),
)
NETWORK: Final = frozenset(
    (
        *("nfs", "nfs4", "cifs", "smb3", "smbfs", "ncpfs", "afs", "coda", "9p", "virtiofs", "vboxsf", "prl_fs"),
        *("ceph", "lustre", "gpfs", "beegfs", "glusterfs", "orangefs", "pvfs2", "panfs"),
        *(f"fuse.{kind}" for kind in _FUSE),
    )
)
"""Kinds whose files another machine may change too, and whose locks and appends it need not see."""

_MOUNTINFO: Final = "/proc/self/mountinfo"
_OCTAL: Final = re.compile(rb"\\([0-7]{3})")
_URL: Final = "://"


class Mount(NamedTuple):
    """One mounted file system: its kind as the kernel spells it, what was mounted, and where."""

    kind: str
    source: str
    point: str

    @property
    def is_network(self) -> bool:
        """Whether files here may be changed by other machines; a FUSE of unknown kind tells by its source."""
        return self.kind in NETWORK or (self.kind.startswith("fuse") and _URL in self.source)


def file_system_of(path: Path) -> str | None:
    """Return the kind of file system that *path*, or the nearest folder above that exists, is on; None if unknown."""
    mount = mount_of(path)
    return None if mount is None else mount.kind


def mount_of(path: Path) -> Mount | None:
    """Return the mount that *path*, or the nearest folder above that exists, is on; None where that is not known."""
    try:
        content = _mountinfo()
        for folder in (path, *path.parents):
            try:
                device = os.stat(folder).st_dev  # noqa: PTH116 -- every `taskq add` comes by here
            except FileNotFoundError:
                continue
            return find_mount(content, f"{os.major(device)}:{os.minor(device)}", os.path.realpath(folder))
    except OSError:
        return None
    return None


def refuse_network(folder: Path) -> None:
    """Refuse a queue on a network file system. Raises: StorageError (``network_file_system``)."""
    mount = mount_of(folder)
    if mount is not None and mount.is_network:
        msg = (
            f"{folder} is on a network file system, {mount.kind} from {mount.source}, where the locks and appends of a "
            "queue are not safe; put the queue on a local disk, with --queue or TASKQ_QUEUE"
        )
        raise StorageError(msg, code="network_file_system")


def find_mount(content: bytes, device: str, path: str) -> Mount | None:
    """Return what *content*, in the format of ``/proc/self/mountinfo``, says of a *path* without links on *device*.

    Mounts of one device are one file system seen at several places, so any of them tells its kind. Where the device is
    not listed, the deepest mount point above *path* counts, and of several at one place the last, which covers them.
    """
    for line in _lines_with(content, device.encode()):
        return _mount(line)
    above: Mount | None = None
    for line in content.splitlines():
        mount = _mount(line)
        if mount is not None and _holds(mount.point, path) and (above is None or len(mount.point) >= len(above.point)):
            above = mount
    return above


def _mountinfo() -> bytes:
    descriptor = os.open(_MOUNTINFO, os.O_RDONLY | os.O_CLOEXEC)
    try:
        pieces = []
        while piece := os.read(descriptor, 1 << 16):
            pieces.append(piece)
        return b"".join(pieces)
    finally:
        os.close(descriptor)


def _lines_with(content: bytes, device: bytes) -> Iterator[bytes]:
    """Yield the lines whose third field is *device*, found without splitting all the others."""
    field = b" " + device + b" "
    found = content.find(field)
    while found >= 0:
        start = content.rfind(b"\n", 0, found) + 1
        end = content.find(b"\n", found)
        line = content[start : len(content) if end < 0 else end]
        if line.split(b" ", 3)[2] == device:
            yield line
        found = content.find(field, found + 1)


def _mount(line: bytes) -> Mount | None:
    """Return what one line says: ``id parent device root point options [optional ...] - kind source options``."""
    before, separator, after = line.partition(b" - ")
    fields, named = before.split(b" "), after.split(b" ")
    if not separator or len(fields) < 6 or len(named) < 2:
        return None
    return Mount(kind=_text(named[0]), source=_text(named[1]), point=_text(fields[4]))


def _text(field: bytes) -> str:
    """Return a field as it was before the kernel spelled blanks and backslashes in octal."""
    return os.fsdecode(_OCTAL.sub(lambda match: bytes([int(match[1], 8) & 0xFF]), field))


def _holds(point: str, path: str) -> bool:
    return path == point or path.startswith(point.rstrip("/") + "/")
