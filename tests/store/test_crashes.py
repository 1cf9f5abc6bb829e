"""Real processes that are killed or whose system calls fail, and real full and read-only disks."""

import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestration.core.errors import StorageError
from orchestration.core.models import Task
from orchestration.core.status import Status
from orchestration.store import fsck
from orchestration.store.layout import QueueFolder, create_queue
from orchestration.store.tasks import JournalTaskStore

OpenStore = Callable[..., JournalTaskStore]
Command = Callable[..., list[str]]


@contextmanager
def working(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a worker and let it begin; whatever happens, end it."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            process.stdin.write(b"go\n")
            process.stdin.flush()
            yield process
        finally:
            process.kill()


def kill_writers(rounds: int, queue: QueueFolder, command: Command, store: JournalTaskStore) -> int:
    """Kill a writer at a random moment, *rounds* times; return how many changes they had acknowledged."""
    chance = random.Random(20261121)
    total = 0
    with working(command("nursery", queue.root, "k", 0)) as nursery:
        assert nursery.stdin is not None
        assert nursery.stdout is not None
        for _ in range(rounds):
            nursery.stdin.write(b"one more\n")
            nursery.stdin.flush()
            writer = int(nursery.stdout.readline())
            said = [nursery.stdout.readline()]
            deadline = time.monotonic() + chance.uniform(0, 0.03)
            while time.monotonic() < deadline:
                os.sched_yield()
            os.kill(writer, signal.SIGKILL)
            while said[-1] != b"gone\n":
                said.append(nursery.stdout.readline())
            acknowledged = {line.decode().strip() for line in said[:-1]}
            assert acknowledged
            assert acknowledged <= store.read().tasks.keys()
            total += len(acknowledged)
    return total


def test_a_killed_writer_loses_nothing_that_it_acknowledged(
    queue: QueueFolder, worker_command: Command, store: JournalTaskStore, a_task: Callable[..., Task]
) -> None:
    assert kill_writers(30, queue, worker_command, store) >= 30
    store.add([a_task("after")], by="test")
    assert fsck.check(queue.root).is_sound


@pytest.mark.full
def test_many_killed_writers_lose_nothing_that_they_acknowledged(
    queue: QueueFolder, worker_command: Command, store: JournalTaskStore
) -> None:
    assert kill_writers(300, queue, worker_command, store) >= 300


def traced(fault: str, command: list[str], *paths: Path) -> list[str]:
    """Return the command line that runs *command* with *fault* injected into calls on *paths*."""
    limits = [argument for path in paths for argument in ("-P", str(path))]
    call = fault.partition(":")[0]
    trace = ["strace", "-f", "-qq", "-o", os.devnull, *limits, "-e", f"trace={call}", "-e", f"inject={fault}"]
    return [*trace, *command]


def run_traced(command: list[str]) -> tuple[list[str], str, int]:
    """Return what a worker acknowledged, what it said last on stderr, and its exit status."""
    done = subprocess.run(command, input=b"go\n", capture_output=True, timeout=60, check=False)
    complaint = done.stderr.decode().strip().splitlines()
    return done.stdout.decode().split("\n")[1:-1], complaint[-1] if complaint else "", done.returncode


@pytest.mark.parametrize("when", [1, 3])
def test_killed_before_a_write_the_earlier_ones_are_there(
    when: int, queue: QueueFolder, worker_command: Command, open_store: OpenStore, capability: Callable[[str], None]
) -> None:
    capability("strace")
    worker = worker_command("add", queue.root, "s", 5)
    said, _, status = run_traced(traced(f"write:signal=KILL:when={when}", worker, queue.journal))
    assert status != 0
    assert list(open_store().read().tasks) == said == [f"s-{number}" for number in range(when - 1)]


@pytest.mark.parametrize(
    ("fault", "complaint", "there"),
    [
        ("write:error=ENOSPC:when=2", "StorageError: cannot write .*: the disk is full", 1),
        ("write:error=EIO:when=2", "StorageError: cannot write .*input/output error", 1),
        ("write:retval=5:when=2", "StorageError: cannot write .*: the disk is full", 1),
        ("fdatasync:error=EIO:when=2", "CorruptStateError: .*task s-1 .*in doubt", 2),
    ],
)
def test_a_call_that_fails_in_a_real_process_is_told_and_nothing_acknowledged_is_lost(
    fault: str,
    complaint: str,
    there: int,
    queue: QueueFolder,
    worker_command: Command,
    open_store: OpenStore,
    capability: Callable[[str], None],
) -> None:
    capability("strace")
    said, told, status = run_traced(traced(fault, worker_command("add", queue.root, "s", 5), queue.journal))
    assert status == 1
    assert re.search(complaint, told)
    assert said == ["s-0"]
    assert list(open_store().read().tasks) == [f"s-{number}" for number in range(there)]
    assert (fsck.check(queue.root).poison is not None) is fault.startswith("fdatasync")


@pytest.mark.full
@pytest.mark.parametrize("call", ["write", "fdatasync", "ftruncate", "openat", "flock"])
@pytest.mark.parametrize("effect", ["error=EIO", "error=ENOSPC", "signal=KILL"])
def test_whatever_call_fails_when_every_acknowledged_task_is_there(
    call: str,
    effect: str,
    tmp_path: Path,
    worker_command: Command,
    open_store: OpenStore,
    capability: Callable[[str], None],
) -> None:
    capability("strace")
    for when in range(1, 6):
        queue = create_queue(tmp_path / f"queue-{when}")
        worker = worker_command("add", queue.root, "s", 3)
        said, _, _ = run_traced(traced(f"{call}:{effect}:when={when}", worker, queue.journal, queue.lock))
        assert set(said) <= set(open_store(folder=queue.root).read().tasks)
        assert fsck.check(queue.root).damage == ()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of 256 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "taskq-test", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("a small disk cannot be mounted; get it with: run as root where mounting is allowed")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True, capture_output=True)


