"""A command's stdin, stdout and stderr as pipes of which we hold one end and the command the other.

Guarantees: no write or read blocks; a command that never reads, or closes early, holds nobody up.
"""

import os
import selectors
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Self

from orchestration.core.ports import Output, Stream

_CHUNK: Final = 1 << 16


class Streams:
    """The three streams of one command; *theirs* are the command's ends, in order."""

    def __init__(self, stdin: bytes, output: Output) -> None:
        self._left = memoryview(stdin)
        self._output = output
        self._sources: dict[int, Stream] = {}
        self._feed: int | None = None
        self._theirs: list[int] = []

    @classmethod
    @contextmanager
    def opened(cls, stdin: bytes, output: Output) -> Iterator[Self]:
        """Make the pipes; leaving the block closes whatever is still open."""
        streams = cls(stdin, output)
        try:
            streams._make()
            yield streams
        finally:
            streams._close()

    @property
    def theirs(self) -> tuple[int, ...]:
        """The command's ends: stdin, stdout, stderr."""
        return tuple(self._theirs)

    def close_theirs(self) -> None:
        """Let go of the command's ends, now that the supervisor has them: else we would never see the end."""
        while self._theirs:
            os.close(self._theirs.pop())

    def register(self, selector: selectors.BaseSelector) -> None:
        """Have *selector* watch our ends; each key's data is the descriptor."""
        for source in self._sources:
            selector.register(source, selectors.EVENT_READ, source)
        if self._feed is not None:
            selector.register(self._feed, selectors.EVENT_WRITE, self._feed)

    def serve(self, descriptor: int, selector: selectors.BaseSelector) -> None:
        """Move one portion through a descriptor that is ready; at its end, close it."""
        goes_on = self._write() if descriptor == self._feed else self._read(descriptor)
        if not goes_on:
            selector.unregister(descriptor)
            os.close(descriptor)
            if descriptor == self._feed:
                self._feed = None
            else:
                del self._sources[descriptor]

    def drain(self) -> None:
        """Hand on what the dead have left in the pipes."""
        for source in self._sources:
            while self._read(source, when_empty=False):
                pass

    def _make(self) -> None:
        if self._left:
            reader, self._feed = os.pipe()
            os.set_blocking(self._feed, False)
        else:
            reader = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self._theirs.append(reader)
        names: tuple[Stream, Stream] = ("stdout", "stderr")
        for name in names:
            source, writer = os.pipe()
            self._sources[source] = name
            self._theirs.append(writer)
            os.set_blocking(source, False)

    def _write(self) -> bool:
        if self._feed is None:
            return False
        try:
            self._left = self._left[os.write(self._feed, self._left[:_CHUNK]) :]
        except BlockingIOError:
            return True
        except BrokenPipeError:
            return False
        return bool(self._left)

    def _read(self, source: int, *, when_empty: bool = True) -> bool:
        try:
            chunk = os.read(source, _CHUNK)
        except BlockingIOError:
            return when_empty
        if chunk:
            self._output(self._sources[source], chunk)
        return bool(chunk)

    def _close(self) -> None:
        self.close_theirs()
        for source in self._sources:
            os.close(source)
        self._sources.clear()
        if self._feed is not None:
            os.close(self._feed)
            self._feed = None
