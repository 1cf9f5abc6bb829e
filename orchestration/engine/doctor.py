"""What works on this machine, and what would help: checks that need no task.

Not responsible for: the checks of sandboxes and git, which their adapters bring.
"""

import os
import platform
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from orchestration.core.ports import Health
from orchestration.support.mounts import mount_of

LOW_DISK: Final = 1024**3
OLDEST_PYTHON: Final = (3, 11)


def examine(folders: Iterable[tuple[str, Path]]) -> tuple[Health, ...]:
    """Return what is to be said of Python and of every named folder."""
    return (_python(), *(_folder(name, path) for name, path in folders))


def file_system(queue: Path) -> Health:
    """Say what the queue's folder is on, and whether a queue is safe there."""
    mount = mount_of(queue)
    if mount is None:
        return Health(
            name="file system", usable=True, detail="not known here; keep the queue on a local disk", remedy=""
        )
    detail = f"{mount.kind}, a network file system" if mount.is_network else mount.kind
    return Health(
        name="file system",
        usable=not mount.is_network,
        detail=f"{detail} ({mount.source} at {mount.point})",
        remedy="put the queue on a local disk, with --queue or TASKQ_QUEUE",
    )


def _python() -> Health:
    return Health(
        name="python",
        usable=sys.version_info >= OLDEST_PYTHON,
        detail=f"{platform.python_version()} at {sys.executable}",
        remedy="install Python 3.11 or newer",
    )


def _folder(name: str, path: Path) -> Health:
    """Say whether *path* can be written, or made, and how much room it has."""
    existing = next(folder for folder in (path, *path.parents) if folder.exists())
    if not os.access(existing, os.W_OK | os.X_OK):
        return Health(
            name=name, usable=False, detail=f"{path}: {existing} cannot be written", remedy=f"chmod u+w {existing}"
        )
    free = shutil.disk_usage(existing).free
    detail = f"{path} ({free / 1024**3:.1f} GiB free{'' if existing == path else ', made when needed'})"
    return Health(name=name, usable=free >= LOW_DISK, detail=detail, remedy="make room: taskq cleanup")