def start(task: Task) -> Task:
    return task.advance(Status.PLANNING, at=task.created_at)


def test_on_a_full_disk_what_was_acknowledged_stays_and_the_rest_is_refused(
    small_disk: Path, open_store: OpenStore, a_task: Callable[..., Task]
) -> None:
    queue = create_queue(small_disk / "queue")
    store = open_store(folder=queue.root)
    said: list[str] = []

    def fill() -> None:
        for number in range(1000):
            said.extend(task.id for task in store.add([a_task(f"t{number}", text="x" * 9_000)], by="test"))

    with pytest.raises(StorageError, match="the disk is full; free some space"):
        fill()
    assert len(said) > 5
    assert list(store.read().tasks) == said
    assert store.read().damage == ()
    queue.root.joinpath("README.md").unlink()
    assert store.change(said[0], start, by="test").rev == 2
    assert open_store(folder=queue.root).read().tasks[said[0]].status is Status.PLANNING


def test_on_a_disk_mounted_read_only_readers_read_and_writers_say_why(
    small_disk: Path, open_store: OpenStore, a_task: Callable[..., Task]
) -> None:
    queue = create_queue(small_disk / "queue")
    open_store(folder=queue.root).add([a_task("a")], by="test")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True, capture_output=True)
    store = open_store(folder=queue.root)
    assert list(store.read().tasks) == ["a"]
    with pytest.raises(StorageError, match=r"journal\.lock: the file system is read-only"):
        store.add([a_task("b")], by="test")


def test_a_queue_without_write_permission_says_so(
    queue: QueueFolder, worker_command: Command, open_store: OpenStore, a_task: Callable[..., Task]
) -> None:
    as_nobody_special = []
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("root may write everywhere; get it with: apt-get install util-linux, or run as a normal user")
        as_nobody_special = ["setpriv", "--bounding-set=-all"]
    open_store().add([a_task("a")], by="test")
    queue.journal.chmod(0o400)
    said, told, status = run_traced([*as_nobody_special, *worker_command("add", queue.root, "s", 1)])
    assert (said, status) == ([], 1)
    assert re.search(r"StorageError: cannot open .*tasks\.jsonl: permission denied", told)
    assert list(open_store().read().tasks) == ["a"]
