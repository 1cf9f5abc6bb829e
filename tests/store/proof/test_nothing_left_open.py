"""A store that nobody holds any more leaves no file open: who looks at many queues does not run out of descriptors."""

import gc
from collections.abc import Callable
from pathlib import Path

from orchestration.store.tasks import JournalTaskStore

OPEN = Path("/proc/self/fd")


def test_a_store_that_is_dropped_leaves_no_file_open(
    open_eager: Callable[[], JournalTaskStore], a_task: Callable
) -> None:
    open_eager().add([a_task(f"t{number}") for number in range(10)], by="test")
    gc.collect()
    before = len(list(OPEN.iterdir()))
    for _ in range(20):
        assert len(open_eager().read().tasks) == 10
    gc.collect()
    assert len(list(OPEN.iterdir())) <= before + 1
