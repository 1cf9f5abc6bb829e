"""The runner's end of the conversation with a supervisor: framed JSON and descriptors over a socket.

Guarantees: every way in which a supervisor can be gone is a SandboxError.
"""

import contextlib
import json
import socket
import struct
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Final

from orchestration.core.errors import SandboxError

_LENGTH: Final = struct.Struct("!I")
_GONE: Final = "the sandbox's supervisor is gone; retry the task"


class Channel:
    """One conversation. Sending is safe from any thread; receiving belongs to the thread that runs the command."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._sending = threading.Lock()

    def fileno(self) -> int:
        """Return the descriptor to wait on for a reply."""
        return self._connection.fileno()

    def send(self, request: Mapping[str, Any], descriptors: Sequence[int] = ()) -> None:
        """Send one request; the descriptors stay the caller's to close."""
        text = json.dumps(request).encode("ascii")
        try:
            with self._sending:
                head = _LENGTH.pack(len(text))
                if descriptors:
                    socket.send_fds(self._connection, [head], descriptors)
                else:
                    self._connection.sendall(head)
                self._connection.sendall(text)
        except OSError as error:
            raise SandboxError(_GONE) from error

    def receive(self, timeout: float | None = None) -> dict[str, Any]:
        """Return the next reply, waiting *timeout* seconds at most."""
        self._connection.settimeout(timeout)
        try:
            size = _LENGTH.unpack(self._receive_exactly(_LENGTH.size))[0]
            reply: dict[str, Any] = json.loads(self._receive_exactly(size))
        except OSError as error:
            raise SandboxError(_GONE) from error
        finally:
            self._connection.settimeout(None)
        return reply

    def hang_up(self) -> None:
        """Have the supervisor end everything and then itself; whoever waits for a reply sees that it is gone."""
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Give the descriptor back, once nobody waits on it."""
        self._connection.close()

    def _receive_exactly(self, size: int) -> bytes:
        parts: list[bytes] = []
        while size:
            part = self._connection.recv(size)
            if not part:
                raise ConnectionResetError
            parts.append(part)
            size -= len(part)
        return b"".join(parts)
