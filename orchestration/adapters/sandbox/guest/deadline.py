"""A time limit on waiting for somebody whom only the loss of the connection ends.

Guarantees: *ring* is called at most once, when the time is over and the block is not left, at most a tick late; once
the block is left it is neither called nor running. One thread of the process watches all deadlines: commands are many
and short, and a thread for each took more time than what it guarded.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Final, Self

_TICK: Final = 0.1
_LINGER: Final = 1.0
"""Seconds for which the thread stays when there is nothing to watch."""


class Deadline:
    """Within its block, calls *ring* after *seconds*; what is done in a `paused` block takes none of them.

    *ring* must be quick: it holds up the other deadlines of the process.
    """

    def __init__(self, seconds: float, ring: Callable[[], object]) -> None:
        self._ends = time.monotonic() + seconds
        self._ring = ring
        self._paused_at: float | None = None
        self._is_over = False
        self._moving = threading.Lock()

    def __enter__(self) -> Self:
        _WATCH.add(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._moving:
            self._is_over = True
        _WATCH.discard(self)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stop the clock for a block; not nested."""
        began = self._paused_at = time.monotonic()
        try:
            yield
        finally:
            with self._moving:
                self._ends += time.monotonic() - began
                self._paused_at = None

    def bring_forward(self, seconds: float) -> None:
        """Have the time be over in *seconds*, if it is not over earlier; from any thread."""
        with self._moving:
            self._ends = min(self._ends, time.monotonic() + seconds)

    def look(self, now: float) -> None:
        """Ring if it is time."""
        with self._moving:
            if not self._is_over and self._ends <= (now if self._paused_at is None else self._paused_at):
                self._is_over = True
                self._ring()


class _Watch:
    """The thread that looks at all deadlines that are entered; there only while there are some."""

    def __init__(self) -> None:
        self._changing = threading.Lock()
        self._entered: set[Deadline] = set()
        self._thread: threading.Thread | None = None

    def add(self, deadline: Deadline) -> None:
        with self._changing:
            self._entered.add(deadline)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="taskq-deadlines", daemon=True)
                self._thread.start()

    def discard(self, deadline: Deadline) -> None:
        with self._changing:
            self._entered.discard(deadline)

    def _run(self) -> None:
        idle_since: float | None = None
        while True:
            time.sleep(_TICK)
            now = time.monotonic()
            with self._changing:
                entered = tuple(self._entered)
                idle_since = None if entered else idle_since or now
                if idle_since is not None and now - idle_since > _LINGER:
                    self._thread = None
                    return
            for deadline in entered:
                deadline.look(now)


_WATCH: Final = _Watch()
