"""An attempt's output: capped on disk, its tail in memory, and passed on to whoever watches.

Guarantees: memory and disk used do not grow with what a program writes; the file is flushed at every chunk.
"""

from pathlib import Path
from types import TracebackType
from typing import Final, Self

from orchestration.core.ports import Output, Stream

TAIL: Final = 4096
"""Bytes of each stream that a failure report shows."""


class StageLog:
    """Takes the output of one stage's commands; use as a context manager, and ``write`` as the `Output`."""

    def __init__(self, path: Path, *, limit: int, watch: Output) -> None:
        self._path = path
        self._limit = limit
        self._watch = watch
        self._tails: dict[Stream, bytes] = {"stdout": b"", "stderr": b""}
        self._written = 0
        self._dropped = 0

    def __enter__(self) -> Self:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._file = self._path.open("ab", buffering=0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._dropped:
            self._file.write(b"\n[taskq: %d bytes above the output limit were dropped]\n" % self._dropped)
        self._file.close()

    def write(self, stream: Stream, chunk: bytes) -> None:
        """Take *chunk*: to the file while the limit allows, to the tail, to the watcher."""
        self._tails[stream] = (self._tails[stream] + chunk)[-TAIL:]
        kept = chunk[: max(self._limit - self._written, 0)]
        if kept:
            self._file.write(kept)
            self._written += len(kept)
            self._watch(stream, kept)
        self._dropped += len(chunk) - len(kept)

    def tail(self, stream: Stream) -> str:
        """Return the end of what *stream* brought."""
        return self._tails[stream].decode("utf-8", "backslashreplace")
