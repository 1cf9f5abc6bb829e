"""A port of the host's loopback address that leads into a sandbox, one connection there for each one here.

Guarantees: what waits is bounded, whatever either side sends; a side that ends its half of a connection still gets the
rest of the other; when the block is left, nothing listens and no connection is open. Reached from this machine only.
Not responsible for: who may connect; every user of the machine can, so whatever answers inside must ask for a password.
"""

import contextlib
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from orchestration.core.errors import TaskqError
from orchestration.core.ports import Connection
from orchestration.support.logs import get_logger

log = get_logger()

LOOPBACK: Final = "127.0.0.1"
_CHUNK: Final = 1 << 16
_MOST: Final = 64
"""Connections at a time; more of them wait their turn in the kernel."""
_BACKLOG: Final = 128
_LINGER: Final = 5.0
"""Seconds that one side gets for the rest of its words, once the other has ended its half."""


class Listener:
    """Listens inside the block on *port*, which the kernel chooses; *connect* opens a connection into the sandbox."""

    def __init__(self, connect: Callable[[], Connection]) -> None:
        self._connect = connect
        self._free = threading.Semaphore(_MOST)
        self._lock = threading.Lock()
        self._open: set[_Joint] = set()
        self._is_over = False

    def __enter__(self) -> Self:
        self._socket = socket.create_server((LOOPBACK, 0), backlog=_BACKLOG)
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, name="review-listener", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._is_over = True
            joints = tuple(self._open)
        for joint in joints:
            joint.close()
        self._free.release()
        with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, self.port)):
            pass  # so that who waits for one goes on
        self._thread.join()
        self._socket.close()
        for joint in joints:
            joint.thread.join()

    def _accept(self) -> None:
        while True:
            self._free.acquire()
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            joint = _Joint(client, self._connect, self._done)
            with self._lock:
                if self._is_over:
                    client.close()
                    return
                self._open.add(joint)
                joint.thread.start()

    def _done(self, joint: "_Joint") -> None:
        with self._lock:
            self._open.discard(joint)
        self._free.release()


class _Joint:
    """One accepted connection, and the one into the sandbox that it is joined to."""

    def __init__(
        self, client: socket.socket, connect: Callable[[], Connection], done: Callable[["_Joint"], None]
    ) -> None:
        self._client = client
        self._connect = connect
        self._done = done
        self._lock = threading.Lock()
        self._inside: Connection | None = None
        self._is_closed = False
        self._is_answered = threading.Event()
        self.thread = threading.Thread(target=self._run, name="review-connection", daemon=True)

    def close(self) -> None:
        """End both connections, from any thread, any number of times; who waits for one of them goes on."""
        with self._lock:
            self._is_closed = True
            inside = self._inside
        self._is_answered.set()
        _shut(self._client)
        if inside is not None:
            inside.close()

    def _run(self) -> None:
        try:
            self._join()
        except (TaskqError, OSError) as error:
            log.info("connection.lost", why=str(error))
        finally:
            self.close()
            self._client.close()
            self._done(self)

    def _join(self) -> None:
        """Carry bytes both ways until both are over. Raises: OSError, SandboxError."""
        inside = self._connect()
        with self._lock:
            self._inside = inside
            is_closed = self._is_closed
        if is_closed:
            inside.close()
            return
        inward = threading.Thread(target=self._inward, args=(inside,), name="review-inward", daemon=True)
        inward.start()
        try:
            while chunk := inside.receive():
                self._client.sendall(chunk)
            self._is_answered.set()
            self._client.shutdown(socket.SHUT_WR)
            inward.join(_LINGER)  # closed at once with something unread, the client would lose what it has not read yet
        finally:
            self.close()
            inward.join()

    def _inward(self, inside: Connection) -> None:
        """Carry what the client says; once it has ended, the answer to it may still come, for a while."""
        try:
            while chunk := self._client.recv(_CHUNK):
                inside.send(chunk)
        except OSError:
            self.close()
        else:
            self._is_answered.wait(_LINGER)
            self.close()


def _shut(one: socket.socket) -> None:
    """End a socket in both directions, so that whoever waits for it goes on."""
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
