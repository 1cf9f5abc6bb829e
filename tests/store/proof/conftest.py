"""What the rungs share: workers that live, are killed and are listened to; and how long a rung goes on."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestration.core.ports import Clock
from orchestration.store.layout import QueueFolder
from orchestration.store.tasks import JournalTaskStore
from tests.store.proof.eager import eager_store

ROOT = Path(__file__).resolve().parents[3]
WORKER = Path(__file__).with_name("worker.py")

Living = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start_worker(queue: QueueFolder) -> Iterator[Living]:
    """Return a function that starts a process on the queue, which waits for ``go``; see worker.py."""
    started: list[subprocess.Popen[str]] = []

    def start(what: str, name: str, *options: object, count: int = 0, seed: object = 0, folder: Path | None = None):  # noqa: ANN202
        arguments = (ROOT, what, folder or queue.root, name, count, seed, *options)
        process = subprocess.Popen(
            [sys.executable, str(WORKER), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def open_eager(queue: QueueFolder, clock: Clock) -> Callable[[], JournalTaskStore]:
    """Return a function that opens the queue anew, with an index that is worth its while at once."""
    return lambda: eager_store(queue.root, clock)
