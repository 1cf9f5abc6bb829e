"""One HTTP request and its reply, taken apart and written anew on their way, so that no trick of form passes.

Guarantees: exactly one request reaches the upstream server, to the host that was judged; what follows it on the
connection is never forwarded. Both connections are said to close after it.
"""

from collections.abc import Iterable
from typing import Final

import h11

from orchestration.adapters.sandbox.egress.request import HEAD_LIMIT, Request

_FRAMING: Final = frozenset({b"host", b"content-length", b"transfer-encoding"})
_HOP_BY_HOP: Final = frozenset(
    {
        b"connection",
        b"expect",
        b"http2-settings",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"upgrade",
    }
)
_Headers = list[tuple[bytes, bytes]]


class Exchange:
    """A request that may be forwarded, and its reply. Conversions raise `h11.ProtocolError` for what is malformed."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._client = request.connection
        self._upstream = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_LIMIT)

    def greeting(self) -> bytes:
        """Return what the client waits for before it sends its body, if it does."""
        if not self._client.they_are_waiting_for_100_continue:
            return b""
        return self._client.send(h11.InformationalResponse(status_code=100, headers=[])) or b""

    def start(self) -> tuple[bytes, bool]:
        """Return the first bytes for upstream, and whether the request is complete."""
        request = self._request
        port = "" if request.port == 80 else f":{request.port}"
        host = f"{request.host}{port}".encode("ascii")
        headers = [(b"Host", host), *_end_to_end(request.event.headers, but=b"host"), (b"Connection", b"close")]
        event = h11.Request(method=request.event.method, target=request.path or "/", headers=headers)
        head = self._upstream.send(event) or b""
        if request.rest:
            self._client.receive_data(request.rest)
        body, is_complete = self._carry_request()
        return head + body, is_complete

    def forward(self, chunk: bytes) -> tuple[bytes, bool]:
        """Return what the client's *chunk* (empty: its end) is for upstream, and whether the request is complete."""
        self._client.receive_data(chunk)
        return self._carry_request()

    def back(self, chunk: bytes) -> tuple[bytes, bool]:
        """Return what upstream's *chunk* (empty: its end) is for the client, and whether the reply is complete."""
        self._upstream.receive_data(chunk)
        parts = []
        while True:
            event = self._upstream.next_event()
            match event:
                case h11.Response():
                    parts.append(self._client.send(_reply(event)))
                case h11.Data():
                    parts.append(self._client.send(h11.Data(data=event.data)))
                case h11.EndOfMessage():
                    parts.append(self._client.send(h11.EndOfMessage()))
                    return _joined(parts), True
                case h11.InformationalResponse():
                    continue
                case _:
                    return _joined(parts), False

    def failure(self, text: bytes) -> bytes:
        """Return a reply that says that upstream's was malformed; empty when the client has got some of it."""
        if self._client.our_state is not h11.SEND_RESPONSE:
            return b""
        headers = [("Content-Length", str(len(text))), ("Content-Type", "text/plain"), ("Connection", "close")]
        events = (h11.Response(status_code=502, headers=headers), h11.Data(data=text), h11.EndOfMessage())
        return _joined(self._client.send(event) for event in events)

    def _carry_request(self) -> tuple[bytes, bool]:
        parts = []
        while True:
            event = self._client.next_event()
            match event:
                case h11.Data():
                    parts.append(self._upstream.send(h11.Data(data=event.data)))
                case h11.EndOfMessage():
                    parts.append(self._upstream.send(h11.EndOfMessage()))
                    return _joined(parts), True
                case _:
                    return _joined(parts), False


def _reply(event: h11.Response) -> h11.Response:
    headers = [*_end_to_end(event.headers), (b"Connection", b"close")]
    return h11.Response(status_code=event.status_code, headers=headers, reason=event.reason)


def _end_to_end(headers: Iterable[tuple[bytes, bytes]], *, but: bytes | None = None) -> _Headers:
    """Return the headers that are for the other end; what Connection lists is not, but never what frames a message."""
    found = list(headers)
    listed = {
        name.strip().lower() for key, value in found if key.lower() == b"connection" for name in value.split(b",")
    }
    dropped = (_HOP_BY_HOP | listed) - _FRAMING
    return [(key, value) for key, value in found if key.lower() not in dropped and key.lower() != but]


def _joined(parts: Iterable[bytes | None]) -> bytes:
    return b"".join(part for part in parts if part)
