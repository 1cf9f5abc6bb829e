"""Host files of an attempt that its sandbox shows: made, replaced and handed over, without following a link.

Guarantees: a reader never sees half of a file; what an agent put in a file's place is replaced, not written through.
"""

import os
import secrets
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from orchestration.adapters.sandbox.hostile_files import components, open_folder, write_all
from orchestration.core.attempts import AttemptFolders
from orchestration.core.errors import StorageError, UsageError
from orchestration.support.trees import remove_tree

Owner = tuple[int, int]
"""A uid and a gid of the host."""
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def no_secret(name: str) -> bytes:
    """Stand for the operator's secrets where there are none. Raises: UsageError."""
    raise UsageError(f"there is no secret {name}; set it with: taskq secret set {name}", code="no_secret")


def make_folders(folders: AttemptFolders) -> None:
    """Make what is missing; the agent may write *data*, so nothing deeper in it is touched. Raises: StorageError."""
    try:
        for folder in (folders.workspace, folders.git, folders.config, folders.data, folders.out):
            if not folder.is_dir():
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in ("home", "tmp", "run"):
            with suppress(FileExistsError):
                (folders.data / name).mkdir(mode=0o700)
    except OSError as error:
        raise StorageError(f"cannot make the attempt's folders in {folders.root}: {error.strerror}") from error


def hand_over(tops: Iterable[Path], owner: Owner) -> None:
    """Give each folder of *tops*, with all in it, to *owner*; one whose top is theirs already is left as it is.

    Raises: StorageError.
    """
    for top in tops:
        try:
            descriptor = os.open(top, _FOLDER)
            try:
                status = os.fstat(descriptor)
                if (status.st_uid, status.st_gid) != owner:
                    _give(descriptor, owner)
                    os.fchown(descriptor, *owner)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise StorageError(f"cannot give {top} to the agent's user {owner[0]}: {error.strerror}") from error


def _give(folder: int, owner: Owner) -> None:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                inner = os.open(entry.name, _FOLDER, dir_fd=folder)
                try:
                    _give(inner, owner)
                finally:
                    os.close(inner)
            os.chown(entry.name, *owner, dir_fd=folder, follow_symlinks=False)


def put_config(folders: AttemptFolders, name: str, content: bytes, *, owner: Owner | None = None) -> None:
    """Put the file *name* into the config folder, readable for its owner alone.

    Raises: ValueError for a name that is not plain, StorageError.
    """
    if components(name) != (name,) or name.startswith("."):
        raise ValueError(f"{name!r} is no plain file name")
    path = folders.config / name
    try:
        with open_folder(folders.root, (folders.config.name,)) as folder:
            _replace(folder, name, content, path, owner)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}") from error


def put_secrets(folders: AttemptFolders, values: Mapping[str, bytes]) -> None:
    """Put every secret into a fresh secrets folder of the attempt. Raises: StorageError."""
    remove_tree(folders.secrets)
    try:
        folders.secrets.mkdir(mode=0o700)
        with open_folder(folders.root, (folders.secrets.name,)) as folder:
            for name, value in values.items():
                _replace(folder, name, value, folders.secrets / name, None)
    except OSError as error:
        raise StorageError(f"cannot write {folders.secrets}: {error.strerror}") from error


def _replace(folder: int, name: str, content: bytes, path: Path, owner: Owner | None) -> None:
    scratch = f".{secrets.token_hex(8)}"
    target = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o400, dir_fd=folder)
    try:
        write_all(target, content, path)
        if owner is not None:
            os.fchown(target, *owner)
        os.rename(scratch, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        os.unlink(scratch, dir_fd=folder)
        raise
    finally:
        os.close(target)
