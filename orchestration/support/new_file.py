"""A large file that is written piece by piece and comes to its name whole, or not at all.

Guarantees: nothing is ever overwritten; at each moment there is nothing at the name, or the whole file, durable.
What a kill leaves is ``.<name>.<random>.tmp`` beside it, which may be deleted.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from orchestration.core.errors import UsageError
from orchestration.support.files import REAL_DISK, Disk, create_new, storage_errors, sync_folder

_BUFFER: Final = 1 << 20


class NewFile(NamedTuple):
    """A file that has no name yet: *path* is where it is written, *content* is open for writing."""

    path: Path
    content: BinaryIO


@contextmanager
def new_file(path: Path, *, disk: Disk = REAL_DISK) -> Iterator[NewFile]:
    """Give what the block writes the name *path* when the block ends well.

    Raises: UsageError (``exists``) when something has that name; StorageError.
    """
    if os.path.lexists(path):
        raise _taken(path)
    temporary = path.with_name(f".{path.name[:64]}.{os.urandom(6).hex()}.tmp")
    with storage_errors("write", path):
        descriptor = create_new(temporary)
        try:
            with os.fdopen(descriptor, "wb", buffering=_BUFFER) as content:
                yield NewFile(temporary, content)
                content.flush()
                disk.sync_all(descriptor)
            os.link(temporary, path)
        except FileExistsError:
            raise _taken(path) from None
        finally:
            with suppress(OSError):
                temporary.unlink()
    sync_folder(path.parent, disk=disk)


def _taken(path: Path) -> UsageError:
    return UsageError(f"{path} is there already, and nothing is overwritten; give another name", code="exists")
