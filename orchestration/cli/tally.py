"""A count on stderr for a person who waits: shown after a second, taken away at the end."""

import sys
import time
from types import TracebackType
from typing import Final, Self

_PATIENCE: Final = 1.0
_PAUSE: Final = 0.2


class Tally:
    """Counts on one line of the terminal; into a file or a pipe, and within the first second, it is silent."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._is_terminal = sys.stderr.isatty()
        self._next = time.monotonic() + _PATIENCE
        self._is_shown = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._take_away()

    def __call__(self, count: int | None) -> None:
        """Show *count*, now and then; with None what is shown goes, as it is over."""
        if count is None:
            self._take_away()
        elif self._is_terminal and time.monotonic() >= self._next:
            self._next = time.monotonic() + _PAUSE
            self._is_shown = True
            sys.stderr.write(f"\r\x1b[K{count:,} {self._what}")
            sys.stderr.flush()

    def _take_away(self) -> None:
        if self._is_shown:
            self._is_shown = False
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
