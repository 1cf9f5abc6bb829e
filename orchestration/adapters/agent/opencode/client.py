"""HTTP with OpenCode's server, over a stream of bytes into the sandbox. What it answers is hostile, and bounded."""

import base64
import contextlib
import http.client
import io
import json
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Final

from orchestration.core.errors import SandboxError, WorkFailedError
from orchestration.core.ports import Connection, Services

USER: Final = "opencode"
_LARGEST: Final = 32 * 1024**2
_CHUNK: Final = 1 << 16


class Client:
    """Asks the server on *port* of the sandbox's loopback address."""

    def __init__(self, services: Services, *, port: int, password: str) -> None:
        self._services = services
        self._port = port
        self._authorization = base64.b64encode(f"{USER}:{password}".encode()).decode()

    def ask(self, method: str, path: str, content: Any = None, *, timeout: timedelta) -> Any:
        """Return the JSON that is answered. Raises: WorkFailedError (``server_failed``), SandboxError."""
        body = b"" if content is None else json.dumps(content).encode()
        with self._opened(timeout) as connection:
            try:
                answer = self._request(connection, method, path, body)
                said = answer.read(_LARGEST)
            except (OSError, http.client.HTTPException, ValueError) as error:
                raise _failed(method, path, f"{type(error).__name__} {error}") from error
        if not 200 <= answer.status < 300:
            raise _failed(method, path, f"{answer.status} {said[:500]!a}", refused=True)
        try:
            return None if answer.status == http.client.NO_CONTENT else json.loads(said)
        except (ValueError, RecursionError) as error:
            raise _failed(method, path, "what was answered is no JSON") from error

    @contextlib.contextmanager
    def listen(self, path: str, *, timeout: timedelta) -> Iterator[Iterator[bytes]]:
        """Give the bytes of a stream as they come, until it ends or *timeout* is over, which is no error.

        Raises: WorkFailedError (``server_failed``), SandboxError.
        """
        with self._opened(timeout) as connection:
            try:
                answer = self._request(connection, "GET", path, b"")
            except (OSError, http.client.HTTPException, ValueError) as error:
                raise _failed("GET", path, f"{type(error).__name__} {error}") from error
            if answer.status != 200:
                raise _failed("GET", path, str(answer.status))
            yield _pieces(answer)

    @contextlib.contextmanager
    def _opened(self, timeout: timedelta) -> Iterator[Connection]:
        connection = self._services.connect(self._port)
        timer = threading.Timer(timeout.total_seconds(), connection.close)
        timer.daemon = True
        timer.start()
        try:
            yield connection
        finally:
            timer.cancel()
            connection.close()

    def _request(self, connection: Connection, method: str, path: str, body: bytes) -> http.client.HTTPResponse:
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\n"
            f"Authorization: Basic {self._authorization}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        connection.send(head.encode("ascii") + body)
        answer = http.client.HTTPResponse(_Stream(connection), method=method)  # type: ignore[arg-type]  # only makefile is used
        answer.begin()
        return answer


class _Stream:
    """What http.client needs of a socket."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Raw(self._connection), _CHUNK)


class _Raw(io.RawIOBase):
    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self._connection = connection
        self._left = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)
        piece = self._left or self._connection.receive()
        count = min(len(piece), len(view))
        view[:count] = piece[:count]
        self._left = piece[count:]
        return count


def _pieces(answer: http.client.HTTPResponse) -> Iterator[bytes]:
    """Yield what comes; a connection that breaks is an end."""
    with contextlib.suppress(OSError, http.client.HTTPException, ValueError, SandboxError):
        while piece := answer.read1(_CHUNK):
            yield piece


def _failed(method: str, path: str, why: str, *, refused: bool = False) -> WorkFailedError:
    code = "server_refused" if refused else "server_failed"
    return WorkFailedError(f"OpenCode's server did not do {method} {path}: {' '.join(why.split())[:600]}", code=code)
