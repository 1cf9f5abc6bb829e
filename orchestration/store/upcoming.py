"""The tasks that an index takes as ready, fetched some at a time, for one who claims one after the other.

Guarantees: what was claimed at the front is not met again.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from orchestration.core.naming import id_key
from orchestration.store.entry import State

if TYPE_CHECKING:
    from orchestration.store.index import Index

_CHUNK: Final = 256


class Upcoming:
    """What is next by the index; it counts as long as nobody extends that."""

    def __init__(self, index: "Index") -> None:
        self._index = index
        self._fetched: deque[State] = deque()
        self._last: State | None = None
        self._next_due: float | None = None

    def ready(self, has_changed: Callable[[str], bool]) -> Iterator[State]:
        """Yield the tasks that wait for nothing, the most urgent first, without some that *has_changed* says have."""
        fetched = self._fetched
        while fetched and has_changed(id_key(fetched[0].id)):
            fetched.popleft()
        place = 0
        while True:
            if place == len(fetched):
                more = self._index.ready(after=self._last, limit=_CHUNK)
                if not more:
                    return
                self._last = more[-1]
                fetched.extend(more)
            yield fetched[place]
            place += 1

    def due(self, now: int) -> Sequence[State]:
        """Return the tasks whose time has come since the index was extended, in no order."""
        if self._next_due is None:
            self._next_due = self._index.next_due()
        return self._index.due(now) if self._next_due <= now else ()
