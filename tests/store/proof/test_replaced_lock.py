"""The lock file is replaced under a writer that already waits for it: the old file's lock no longer counts."""

from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread

from orchestration.store.layout import QueueFolder
from orchestration.store.lock import JournalLock
from orchestration.store.tasks import JournalTaskStore
from orchestration.support.files import Disk


class TellingDisk(Disk):
    """Tells when somebody begins to wait for a lock."""

    def __init__(self, told: "SimpleQueue[str]") -> None:
        self._told = told

    def lock(self, descriptor: int) -> None:
        self._told.put("waits")
        super().lock(descriptor)


def test_who_waited_for_the_old_file_waits_again_for_the_one_in_its_place(
    queue: QueueFolder, store: JournalTaskStore, a_task: Callable
) -> None:
    store.add([a_task("a")], by="test")
    told: SimpleQueue[str] = SimpleQueue()

    def wait_and_enter() -> None:
        with JournalLock(queue.lock, disk=TellingDisk(told)).hold():
            told.put("inside")

    waiter = Thread(target=wait_and_enter)
    with JournalLock(queue.lock).hold():
        waiter.start()
        assert told.get(timeout=10) == "waits"
        queue.lock.rename(queue.lock.with_suffix(".moved"))
        second = JournalLock(queue.lock).hold()
        second.__enter__()
    try:
        assert told.get(timeout=10) == "waits"  # it got the old one's lock, looked, and went to the new one
    finally:
        second.__exit__(None, None, None)
        waiter.join()
    assert told.get(timeout=10) == "inside"
