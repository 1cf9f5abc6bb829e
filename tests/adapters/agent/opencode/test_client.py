"""HTTP with a server that may be anything: it answers, or it is an error, and it never takes for ever."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta

import pytest

from orchestration.adapters.agent.opencode.client import Client
from orchestration.core.errors import WorkFailedError

SOON = timedelta(seconds=1)
OK = b"HTTP/1.1 200 OK\r\n"


class Stream:
    """A connection, over a socket."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))

    def send(self, content: bytes) -> None:
        self._socket.sendall(content)

    def receive(self) -> bytes:
        return self._socket.recv(1 << 16)

    def close(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


class Loopback:
    """Services whose ports are this machine's own."""

    def connect(self, port: int) -> Stream:
        return Stream(port)


class Speaker:
    """Answers each connection with what is to be said, and keeps what was asked."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.says: Callable[[socket.socket], None] = lambda _peer: None
        self.heard: list[bytes] = []
        self._ended = threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def client(self) -> Client:
        port = self.listener.getsockname()[1]
        return Client(Loopback(), port=port, password="secret")  # type: ignore[arg-type]  # only connect is asked for

    def _serve(self) -> None:
        while not self._ended.is_set():
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            with peer, suppress(OSError):
                self.heard.append(peer.recv(1 << 16))
                self.says(peer)

    def close(self) -> None:
        self._ended.set()
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


@pytest.fixture
def speaker() -> Iterator[Speaker]:
    made = Speaker()
    yield made
    made.close()


def saying(content: bytes) -> Callable[[socket.socket], None]:
    return lambda peer: peer.sendall(content)


def flood(peer: socket.socket) -> None:
    while True:
        peer.sendall(b"x" * 65536)


def hang(peer: socket.socket) -> None:
    peer.sendall(OK)
    peer.recv(1)


def test_json_goes_out_and_comes_in_with_the_password(speaker: Speaker) -> None:
    speaker.says = saying(OK + b'Content-Length: 9\r\n\r\n{"a": 1}\n')
    assert speaker.client.ask("POST", "/x", {"b": "\u00e9"}, timeout=SOON) == {"a": 1}
    assert b"POST /x HTTP/1.1\r\n" in speaker.heard[0]
    assert b"Authorization: Basic b3BlbmNvZGU6c2VjcmV0\r\n" in speaker.heard[0]
    assert speaker.heard[0].endswith(b'{"b": "\\u00e9"}')


def test_an_answer_without_content_is_none(speaker: Speaker) -> None:
    speaker.says = saying(b"HTTP/1.1 204 No Content\r\n\r\n")
    assert speaker.client.ask("POST", "/x", timeout=SOON) is None


@pytest.mark.parametrize(
    "says",
    [
        saying(b""),
        saying(b"garbage\r\n\r\n"),
        saying(b"\x00" * 1000),
        saying(OK + b"a: b\r\n" * 5000),
        saying(OK + b"Content-Length: 100\r\n\r\nshort"),
        saying(OK + b"Content-Length: -5\r\n\r\n{"),
        saying(OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"),
        saying(OK + b"\r\n" + b"[" * 100_000),
        flood,
        hang,
    ],
    ids=["nothing", "garbage", "nul", "headers", "short", "negative", "chunks", "deep", "flood", "hang"],
)
def test_whatever_is_answered_is_an_error_in_time(speaker: Speaker, says: Callable[[socket.socket], None]) -> None:
    speaker.says = says
    with pytest.raises(WorkFailedError) as failed:
        speaker.client.ask("GET", "/x", timeout=SOON)
    assert failed.value.code == "server_failed"
    assert "\n" not in str(failed.value)


def test_a_refusal_is_told_from_a_failure(speaker: Speaker) -> None:
    speaker.says = saying(b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnone")
    with pytest.raises(WorkFailedError, match="404 b'none'") as failed:
        speaker.client.ask("GET", "/x", timeout=SOON)
    assert failed.value.code == "server_refused"


def test_a_stream_gives_its_pieces_until_it_ends_or_breaks(speaker: Speaker) -> None:
    speaker.says = saying(OK + b"Transfer-Encoding: chunked\r\n\r\n4\r\none\n\r\n4\r\ntwo\n\r\n9\r\ncut")
    with speaker.client.listen("/event", timeout=SOON) as pieces:
        assert b"".join(pieces).startswith(b"one\ntwo\n")


def test_a_stream_without_an_end_ends_at_the_limit(speaker: Speaker) -> None:
    def start_and_hang(peer: socket.socket) -> None:
        peer.sendall(OK + b"Transfer-Encoding: chunked\r\n\r\n4\r\none\n\r\n")
        peer.recv(1)

    speaker.says = start_and_hang
    with speaker.client.listen("/event", timeout=SOON) as pieces:
        assert list(pieces) == [b"one\n"]
