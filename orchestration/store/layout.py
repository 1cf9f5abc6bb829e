"""What lies where in a queue's folder, and making a new one.

Guarantees: making a queue overwrites nothing, and what it makes is for its owner alone.
"""

from pathlib import Path
from typing import Final, NamedTuple

from orchestration.support.files import create_durably, make_private_folder

_MARKER: Final = b"A taskq queue. This file marks the folder; `taskq` finds the queue by it.\n"
_README: Final = b"""# A taskq queue

`tasks.jsonl` is the journal: one change per line, append-only, and the only truth. Read it with any tool; change it
with `taskq` alone, because every line carries a checksum and writers take turns.

| here | is |
|---|---|
| `tasks.jsonl` | every change of every task |
| `tasks/` | tasks as they were given, for people |
| `blobs/` | long texts of tasks, named by their SHA-256; part of the truth |
| `errors/` | reports of failed attempts |
| `history/` | bytes that were moved out of the journal, never deleted by taskq |
| `locks/` | the lock of the writers; do not remove it while taskq runs |
| `index/` | caches; safe to delete |

`taskq fsck` checks the queue; `taskq fsck --repair` sets damage aside.
"""
_IGNORED: Final = b"""# Data of this queue stays out of git.
# To track tasks there, remove the lines of tasks.jsonl, tasks/ and blobs/ together.
/tasks.jsonl
/tasks.jsonl.*
/tasks/
/blobs/
/errors/
/history/
/locks/
/index/
"""
_ATTRIBUTES: Final = b"""# Journals are not merged line by line; use `taskq export` and `taskq import` between queues.
tasks.jsonl -text merge=binary
tasks/** -text
blobs/** binary
"""


class QueueFolder(NamedTuple):
    """The paths of one queue."""

    root: Path

    @property
    def marker(self) -> Path:
        """The file by which a queue is found."""
        return self.root / ".taskq"

    @property
    def journal(self) -> Path:
        """The append-only truth."""
        return self.root / "tasks.jsonl"

    @property
    def lock(self) -> Path:
        """The lock of all writers; never replaced or removed."""
        return self.root / "locks" / "journal.lock"

    @property
    def index_file(self) -> Path:
        """A cache of the journal; may be deleted at any time."""
        return self.root / "index" / "tasks.sqlite"

    @property
    def index_lock(self) -> Path:
        """The lock of whoever builds the index, so that one process does and the others wait for it."""
        return self.root / "locks" / "index.lock"

    @property
    def blobs(self) -> Path:
        """Long texts by hash."""
        return self.root / "blobs"

    @property
    def history(self) -> Path:
        """What was moved out of the journal."""
        return self.root / "history"

    @property
    def tasks(self) -> Path:
        """Task files as they were given."""
        return self.root / "tasks"

    @property
    def errors(self) -> Path:
        """Reports of failed attempts."""
        return self.root / "errors"


def create_queue(folder: Path) -> QueueFolder:
    """Make *folder* a queue; what is there already stays as it is.

    Raises: StorageError.
    """
    queue = QueueFolder(folder)
    make_private_folder(folder)
    for inner in (queue.tasks, queue.errors, queue.history, queue.blobs, queue.lock.parent):
        make_private_folder(inner)
    for name, content in (("README.md", _README), (".gitignore", _IGNORED), (".gitattributes", _ATTRIBUTES)):
        _create(folder / name, content)
    _create(queue.marker, _MARKER)
    return queue


def _create(path: Path, content: bytes) -> None:
    if path.exists() or path.is_symlink():
        return
    try:
        create_durably(path, content)
    except FileExistsError:
        return
