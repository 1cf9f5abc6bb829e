"""One request to the forwarder, as hostile input: read within bounds, in the strictest form of HTTP, or refused.

Guarantees: one host is meant, in every place that names it; nothing in the head could be read in two ways.
"""

import re
import socket
import time
from dataclasses import dataclass
from typing import Final

import h11

from orchestration.adapters.sandbox.egress.hosts import parse_authority

HEAD_LIMIT: Final = 1 << 16
"""Bytes."""
_CHUNK: Final = 1 << 14
_END: Final = b"\r\n\r\n"
_LINE: Final = re.compile(rb"([A-Z-]{1,32}) ([\x21-\x7e]+) HTTP/1\.[01]")
_HEADER: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[\t\x20-\x7e\x80-\xff]*")
_ABSOLUTE: Final = re.compile(r"http://([^/?#]*)(/[^#]*)?", re.ASCII)
_ONCE: Final = (b"host", b"content-length", b"transfer-encoding")


class MalformedRequestError(Exception):
    """What was sent is no request that we forward. *host* is what it asked for, as far as that is known."""

    def __init__(self, why: str, *, status: int = 400, host: str = "") -> None:
        super().__init__(why)
        self.status = status
        self.host = host


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request's head. *host* is canonical; *path* is None for CONNECT; *rest* are bytes that came with the head."""

    host: str
    port: int
    path: str | None
    event: h11.Request
    connection: h11.Connection
    """The conversation with the client, past the head."""
    rest: bytes


def read(client: socket.socket, *, seconds: float) -> Request | None:
    """Read one head within *seconds*; None when the client leaves or is silent before it said anything.

    Raises: MalformedRequestError, OSError.
    """
    deadline = time.monotonic() + seconds
    received = bytearray()
    while (end := received.find(_END, max(0, len(received) - _CHUNK - len(_END)))) < 0 and len(received) < HEAD_LIMIT:
        try:
            client.settimeout(max(0.001, deadline - time.monotonic()))
            chunk = client.recv(_CHUNK)
        except TimeoutError:
            if not received:
                return None
            raise MalformedRequestError("the head did not come in time", status=408) from None
        if not chunk:
            return None
        received += chunk
    end += len(_END)
    if not len(_END) <= end <= HEAD_LIMIT:
        raise MalformedRequestError("the head is larger than 64 KiB", status=431)
    return parse(bytes(received[:end]), bytes(received[end:]))


def parse(head: bytes, rest: bytes = b"") -> Request:
    """Return the request that *head*, up to and with its empty line, is. Raises: MalformedRequestError."""
    target = _check_form(head)
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_LIMIT)
    connection.receive_data(head)
    try:
        event = connection.next_event()
    except h11.RemoteProtocolError as error:
        raise MalformedRequestError(str(error), host=target) from error
    if not isinstance(event, h11.Request):
        raise MalformedRequestError("it is no request", host=target)
    _check_headers(event, target)
    host, port, path = _destination(event.method, target)
    _check_host_header(event, (host, port), target)
    return Request(host=host, port=port, path=path, event=event, connection=connection, rest=rest)


def _check_form(head: bytes) -> str:
    """Refuse bare line ends, folded lines, spaces before colons and control characters; return the target."""
    first, *lines = head[: -len(_END)].split(b"\r\n")
    found = _LINE.fullmatch(first)
    if found is None:
        raise MalformedRequestError("its first line is no request line", host=first[:256].decode("latin-1"))
    target = found.group(2).decode("ascii")
    names = []
    for line in lines:
        header = _HEADER.fullmatch(line)
        if header is None:
            raise MalformedRequestError("a header line is malformed", host=target)
        names.append(header.group(1).lower())
    if any(names.count(name) > 1 for name in _ONCE):
        raise MalformedRequestError("a header that may be there once is there twice", host=target)
    return target


def _check_headers(event: h11.Request, target: str) -> None:
    headers = dict(event.headers)
    coding = headers.get(b"transfer-encoding")
    if coding is None:
        has_body = b"content-length" in headers
    elif b"content-length" in headers:
        raise MalformedRequestError("it has both Content-Length and Transfer-Encoding", host=target)
    elif coding.lower() != b"chunked" or event.http_version != b"1.1":
        raise MalformedRequestError("its Transfer-Encoding is not chunked, of HTTP/1.1", host=target)
    else:
        has_body = True
    if has_body and event.method == b"CONNECT":
        raise MalformedRequestError("a CONNECT has no body", host=target)


def _destination(method: bytes, target: str) -> tuple[str, int, str | None]:
    if method == b"CONNECT":
        host, port = _authority(target, target)
        if port is None:
            raise MalformedRequestError("a CONNECT names HOST:PORT", host=target)
        return host, port, None
    found = _ABSOLUTE.fullmatch(target)
    if found is None:
        raise MalformedRequestError("a proxy takes http://HOST/PATH, and CONNECT for anything else", host=target)
    host, port = _authority(found.group(1), target)
    return host, port or 80, found.group(2) or "/"


def _check_host_header(event: h11.Request, destination: tuple[str, int], target: str) -> None:
    named = dict(event.headers).get(b"host")
    if named is None:
        return
    host, port = _authority(named.decode("latin-1"), target)
    default = destination[1] if event.method == b"CONNECT" else 80
    if (host, port or default) != destination:
        raise MalformedRequestError("its Host header is not the host that it asks for", host=target)


def _authority(text: str, target: str) -> tuple[str, int | None]:
    try:
        return parse_authority(text)
    except ValueError as error:
        raise MalformedRequestError(str(error), host=target) from error
