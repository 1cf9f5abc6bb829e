"""Real servers on loopback, and a forwarder to reach them through, in this process or in its own."""

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestration.adapters.sandbox.egress import policy, upstream
from orchestration.adapters.sandbox.egress.forwarder import Bounds, Forwarder
from orchestration.adapters.sandbox.egress.names import PROXY_SOCKET
from orchestration.adapters.sandbox.egress.record import Record

REPLY = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
SECONDS = 20


class Server:
    """A server that keeps every byte it gets and gives *reply* when *until* has come, or echoes when there is none."""

    def __init__(self, reply: bytes | None, *, until: bytes = b"\r\n\r\n") -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self.seen = b""
        self.connections = 0
        self.ended = 0
        self._reply = reply
        self._until = until
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                self.connections += 1
                threading.Thread(target=self._attend, args=(connection,), daemon=True).start()

    def _attend(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            while chunk := connection.recv(1 << 16):
                self.seen += chunk
                if self._reply is None:
                    connection.sendall(chunk)
                elif self._until in self.seen:
                    connection.sendall(self._reply)
                    break
        self.ended += 1


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Return a function that starts a server."""
    with contextlib.ExitStack() as stack:

        def start(reply: bytes | None = REPLY, **settings: bytes) -> Server:
            server = Server(reply, **settings)
            stack.callback(server.listener.close)
            stack.callback(lambda: server.listener.shutdown(socket.SHUT_RDWR))
            return server

        yield start


@pytest.fixture
def record_path(tmp_path: Path) -> Path:
    return tmp_path / "egress.jsonl"


@pytest.fixture
def connect(record_path: Path) -> Iterator[Callable[..., socket.socket]]:
    """Return a function that connects to a forwarder of this process with the allow-list given."""
    with contextlib.ExitStack() as stack:
        descriptor = os.open(record_path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        stack.callback(os.close, descriptor)
        kept = Record(descriptor)

        def start(
            allow: tuple[str, ...] = (),
            private: tuple[str, ...] = (),
            *,
            bounds: Bounds | None = None,
            resolve: upstream.Resolve = upstream.resolve,
        ) -> socket.socket:
            ours, theirs = socket.socketpair()
            ours.settimeout(SECONDS)
            allowed = policy.parse(allow, private=private)
            forwarder = Forwarder(allowed, kept, bounds=bounds or Bounds(), resolve=resolve)
            thread = threading.Thread(target=forwarder.converse, args=(theirs,))
            thread.start()
            stack.callback(thread.join, SECONDS)
            stack.callback(ours.close)
            return ours

        yield start


def receive(connection: socket.socket) -> bytes:
    """Return all that comes until the other end has finished."""
    parts = []
    with contextlib.suppress(ConnectionResetError):
        while chunk := connection.recv(1 << 16):
            parts.append(chunk)
    return b"".join(parts)


@pytest.fixture
def ask(connect: Callable[..., socket.socket]) -> Callable[..., bytes]:
    """Return a function that sends bytes through a forwarder and returns the whole answer."""

    def send(raw: bytes, allow: tuple[str, ...] = (), private: tuple[str, ...] = (), **settings: object) -> bytes:
        connection = connect(allow, private, **settings)
        connection.sendall(raw)
        return receive(connection)

    return send


@pytest.fixture
def knock() -> Iterator[Callable[[Path], socket.socket]]:
    """Return a function that connects to the socket in an egress folder, however deep it is."""
    with contextlib.ExitStack() as stack:

        def open_(folder: Path) -> socket.socket:
            connection = stack.enter_context(socket.socket(socket.AF_UNIX))
            connection.settimeout(SECONDS)
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                connection.connect(f"/proc/self/fd/{descriptor}/{PROXY_SOCKET}")
            finally:
                os.close(descriptor)
            return connection

        yield open_
