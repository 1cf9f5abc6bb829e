"""A byte stream through the engine: what `guest.session` talks over.

The engine answers an exec or an attach by handing over the connection: bytes to it are stdin, and what comes back is
frames of 8 bytes (stream, three zeros, big-endian length) and payload, by
https://docs.docker.com/reference/api/engine/ (Attach: stream format).
"""

import contextlib
import socket
from typing import Any, Final

_HEADER: Final = 8
_STDERR: Final = 2
_COMPLAINTS: Final = 4096


class EngineStream:
    """See `guest.session.ByteStream`. What the program says on stderr is kept, the last of it, as *complaints*."""

    def __init__(self, handed_over: Any) -> None:
        self._handed_over = handed_over
        self._response = getattr(handed_over, "_response", None)
        self._raw = getattr(handed_over, "_sock", handed_over)
        self._reader: Any = _reader(self._response) or _Plain(self._raw)
        self.complaints = b""
        self.be_patient(None)

    def be_patient(self, seconds: float | None) -> None:
        """Let `receive` wait at most *seconds*, and then raise TimeoutError; None is for ever."""
        if hasattr(self._raw, "settimeout"):
            self._raw.settimeout(seconds)

    def send(self, data: bytes) -> None:
        """Send all of *data*. Raises: OSError."""
        self._raw.sendall(data)

    def receive(self) -> bytes:
        """Return what came on stdout; empty at the end. Raises: OSError."""
        while True:
            header = self._exactly(_HEADER)
            if header is None:
                return b""
            payload = self._exactly(int.from_bytes(header[4:], "big"))
            if payload is None:
                return b""
            if header[0] != _STDERR:
                return payload
            self.complaints = (self.complaints + payload)[-_COMPLAINTS:]

    def close(self) -> None:
        """End the stream in both directions; who waits for it returns."""
        with contextlib.suppress(OSError):
            if hasattr(self._raw, "shutdown"):
                self._raw.shutdown(socket.SHUT_RDWR)
        parts: tuple[Any, ...] = (self._reader, self._handed_over, self._raw, self._response)
        for part in parts:
            if hasattr(part, "close"):
                with contextlib.suppress(OSError, ValueError):  # ValueError: of a part that went with another
                    part.close()

    def _exactly(self, size: int) -> bytes | None:
        """Return *size* bytes; None when the stream ends before."""
        parts: list[bytes] = []
        while size:
            try:
                chunk = self._reader.read1(size)
            except ValueError:  # closed under us
                return None
            if not chunk:
                return None
            parts.append(chunk)
            size -= len(chunk)
        return b"".join(parts)


class _Plain:
    """Reads from a socket or channel that nothing was buffered of."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw

    def read1(self, size: int) -> bytes:
        return bytes(self._raw.recv(size))


def _reader(response: Any) -> Any:
    """Return the buffered reader of the answer, which may hold the program's first bytes already."""
    reader = getattr(getattr(getattr(response, "raw", None), "_fp", None), "fp", None)
    return reader if hasattr(reader, "read1") else None
