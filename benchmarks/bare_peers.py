"""Other queues on one file, with the line of one of our tasks as the message: each as its own documentation has it.

Not responsible for: being equal. litequeue does not sync every change (synchronous=NORMAL); persist-queue is for one
process. A claim of huey takes the task out of the queue; those of the others are acknowledged.
"""

import fcntl
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from benchmarks.bare_worker import Act, Given
from benchmarks.bare_writers import WAIT, line_of

BACKLOG: Final = 10_000
"""How many messages wait at least while some are claimed."""


def huey_add(given: Given) -> Act:
    """Enqueue calls of a task."""
    _, call = _huey(given.place)
    return _put(call, given)


def huey_claim(given: Given) -> Act:
    """Dequeue calls, out of a backlog."""
    huey, call = _huey(given.place)
    _stock(call, given)

    def act(_number: int) -> str:
        return str(huey.dequeue().id)

    return act


def persist_queue_add(given: Given) -> Act:
    """Put messages."""
    return _put(_persist_queue(given.place).put, given)


def persist_queue_claim(given: Given) -> Act:
    """Get messages and acknowledge each, out of a backlog."""
    queue = _persist_queue(given.place)
    _stock(queue.put, given)

    def act(_number: int) -> None:
        queue.ack(queue.get(block=False))

    return act


def litequeue_add(given: Given) -> Act:
    """Put messages."""
    return _put(_litequeue(given.place).put, given)


def litequeue_claim(given: Given) -> Act:
    """Pop messages and mark each as done, out of a backlog."""
    queue = _litequeue(given.place)
    _stock(queue.put, given)

    def act(_number: int) -> str:
        message = queue.pop()
        queue.done(message.message_id)
        return str(message.message_id)

    return act


def _huey(place: Path) -> tuple[Any, Callable[[str], Any]]:
    huey = import_module("huey").SqliteHuey(filename=str(place), fsync=True, timeout=WAIT)

    @huey.task()  # type: ignore[untyped-decorator]  # the library has no types
    def work(message: str) -> str:
        return message

    return huey, work


def _persist_queue(place: Path) -> Any:
    return import_module("persistqueue").SQLiteAckQueue(str(place), timeout=WAIT)


def _litequeue(place: Path) -> Any:
    return import_module("litequeue").LiteQueue(place, timeout=WAIT)


def _put(put: Callable[[str], object], given: Given) -> Act:
    message = line_of(given, 1).decode("ascii")

    def act(_number: int) -> None:
        put(message)

    return act


def _stock(put: Callable[[str], object], given: Given) -> None:
    """Put as many messages as this process will claim, and before the first claim of all the backlog."""
    message = line_of(given, 1).decode("ascii")
    with given.place.with_name(f"{given.place.name}.stocked").open("a", encoding="ascii") as stocked:
        fcntl.flock(stocked, fcntl.LOCK_EX)
        backlog = 0 if stocked.tell() else BACKLOG
        stocked.write("yes")
    for _ in range(backlog + given.times + 1):
        put(message)
