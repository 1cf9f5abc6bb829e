"""What is kept of an agent's structured output: its events as it gave them, and in our words, one JSON object a line.

Guarantees: memory and disk used do not grow with what an agent says; a line is whole or not there; a disk that takes no
more ends the record, and not the work; no value of a secret reaches a file. There is no file without an event.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from orchestration.core.agent_events import AgentEvent
from orchestration.core.ports import Clock
from orchestration.pipeline import claims
from orchestration.support.logs import get_logger
from orchestration.support.redaction import Redactor

log = get_logger()

RAW: Final = ".raw.jsonl"
EVENTS: Final = ".events.jsonl"
"""Ends of the files' names, after the stage's."""


class EventRecord:
    """See `core.ports.AgentRecord`; use as a context manager.

    Each of the two files takes *limit* bytes. *secrets* are names with values. With *resumed*, a line in a file that
    is there already says that the attempt was resumed.
    """

    def __init__(
        self,
        folder: Path,
        stage: str,
        *,
        limit: int,
        clock: Clock,
        secrets: Sequence[tuple[str, bytes]] = (),
        resumed: bool = False,
    ) -> None:
        self._clock = clock
        self._redactor = Redactor(secrets)
        self._raw = _Lines(folder / f"{stage}{RAW}", limit=limit)
        self._events = _Lines(folder / f"{stage}{EVENTS}", limit=limit)
        self._resumed = resumed

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for lines in (self._raw, self._events):
            if lines.dropped:
                lines.note(self._of_ours("dropped", f"{lines.dropped} events that the record did not take"))
            lines.close()

    def raw(self, line: bytes) -> None:
        """Keep one raw event as the agent gave it, without its line's end."""
        self._add(self._raw, self._redacted(line))

    def event(self, event: AgentEvent) -> None:
        """Keep one event in our words."""
        used = claims.usage(event.usage)
        fields = {
            "at": self._now(),
            "kind": event.kind,
            "text": self._clean(event.text),
            "tool": None if event.tool is None else self._clean(event.tool),
            "state": event.state,
            "usage": None if used is None else asdict(used),
        }
        self._add(self._events, _dump(fields))

    def _add(self, lines: "_Lines", line: bytes) -> None:
        if lines.open() and self._resumed:
            lines.note(self._of_ours("resumed", "the attempt goes on from here"))
        lines.add(line)

    def _of_ours(self, kind: str, text: str) -> bytes:
        return _dump({"at": self._now(), "kind": kind, "text": text})

    def _now(self) -> str:
        return f"{self._clock.now():%Y-%m-%dT%H:%M:%S.%fZ}"

    def _clean(self, text: str) -> str:
        return self._redacted(text.encode("utf-8", "backslashreplace")).decode("utf-8", "backslashreplace")

    def _redacted(self, line: bytes) -> bytes:
        return self._redactor.feed(line) + self._redactor.flush()


class _Lines:
    """One file of lines, made when it is first opened."""

    def __init__(self, path: Path, *, limit: int) -> None:
        self._path = path
        self._left = limit
        self._file: FileIO | None = None
        self._size = 0
        self._has_ended = False
        self.dropped = 0

    def open(self) -> bool:
        """Open the file; True when this is the first time and it has lines already."""
        if self._file is not None or self._has_ended:
            return False
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = FileIO(self._path, "ab")
            self._size = self._file.tell()
        except OSError as error:
            self._end(error)
        return self._size > 0

    def add(self, line: bytes) -> None:
        """Take *line*, unless one before it was not taken."""
        self._has_ended = self._has_ended or len(line) >= self._left
        if self._has_ended or not self.note(line):
            self._has_ended = True
            self.dropped += 1
        else:
            self._left -= len(line) + 1

    def note(self, line: bytes) -> bool:
        """Write *line*, whatever the limit; False when the disk did not take it."""
        if self._file is None:
            return False
        try:
            written = self._file.write(line + b"\n")
            if written <= len(line):  # the disk is full: what it took is taken back, and the next line tells
                self._file.truncate(self._size)
                return False
        except OSError as error:
            self._end(error)
            return False
        self._size += written
        return True

    def close(self) -> None:
        """Close the file; again is no error."""
        if self._file is not None:
            self._file.close()

    def _end(self, error: OSError) -> None:
        log.warning("record.cut", path=str(self._path), error=str(error))
        self._has_ended = True


def _dump(fields: Mapping[str, Any]) -> bytes:
    return json.dumps(fields, allow_nan=False).encode("ascii")
