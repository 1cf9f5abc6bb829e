"""An attempt's output: capped on disk, its tail in memory, and passed on to whoever watches.

Guarantees: memory and disk used do not grow with what a program writes; the file is flushed at every chunk; a disk
that takes no more ends the log, and not the work. No value of a secret reaches file, tail or watcher.
"""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from orchestration.core.ports import Output, Stream
from orchestration.support.files import storage_errors
from orchestration.support.logs import get_logger
from orchestration.support.redaction import Redactor

log = get_logger()

TAIL: Final = 4096
"""Bytes of each stream that a failure report shows."""


class StageLog:
    """Takes the output of one stage's commands; use as a context manager, and ``write`` as the `Output`.

    *secrets* are names with values. What might be the start of a value is held back until more comes, or `tail` is
    asked for, or the log is closed. *heading* is a line that parts what comes from what is in the file already.
    """

    def __init__(
        self,
        path: Path,
        *,
        limit: int,
        watch: Output,
        secrets: Sequence[tuple[str, bytes]] = (),
        heading: bytes = b"",
    ) -> None:
        self._path = path
        self._limit = limit
        self._watch = watch
        self._heading = heading
        self._redactors: dict[Stream, Redactor] = {"stdout": Redactor(secrets), "stderr": Redactor(secrets)}
        self._tails: dict[Stream, bytes] = {"stdout": b"", "stderr": b""}
        self._written = 0
        self._dropped = 0
        self._is_full = False

    def __enter__(self) -> Self:
        with storage_errors("write", self._path):
            try:
                self._file = self._path.open("ab", buffering=0)
            except FileNotFoundError:
                self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._file = self._path.open("ab", buffering=0)
            if self._heading and self._file.tell() > 0:
                self._keep(b"\n%b\n" % self._heading)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._flush()
        if self._dropped:
            why = b"above the output limit" if not self._is_full else b"that the disk did not take"
            with suppress(OSError):
                self._file.write(b"\n[taskq: %d bytes %s were dropped]\n" % (self._dropped, why))
        self._file.close()

    def write(self, stream: Stream, chunk: bytes) -> None:
        """Take *chunk*: to the file while the limit allows, to the tail, to the watcher."""
        self._take(stream, self._redactors[stream].feed(chunk))

    def tail(self, stream: Stream) -> str:
        """Return the end of what *stream* brought, now that a command has ended."""
        self._flush()
        return self._tails[stream].decode("utf-8", "backslashreplace")

    def _flush(self) -> None:
        for stream, redactor in self._redactors.items():
            self._take(stream, redactor.flush())

    def _take(self, stream: Stream, chunk: bytes) -> None:
        self._tails[stream] = (self._tails[stream] + chunk)[-TAIL:]
        kept = chunk[: max(self._limit - self._written, 0)]
        if kept:
            self._watch(stream, kept)
        written = self._keep(kept)
        self._written += written
        self._dropped += len(chunk) - written

    def _keep(self, chunk: bytes) -> int:
        """Write *chunk* as far as the disk takes it; return how far that was."""
        written = 0
        try:
            while written < len(chunk) and not self._is_full:
                written += self._file.write(chunk[written:])
        except OSError as error:
            self._is_full = True
            log.warning("log.cut", path=str(self._path), error=str(error))
        return written
