"""Builders for the store's tests: a queue, tasks, a disk that fails on purpose, and processes that share a queue."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestration.core.models import Task
from orchestration.core.naming import TaskId
from orchestration.core.status import Status
from orchestration.store.layout import QueueFolder, create_queue
from orchestration.store.tasks import JournalTaskStore
from orchestration.support.files import Disk

ROOT = Path(__file__).resolve().parents[2]
WORKER = Path(__file__).with_name("worker.py")
START = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)


@dataclass
class SteppingClock:
    """Each look at it is a second later, so that orders can be told and runs are the same."""

    current: datetime = START

    def now(self) -> datetime:
        self.current += timedelta(seconds=1)
        return self.current

    def monotonic(self) -> float:
        return self.current.timestamp()


def build_task(identifier: str = "a", **fields: object) -> Task:
    values = {
        "id": TaskId(identifier),
        "repo": "/srv/repo",
        "base": "main",
        "status": Status.TODO,
        "text": f"do {identifier}",
        "created_at": START,
        "updated_at": START,
        **fields,
    }
    return Task(**values)  # type: ignore[arg-type]  # a builder takes any field


@dataclass
class FaultyDisk(Disk):
    """Does what a disk does, but the *at*-th *call* (from 1) goes wrong; notes every call.

    A *short* write takes that many bytes; otherwise the call fails with *error*, and so do the calls of *also*
    from then on.
    """

    call: str = ""
    at: int = 1
    error: int = errno.EIO
    short: int | None = None
    also: tuple[str, ...] = ()
    calls: list[str] = field(default_factory=list)
    broken: bool = False

    def _note(self, name: str) -> bool:
        self.calls.append(name)
        if self.broken and name in self.also:
            raise OSError(self.error, os.strerror(self.error))
        if name == self.call and self.calls.count(name) == self.at:
            self.broken = True
            if self.short is None:
                raise OSError(self.error, os.strerror(self.error))
            return True
        return False

    def write(self, descriptor: int, content: bytes) -> int:
        return super().write(descriptor, content[: self.short] if self._note("write") else content)

    def overwrite(self, descriptor: int, content: bytes, offset: int) -> int:
        self._note("overwrite")
        return super().overwrite(descriptor, content, offset)

    def truncate(self, descriptor: int, size: int) -> None:
        self._note("truncate")
        super().truncate(descriptor, size)

    def sync(self, descriptor: int) -> None:
        self._note("sync")
        super().sync(descriptor)

    def sync_all(self, descriptor: int) -> None:
        self._note("sync_all")
        super().sync_all(descriptor)

    def replace(self, source: Path, target: Path) -> None:
        self._note("replace")
        super().replace(source, target)

    def lock(self, descriptor: int) -> None:
        self._note("lock")
        super().lock(descriptor)


@pytest.fixture
def clock() -> SteppingClock:
    return SteppingClock()


@pytest.fixture
def a_task() -> Callable[..., Task]:
    return build_task


@pytest.fixture
def queue(tmp_path: Path) -> QueueFolder:
    return create_queue(tmp_path / "queue")


@pytest.fixture
def open_store(queue: QueueFolder, clock: SteppingClock) -> Callable[..., JournalTaskStore]:
    """Return a function that opens the queue anew, as another process would."""

    def opened(disk: Disk | None = None, folder: Path | None = None) -> JournalTaskStore:
        return JournalTaskStore(folder or queue.root, clock, disk=disk or Disk())

    return opened


@pytest.fixture
def store(open_store: Callable[..., JournalTaskStore]) -> JournalTaskStore:
    return open_store()


@pytest.fixture
def faulty_disk() -> type[FaultyDisk]:
    return FaultyDisk


@pytest.fixture
def worker_command() -> Callable[..., list[str]]:
    """Return the command line of a real process that works on a queue; see worker.py."""

    def command(*arguments: object) -> list[str]:
        return [sys.executable, str(WORKER), str(ROOT), *map(str, arguments)]

    return command


@pytest.fixture
def run_workers(worker_command: Callable[..., list[str]]) -> Callable[..., list[list[str]]]:
    """Return a function that runs one process per set of arguments, all at once, and gives the lines of each."""

    def run(*all_arguments: tuple[object, ...]) -> list[list[str]]:
        running = [
            subprocess.Popen(worker_command(*arguments), stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True)
            for arguments in all_arguments
        ]
        try:
            for process in running:
                assert process.stdout is not None
                assert process.stdout.readline() == "ready\n"
            for process in running:  # all start together
                assert process.stdin is not None
                process.stdin.write("go\n")
                process.stdin.flush()
            outputs = [process.communicate(timeout=60)[0].splitlines() for process in running]
            assert [process.returncode for process in running] == [0] * len(running)
        finally:
            for process in running:
                process.kill()
                process.wait()
        return outputs

    return run
