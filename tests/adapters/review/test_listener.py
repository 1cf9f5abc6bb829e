import hashlib
import os
import socket
import threading

import pytest

from orchestration.adapters.review import listener as listeners
from orchestration.adapters.review.listener import LOOPBACK, Listener
from orchestration.core.errors import SandboxError
from orchestration.core.ports import Connection
from tests.adapters.review.conftest import Serving


def echo(client: socket.socket) -> None:
    while chunk := client.recv(1 << 16):
        client.sendall(chunk)


def read_all(client: socket.socket) -> bytes:
    seen = b""
    while chunk := client.recv(1 << 16):
        seen += chunk
    return seen


def to(listener: Listener) -> socket.socket:
    return socket.create_connection((LOOPBACK, listener.port), timeout=20)


def test_bytes_go_both_ways_and_many_connections_at_a_time(serve: Serving) -> None:
    inside = serve(echo)
    with Listener(inside.connect) as listener:
        clients = [to(listener) for _ in range(12)]
        for number, client in enumerate(clients):
            client.sendall(b"%d" % number)
        assert [client.recv(10) for client in clients] == [b"%d" % number for number in range(12)]
        for client in clients:
            client.close()
    assert len(inside.connections) == 12


def test_only_this_machine_reaches_it(serve: Serving) -> None:
    with Listener(serve(echo).connect) as listener:
        assert listener._socket.getsockname()[0] == "127.0.0.1"


def test_what_is_large_arrives_whole_both_ways(serve: Serving) -> None:
    content = os.urandom(8 << 20)
    with Listener(serve(echo).connect) as listener, to(listener) as client:
        sender = threading.Thread(target=client.sendall, args=(content,))
        sender.start()
        seen = b""
        while len(seen) < len(content):
            seen += client.recv(1 << 20)
        sender.join()
    assert hashlib.sha256(seen).digest() == hashlib.sha256(content).digest()


def test_the_end_of_the_answer_reaches_who_asked(serve: Serving) -> None:
    def answer(client: socket.socket) -> None:
        client.recv(100)
        client.sendall(b"x" * 300_000)

    with Listener(serve(answer).connect) as listener, to(listener) as client:
        client.sendall(b"ask")
        assert len(read_all(client)) == 300_000


def test_who_has_said_all_still_gets_the_answer(serve: Serving) -> None:
    asked, go_on = threading.Event(), threading.Event()

    def answer(client: socket.socket) -> None:
        client.recv(100)
        asked.set()
        go_on.wait(20)
        client.sendall(b"late")

    with Listener(serve(answer).connect) as listener, to(listener) as client:
        client.sendall(b"ask")
        client.shutdown(socket.SHUT_WR)
        assert asked.wait(20)
        go_on.set()
        assert read_all(client) == b"late"


def test_a_client_that_is_gone_ends_its_connection_inside(serve: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listeners, "_LINGER", 0.05)
    came = threading.Event()

    def wait(client: socket.socket) -> None:
        came.set()
        client.recv(100)

    inside = serve(wait)
    with Listener(inside.connect) as listener:
        client = to(listener)
        assert came.wait(20)
        client.close()
        assert inside.connections[0].is_closed.wait(20)


def test_a_server_that_sends_without_end_is_only_read_as_fast_as_the_client_reads(serve: Serving) -> None:
    sent = [0]
    has_filled = threading.Event()

    def flood(client: socket.socket) -> None:
        client.settimeout(1)
        try:
            while True:
                sent[0] += client.send(b"x" * (1 << 16))
        except TimeoutError:
            has_filled.set()

    with Listener(serve(flood).connect) as listener, to(listener) as client:
        assert client.recv(1) == b"x"
        assert has_filled.wait(60), "nothing held the flood back"
        assert sent[0] < 64 << 20


def test_a_sandbox_that_is_gone_is_a_connection_that_ends() -> None:
    def connect() -> Connection:
        raise SandboxError("it is gone")

    with Listener(connect) as listener, to(listener) as client:
        assert client.recv(10) == b""


def test_leaving_ends_every_connection_and_the_port(serve: Serving) -> None:
    inside = serve(echo)
    with Listener(inside.connect) as listener:
        client = to(listener)
        client.sendall(b"x")
        assert client.recv(1) == b"x"
    assert client.recv(1) == b""
    client.close()
    assert all(connection.is_closed.is_set() for connection in inside.connections)
    assert [one.name for one in threading.enumerate() if one.name.startswith("review-")] == []
    with pytest.raises(ConnectionRefusedError):
        to(listener)


def test_leaving_does_not_wait_for_more_clients_than_are_served_at_a_time(
    serve: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listeners, "_MOST", 2)
    monkeypatch.setattr(listeners, "_LINGER", 0.05)
    inside = serve(echo)
    with Listener(inside.connect) as listener:
        clients = [to(listener) for _ in range(5)]
        for client in clients[:2]:
            client.sendall(b"x")
            assert client.recv(1) == b"x"
        clients[2].settimeout(0.2)
        clients[2].sendall(b"x")
        with pytest.raises(TimeoutError):
            clients[2].recv(1)
        clients[0].close()
        clients[1].close()
        clients[2].settimeout(20)
        assert clients[2].recv(1) == b"x"
    for client in clients:
        client.close()
