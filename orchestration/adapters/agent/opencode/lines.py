"""Bytes that come in pieces, cut into lines: hostile, so that no line, however long, fills the memory."""

from typing import Final

LONGEST: Final = 4 * 1024**2
"""Bytes of a line that is taken."""


class Lines:
    """Takes pieces; gives lines without their ends. A line over *longest* is dropped whole, and counted."""

    def __init__(self, *, longest: int = LONGEST) -> None:
        self._longest = longest
        self._parts: list[bytes] = []
        self._held = 0
        self._is_dropping = False
        self.dropped = 0

    def feed(self, piece: bytes) -> list[bytes]:
        """Return the lines that *piece* completes."""
        *ended, rest = piece.split(b"\n")
        lines = [line for part in ended if (line := self._end(part)) is not None]
        self._hold(rest)
        return lines

    def flush(self) -> list[bytes]:
        """Return what came after the last line's end, as there is no more."""
        line = self._end(b"")
        return [line] if line else []

    def _end(self, part: bytes) -> bytes | None:
        self._hold(part)
        line = None if self._is_dropping else b"".join(self._parts).removesuffix(b"\r")
        self._parts, self._held, self._is_dropping = [], 0, False
        return line

    def _hold(self, part: bytes) -> None:
        self._held += len(part)
        if self._held > self._longest and not self._is_dropping:
            self._parts, self._is_dropping = [], True
            self.dropped += 1
        if part and not self._is_dropping:
            self._parts.append(part)
