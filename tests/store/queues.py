"""A queue that has been lived in, for who copies, moves and restores queues; and what is in one."""

import hashlib
from collections.abc import Callable
from pathlib import Path

from orchestration.core.models import Task
from orchestration.core.status import Status
from orchestration.store.layout import QueueFolder
from orchestration.store.tasks import JournalTaskStore

LONG = "long text \u00e9" * 40_000


def live_in(queue: QueueFolder, store: JournalTaskStore, a_task: Callable[..., Task]) -> QueueFolder:
    """Put something in every place of *queue*."""
    store.add([a_task("a", text=LONG), a_task("b"), a_task("c")], by="test")
    store.change("b", lambda task: task.advance(Status.CANCELLED, at=task.created_at), by="test")
    store.remove("c", lambda _task: None, by="test")
    queue.root.joinpath("config.toml").write_text("max_parallel = 2\n", encoding="utf-8")
    queue.tasks.joinpath("a.md").write_text("as given\n", encoding="utf-8")
    queue.errors.joinpath("b-1.md").write_text("why\n", encoding="utf-8")
    queue.history.joinpath("inner").mkdir()
    queue.history.joinpath("inner/torn-1").write_bytes(b"\0\xff")
    queue.root.joinpath("index").mkdir(exist_ok=True)
    queue.root.joinpath("index/cache").write_bytes(b"a cache")
    queue.blobs.joinpath(".half.0123456789ab.tmp").write_bytes(b"of a kill")
    return queue


def content_of(folder: Path) -> dict[str, bytes]:
    """Return every file of a queue that a backup has."""
    without = ("locks", "index")
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.relative_to(folder).parts[0] not in without
    }


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def blob_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
