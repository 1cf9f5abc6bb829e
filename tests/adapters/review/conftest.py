"""What stands for the inside of a sandbox here: a server on a loopback port, and connections to it."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field

import pytest

from orchestration.adapters.review.listener import LOOPBACK


class SocketConnection:
    """A `core.ports.Connection` over a socket; *is_closed* once it was."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self.is_closed = threading.Event()

    def send(self, content: bytes) -> None:
        self._socket.sendall(content)

    def receive(self) -> bytes:
        return self._socket.recv(1 << 16)

    def close(self) -> None:
        self.is_closed.set()
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


@dataclass
class Inside:
    """A server in which *serve* has each connection; *connections* are those that were opened to it."""

    serve: Callable[[socket.socket], None]
    connections: list[SocketConnection] = field(default_factory=list)
    port: int = 0

    def connect(self) -> SocketConnection:
        made = SocketConnection(socket.create_connection((LOOPBACK, self.port), timeout=20))
        self.connections.append(made)
        return made


Serving = Callable[[Callable[[socket.socket], None]], Inside]


@contextmanager
def serving(inside: Inside) -> Iterator[Inside]:
    """Serve on a port while the block lasts."""

    def accept() -> None:
        while True:
            try:
                client, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=attend, args=(client,), daemon=True).start()

    def attend(client: socket.socket) -> None:
        with client, suppress(OSError):
            inside.serve(client)

    with socket.create_server((LOOPBACK, 0), backlog=128) as server:
        inside.port = server.getsockname()[1]
        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield inside
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in inside.connections:
                connection.close()


@pytest.fixture
def serve() -> Iterator[Serving]:
    """Return a function that starts a server in the sandbox."""
    with ExitStack() as stack:
        yield lambda what: stack.enter_context(serving(Inside(what)))
