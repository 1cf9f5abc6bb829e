"""What lies where in a queue's folder, and making a new one.

Guarantees: making a queue overwrites nothing, and what it makes is for its owner alone.
"""

from pathlib import Path
from typing import Final

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


class QueueFolder:
    """The paths of one queue."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.marker = root / ".taskq"
        """The file by which a queue is found."""
        self.journal = root / "tasks.jsonl"
        """The append-only truth."""
        self.lock = root / "locks" / "journal.lock"
        """The lock of all writers; never replaced or removed."""
        self.index_file = root / "index" / "tasks.sqlite"
        """A cache of the journal; may be deleted at any time."""
        self.index_lock = root / "locks" / "index.lock"
        """The lock of whoever builds the index, so that one process does and the others wait for it."""
        self.blobs = root / "blobs"
        """Long texts by hash."""
        self.history = root / "history"
        """What was moved out of the journal."""
        self.tasks = root / "tasks"
        """Task files as they were given."""
        self.errors = root / "errors"
        """Reports of failed attempts."""


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
