"""Power cuts on a real file system: ext4 on a loop device, cut off by its own shutdown call and mounted again."""

import fcntl
import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from orchestration.store import fsck
from orchestration.store.layout import QueueFolder, create_queue
from tests.store.proof.history import Said, heard

EXT4_IOC_SHUTDOWN: Final = 0x8004587D
WITHOUT_ITS_LOG: Final = struct.pack("I", 2)
ROOT = Path(__file__).resolve().parents[3]
READER = Path(__file__).with_name("reader.py")
SMALL = 16 * 1024**2

pytestmark = pytest.mark.full


class Ext4:
    """A file system of its own at *folder*."""

    def __init__(self, image: Path, folder: Path) -> None:
        self._image = image
        self.folder = folder
        with image.open("wb") as device:
            device.truncate(SMALL)
        subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], check=True, capture_output=True)
        folder.mkdir()
        self.mount()

    def mount(self) -> None:
        subprocess.run(["mount", "-o", "loop", str(self._image), str(self.folder)], check=True, capture_output=True)

    def unmount(self) -> None:
        subprocess.run(["umount", str(self.folder)], check=True, capture_output=True)

    def cut_the_power(self) -> None:
        """Lose all that has not reached the device, then come back as a machine does that boots again."""
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.ioctl(folder, EXT4_IOC_SHUTDOWN, WITHOUT_ITS_LOG)
        finally:
            os.close(folder)
        self.unmount()
        self.mount()


@pytest.fixture
def disk(tmp_path: Path, capability: Callable[[str], None]) -> Iterator[Ext4]:
    capability("loop-ext4")
    ext4 = Ext4(tmp_path / "image", tmp_path / "disk")
    yield ext4
    ext4.unmount()


@pytest.fixture
def synced_queue(disk: Ext4) -> QueueFolder:
    """A queue that was made long ago."""
    queue = create_queue(disk.folder / "queue")
    os.sync()
    return queue


def add_and_cut(disk: Ext4, queue: QueueFolder, start_worker: Callable, count: int, *options: str) -> list[Said]:
    """Let a process add tasks, then fail the power; return what it was told."""
    worker = start_worker("add", "t", *options, count=count, folder=queue.root)
    lines, complaint = worker.communicate("go\n")
    assert worker.returncode == 0, complaint
    said = heard(lines.splitlines())
    assert len(said) == count
    disk.cut_the_power()
    return said


def taskq(queue: QueueFolder, *arguments: str) -> Any:
    """Return what the command line says, which is JSON."""
    script = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from orchestration.taskq import main; main()"
    command = [sys.executable, "-c", script, *arguments, "--json", "--queue", str(queue.root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def status(queue: QueueFolder) -> list[str]:
    """Return the ids that the command line shows."""
    return [task["id"] for task in taskq(queue, "status")]


def new_process_sees(queue: QueueFolder) -> dict[str, Any]:
    """Return what a process that ends at once, so that nothing of the file system stays open, reads there."""
    command = [sys.executable, str(READER), str(ROOT)]
    done = subprocess.run(command, input=f"{queue.root}\n", capture_output=True, text=True, check=True)
    seen: dict[str, Any] = json.loads(done.stdout)["before"]
    return seen


@pytest.mark.parametrize("count", [1, 60])
def test_every_task_that_was_acknowledged_is_there_after_the_power_was_cut(
    count: int, disk: Ext4, synced_queue: QueueFolder, start_worker: Callable
) -> None:
    """The first task also needs the journal's name, the last one its blob."""
    said = [each.id for each in add_and_cut(disk, synced_queue, start_worker, count)]
    seen = new_process_sees(synced_queue)
    assert list(seen["tasks"]) == status(synced_queue) == said
    assert seen["tasks"][said[-1]][-1] == 300_000
    assert seen["damage"] == []
    assert fsck.check(synced_queue.root).is_sound


def test_without_the_sync_the_power_cut_takes_tasks_that_were_acknowledged(
    disk: Ext4, synced_queue: QueueFolder, start_worker: Callable
) -> None:
    """The control: the cut is a real one."""
    said = add_and_cut(disk, synced_queue, start_worker, 60, "no-sync", "no-folder-sync")
    assert len(new_process_sees(synced_queue)["tasks"]) < len(said)


def test_a_compacted_journal_is_there_after_the_power_was_cut_with_all_that_came_after(
    disk: Ext4, synced_queue: QueueFolder, start_worker: Callable
) -> None:
    folder = synced_queue.root
    start_worker("live", "t", count=150, seed=3, folder=folder).communicate("go\n")
    report = taskq(synced_queue, "compact")
    assert report["after"] < report["before"]
    disk.cut_the_power()
    assert b'"compacted":true' in synced_queue.journal.read_bytes().splitlines()[0]
    assert Path(report["history"]).stat().st_size == report["before"]
    before = new_process_sees(synced_queue)
    assert len(before["tasks"]) == report["tasks"]
    said = [each.id for each in add_and_cut(disk, synced_queue, start_worker, 5)]
    seen = new_process_sees(synced_queue)
    assert list(seen["tasks"]) == [*before["tasks"], *said]
    assert seen["damage"] == []
    assert fsck.check(folder).is_sound


def test_after_the_cut_an_index_that_outlived_its_journal_is_not_believed(
    disk: Ext4, synced_queue: QueueFolder, start_worker: Callable
) -> None:
    """The index reaches the disk with tasks whose lines do not: nobody waited for those. The machine booted not."""
    folder = synced_queue.root
    start_worker("bulk", "sure", count=400, folder=folder).communicate("go\n")
    start_worker("bulk", "unsure", "no-sync", "no-folder-sync", count=800, folder=folder).communicate("go\n")
    assert len(status(synced_queue)) == 1200
    assert sync_index(synced_queue) > 1
    disk.cut_the_power()
    there = status(synced_queue)
    assert there[:400] == [f"sure-{number}" for number in range(400)]
    assert len(there) < 1200
    assert there == list(new_process_sees(synced_queue)["tasks"])
    said = start_worker("add", "later", count=3, folder=folder).communicate("go\n")[0]
    assert status(synced_queue) == [*there, *(each.id for each in heard(said.splitlines()))]
    assert fsck.check(folder).is_sound


def sync_index(queue: QueueFolder) -> int:
    """Make the index durable, which nobody else does; return how many files and folders it takes."""
    paths = [*queue.root.glob("index/*"), *queue.root.glob("index")]
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
    return len(paths)
