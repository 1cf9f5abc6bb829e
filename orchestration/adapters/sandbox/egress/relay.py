"""Carrying bytes between two sockets, both ways at once, until both ends are done.

Guarantees: what waits is bounded, because nothing is read while something waits to be written; a half-closed or dead
socket costs no CPU; a connection on which nothing moves ends.
"""

import select
import socket
from collections.abc import Callable
from typing import Final

Convert = Callable[[bytes], tuple[bytes, bool]]
"""Takes a chunk, empty at the end of the stream; returns what to pass on, and whether that was the last of it."""
_CHUNK: Final = 1 << 16
_GONE: Final = select.POLLHUP | select.POLLERR | select.POLLNVAL


def as_it_is(chunk: bytes) -> tuple[bytes, bool]:
    """Pass a tunnel's bytes on."""
    return chunk, not chunk


class Way:
    """One direction: what is read from *source* goes converted to *sink*."""

    def __init__(self, source: socket.socket, sink: socket.socket, convert: Convert, *, closes_sink: bool) -> None:
        self.source = source
        self.sink = sink
        self._convert = convert
        self._closes_sink = closes_sink
        self.waiting = memoryview(b"")
        self.has_ended = False

    @property
    def is_over(self) -> bool:
        """Whether nothing will come this way any more."""
        return self.has_ended and not self.waiting

    def take(self, converted: tuple[bytes, bool]) -> None:
        """Have converted bytes wait to be written."""
        out, self.has_ended = converted
        self.waiting = memoryview(out)
        self._finish()

    def read(self) -> None:
        """Read once. Raises: OSError, and what the conversion raises."""
        self.take(self._convert(self.source.recv(_CHUNK)))

    def write(self) -> None:
        """Write once. Raises: OSError."""
        self.waiting = self.waiting[self.sink.send(self.waiting) :]
        self._finish()

    def give_up(self) -> None:
        """Forget what waits: the sink takes nothing any more."""
        self.waiting = memoryview(b"")
        self.has_ended = True

    def _finish(self) -> None:
        if self.is_over and self._closes_sink:
            self.sink.shutdown(socket.SHUT_WR)


def relay(forward: Way, back: Way, *, until_reply: bool, idle: float) -> None:
    """Carry both ways until both are over (*until_reply*: until *back* is), or nothing moves for *idle* seconds.

    Raises: OSError when a connection is lost, and what a conversion raises.
    """
    forward.source.setblocking(False)
    forward.sink.setblocking(False)
    while not (back.is_over and (until_reply or forward.is_over)):
        interest = _interest(forward, back)
        poll = select.poll()
        for descriptor, mask in interest.items():
            poll.register(descriptor, mask)
        ready = poll.poll(idle * 1000)
        if not ready:
            return
        for descriptor, seen in ready:
            wanted = interest[descriptor]
            if not wanted:
                return  # only that it is gone could be heard
            _move(forward, back, descriptor, wanted if seen & _GONE else seen)


def _interest(forward: Way, back: Way) -> dict[int, int]:
    """Return what to wait for on each descriptor; nothing at all is waited for where a way is blocked."""
    interest: dict[int, int] = {}
    for way in (forward, back):
        if way.waiting:
            interest[way.sink.fileno()] = interest.get(way.sink.fileno(), 0) | select.POLLOUT
        else:
            wanted = 0 if way.has_ended else select.POLLIN
            interest[way.source.fileno()] = interest.get(way.source.fileno(), 0) | wanted
    return interest


def _move(forward: Way, back: Way, descriptor: int, what: int) -> None:
    for way in (forward, back):
        if what & select.POLLOUT and descriptor == way.sink.fileno() and way.waiting:
            _write(way, may_fail=way is forward)
        elif what & select.POLLIN and descriptor == way.source.fileno() and not way.waiting and not way.has_ended:
            way.read()


def _write(way: Way, *, may_fail: bool) -> None:
    """Write once; an upstream server that takes no more may still have a reply to give."""
    try:
        way.write()
    except ConnectionError:
        if not may_fail:
            raise
        way.give_up()
