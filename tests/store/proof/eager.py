"""A store that makes an index for a few lines already, and keeps it close: a small queue is like a large one then."""

from pathlib import Path
from typing import Final

from orchestration.core.ports import Clock
from orchestration.store.layout import QueueFolder
from orchestration.store.reader import Effort, JournalReader
from orchestration.store.tasks import JournalTaskStore
from orchestration.support.files import REAL_DISK, Disk

EAGER: Final = Effort(batch=2000, warm=4000)


def eager_store(folder: Path, clock: Clock, *, disk: Disk = REAL_DISK) -> JournalTaskStore:
    """Open the queue as another process would, for which 2000 bytes are many."""
    return JournalTaskStore(folder, clock, disk=disk, reader=JournalReader(QueueFolder(folder), clock, effort=EAGER))
