"""What the tasks come to that have lines after an index: how many there are of each kind, and which are todo.

Guarantees: asking again costs as much as has changed since.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Self

from orchestration.core.status import Status
from orchestration.store.entry import Entry, State

if TYPE_CHECKING:
    from orchestration.store.index import Index


class Standing:
    """Follows the entries *touched*, which have lines that *index* does not know."""

    def __init__(self, touched: Mapping[str, Entry], index: "Index | None") -> None:
        self._touched = touched
        self._index = index
        self._changed: set[str] = set()
        self._taken: dict[str, State | None] = {}
        self._order: list[tuple[int, int, str]] = []
        self._freed: dict[int, State] = {}
        self.counts: dict[tuple[str, str], int] = {}
        """By status and sandbox: how many tasks more there are than the index says."""

    def touch(self, key: str) -> None:
        """Note that the task of this key has another line."""
        self._changed.add(key)

    def settle(self) -> Self:
        """Take what has changed since the last time."""
        for key in self._changed:
            entry = self._touched[key]
            before, state = self._taken.get(key, entry.before), entry.state()
            self._count(before, -1)
            self._count(state, 1)
            if state.status == Status.TODO:
                self._line_up((state.urgency, state.place, key))
            if (
                self._index is not None
                and state.status == Status.DONE
                and (before is None or before.status != state.status)
            ):
                self._freed.update({child.place: child for child in self._index.awaiting(key)})
            self._taken[key] = state
        self._changed.clear()
        return self

    def todo(self) -> Iterator[tuple[int, int, str]]:
        """Yield urgency, place and key of those that are todo, the most urgent first."""
        gone = 0
        while gone < len(self._order) and not self._is_todo(*self._order[gone]):
            gone += 1
        del self._order[:gone]
        return (item for item in self._order if self._is_todo(*item))

    def freed(self) -> Collection[State]:
        """Return what the index takes as waiting for a task that is done by now, as the index knows it."""
        return [state for state in self._freed.values() if state.status == Status.TODO]

    def _is_todo(self, urgency: int, place: int, key: str) -> bool:
        state = self._taken[key]
        return state is not None and (state.status, state.urgency, state.place) == (Status.TODO, urgency, place)

    def _line_up(self, item: tuple[int, int, str]) -> None:
        from bisect import bisect_left  # noqa: PLC0415 -- `taskq add` asks for no order

        place = bisect_left(self._order, item)
        if self._order[place : place + 1] != [item]:
            self._order.insert(place, item)

    def _count(self, state: State | None, change: int) -> None:
        if state is not None and state.status is not None:
            kind = (state.status, state.sandbox)
            self.counts[kind] = self.counts.get(kind, 0) + change
