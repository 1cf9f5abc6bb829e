"""A time limit on waiting for somebody whom only the loss of the connection ends.

Guarantees: *ring* is called at most once, from a thread of its own, when the time is over and the block is not left.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Final, Self

_STEP: Final = 0.05
_LONGEST: Final = 3600.0


class Deadline:
    """Within its block, calls *ring* after *seconds*; what is done in a `paused` block takes none of them."""

    def __init__(self, seconds: float, ring: Callable[[], object]) -> None:
        self._ends = time.monotonic() + seconds
        self._ring = ring
        self._paused_at: float | None = None
        self._is_over = False
        self._changed = threading.Event()
        self._moving = threading.Lock()
        self._thread = threading.Thread(target=self._watch, name="taskq-deadline", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over = True
        self._changed.set()
        self._thread.join()

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
        self._changed.set()

    def _watch(self) -> None:
        while True:
            self._changed.clear()
            left = self._left()
            if self._is_over:
                return
            if left <= 0:
                self._ring()
                return
            self._changed.wait(min(max(left, _STEP), _LONGEST))

    def _left(self) -> float:
        with self._moving:
            return self._ends - (time.monotonic() if self._paused_at is None else self._paused_at)
