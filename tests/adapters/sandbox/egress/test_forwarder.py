"""What the forwarder carries, what it refuses, and how it says so: real sockets, real servers on loopback."""

import json
import socket
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from orchestration.adapters.sandbox.egress.forwarder import Bounds
from tests.adapters.sandbox.egress.conftest import REPLY, Server, receive

Ask = Callable[..., bytes]
Serve = Callable[..., Server]
Connect = Callable[..., socket.socket]


def get(host: str, path: str = "/", *more: str) -> bytes:
    return "\r\n".join((f"GET http://{host}{path} HTTP/1.1", f"Host: {host}", *more, "", "")).encode()


def tunnel(host: str) -> bytes:
    return f"CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()


def recorded(path: Path) -> list[tuple[str, int | None, str]]:
    lines = [json.loads(line) for line in path.read_text(encoding="ascii").splitlines()]
    assert all(line["at"] for line in lines)
    return [(line["host"], line["port"], line["reason"]) for line in lines]


def never(_host: str, _port: int) -> NoReturn:
    raise AssertionError("a name was resolved")


def test_a_request_to_a_private_host_that_the_operator_opened_is_carried(ask: Ask, serve: Serve) -> None:
    server = serve()
    answer = ask(get(f"127.0.0.1:{server.port}", "/a?b=c"), private=(f"127.0.0.1:{server.port}",))
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(b"\r\n\r\nhello")
    assert server.seen.startswith(b"GET /a?b=c HTTP/1.1\r\n")


def test_the_same_request_is_refused_when_the_host_is_only_listed(ask: Ask, serve: Serve, record_path: Path) -> None:
    trap = serve()
    answer = ask(get(f"127.0.0.1:{trap.port}"), allow=(f"127.0.0.1:{trap.port}",))
    assert answer.startswith(b"HTTP/1.1 403")
    assert f'allow_private = ["127.0.0.1:{trap.port}"]'.encode() in answer
    assert recorded(record_path) == [("127.0.0.1", trap.port, "private address")]
    assert trap.connections == 0


@pytest.mark.parametrize("make", [get, tunnel])
def test_a_name_that_leads_to_a_private_address_is_refused(
    make: Callable[[str], bytes], ask: Ask, serve: Serve, record_path: Path
) -> None:
    trap = serve()
    answer = ask(make(f"localhost:{trap.port}"), allow=(f"localhost:{trap.port}",))
    assert answer.startswith(b"HTTP/1.1 403")
    assert recorded(record_path) == [("localhost", trap.port, "private address")]
    assert trap.connections == 0


@pytest.mark.parametrize("make", [get, tunnel])
def test_a_host_that_is_not_listed_is_refused_without_asking_a_name_server(
    make: Callable[[str], bytes], ask: Ask, record_path: Path
) -> None:
    answer = ask(make("canary.example.com:443"), allow=("pypi",), resolve=never)
    assert answer.startswith(b"HTTP/1.1 403")
    assert b'allow = ["canary.example.com"]' in answer
    assert recorded(record_path) == [("canary.example.com", 443, "not in the allow-list")]


def test_a_port_that_is_not_listed_is_named_in_the_remedy(ask: Ask) -> None:
    assert b'allow = ["pypi.org:22"]' in ask(tunnel("pypi.org:22"), allow=("pypi",), resolve=never)


def test_a_host_that_does_not_answer_is_a_bad_gateway_and_no_refusal(ask: Ask, record_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host = f"127.0.0.1:{listener.getsockname()[1]}"
    assert ask(get(host), private=(host,)).startswith(b"HTTP/1.1 502")
    assert recorded(record_path) == []


def test_a_tunnel_carries_any_bytes_both_ways_until_both_ends_are_done(connect: Connect, serve: Serve) -> None:
    server = serve(None)
    sent = bytes(range(256)) * 20_000
    connection = connect(private=(f"127.0.0.1:{server.port}",))
    connection.sendall(tunnel(f"127.0.0.1:{server.port}") + b"early")
    writer = threading.Thread(target=lambda: (connection.sendall(sent), connection.shutdown(socket.SHUT_WR)))
    writer.start()
    head, _, echoed = receive(connection).partition(b"\r\n\r\n")
    writer.join()
    assert head == b"HTTP/1.1 200 Connection established"
    assert echoed == b"early" + sent


def test_a_tunnel_ends_when_the_client_leaves(
    connect: Connect, serve: Serve, wait_until: Callable[[Callable[[], object]], None]
) -> None:
    server = serve(None)
    connection = connect(private=(f"127.0.0.1:{server.port}",))
    connection.sendall(tunnel(f"127.0.0.1:{server.port}") + b"ping")
    while not server.seen:
        assert connection.recv(1000)
    connection.close()
    wait_until(lambda: server.ended == 1)


def test_a_client_that_does_not_wait_for_its_reply_ends_the_request(
    connect: Connect, serve: Serve, wait_until: Callable[[Callable[[], object]], None]
) -> None:
    server = serve(until=b"never sent")
    host = f"127.0.0.1:{server.port}"
    connection = connect(private=(host,))
    connection.sendall(get(host))
    wait_until(lambda: server.seen.endswith(b"\r\n\r\n"))
    connection.close()
    wait_until(lambda: server.ended == 1)


def test_a_body_with_a_length_is_carried_whole(ask: Ask, serve: Serve) -> None:
    server = serve(until=b"the end")
    body = b"x" * 300_000 + b"the end"
    host = f"127.0.0.1:{server.port}"
    head = f"POST http://{host}/ HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    assert ask(head + body, private=(host,)).startswith(b"HTTP/1.1 200")
    assert server.seen.endswith(body)


def test_a_chunked_body_is_written_anew(ask: Ask, serve: Serve) -> None:
    server = serve(until=b"0\r\n\r\n")
    host = f"127.0.0.1:{server.port}"
    head = f"POST http://{host}/ HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    assert ask(head + b"3;name=value\r\nabc\r\n0\r\nTrailer: x\r\n\r\n", private=(host,)).startswith(b"HTTP/1.1 200")
    assert server.seen.endswith(b"\r\n\r\n3\r\nabc\r\n0\r\n\r\n")


def test_a_client_that_waits_to_be_told_to_continue_is_told(connect: Connect, serve: Serve) -> None:
    server = serve(until=b"body")
    host = f"127.0.0.1:{server.port}"
    connection = connect(private=(host,))
    connection.sendall(
        f"POST http://{host}/ HTTP/1.1\r\nHost: {host}\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n".encode()
    )
    assert connection.recv(1000).startswith(b"HTTP/1.1 100")
    connection.sendall(b"body")
    assert receive(connection).endswith(b"hello")


def test_what_is_between_client_and_proxy_is_not_passed_on(ask: Ask, serve: Serve) -> None:
    server = serve()
    host = f"127.0.0.1:{server.port}"
    private = ("Proxy-Authorization: Basic c2VjcmV0", "Connection: X-Hop, Host", "X-Hop: 1", "X-Mine: 2")
    ask(get(host, "/", *private), private=(host,))
    lines = server.seen.lower().split(b"\r\n")
    assert f"host: {host}".encode() in lines
    assert b"x-mine: 2" in lines
    assert b"connection: close" in lines
    assert not any(line.startswith((b"proxy-", b"x-hop")) for line in lines)


def test_a_second_request_on_the_connection_reaches_nobody(ask: Ask, serve: Serve) -> None:
    server, trap = serve(), serve()
    hosts = tuple(f"127.0.0.1:{each.port}" for each in (server, trap))
    answer = ask(get(hosts[0]) + get(hosts[1]) + get(hosts[0], "/second"), private=hosts)
    assert answer.count(b"HTTP/1.1") == 1
    assert b"connection: close" in answer.lower()
    assert trap.connections == 0
    assert b"second" not in server.seen


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", b"5\r\nhello\r\n0\r\n\r\n"),
        (b"HTTP/1.0 200 OK\r\n\r\nhello", b"hello"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b"\r\n\r\n"),
        (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + REPLY, b"\r\n\r\nhello"),
    ],
)
def test_a_reply_of_any_form_arrives(reply: bytes, expected: bytes, ask: Ask, serve: Serve) -> None:
    server = serve(reply)
    host = f"127.0.0.1:{server.port}"
    answer = ask(get(host), private=(host,))
    assert answer.startswith((b"HTTP/1.1 200", b"HTTP/1.1 204"))
    assert expected in answer


@pytest.mark.parametrize(
    "reply",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n12",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000,
        b"",
    ],
)
def test_a_server_that_does_not_speak_http_is_a_bad_gateway(reply: bytes, ask: Ask, serve: Serve) -> None:
    server = serve(reply)
    host = f"127.0.0.1:{server.port}"
    assert ask(get(host), private=(host,)).startswith(b"HTTP/1.1 502")


def test_a_reply_that_is_cut_off_does_not_look_complete(ask: Ask, serve: Serve) -> None:
    server = serve(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel")
    host = f"127.0.0.1:{server.port}"
    answer = ask(get(host), private=(host,))
    assert b"hel" in answer
    assert b"0\r\n\r\n" not in answer


def test_a_client_that_says_nothing_is_parted_from(ask: Ask) -> None:
    assert ask(b"", bounds=Bounds(head=0.2, farewell=0.1)) == b""


def test_a_head_that_does_not_come_in_time_is_refused(ask: Ask) -> None:
    answer = ask(b"GET http://pypi.org/ HTTP/1.1\r\n", bounds=Bounds(head=0.2, farewell=0.1))
    assert answer.startswith(b"HTTP/1.1 408")


def test_a_head_that_comes_byte_by_byte_has_no_more_time_than_another(connect: Connect) -> None:
    connection = connect(bounds=Bounds(head=0.5, farewell=0.1))
    connection.settimeout(0.02)
    answer = b""
    while not answer:
        connection.send(b"x")
        try:
            answer = connection.recv(1000)
        except TimeoutError:
            continue
    assert answer.startswith(b"HTTP/1.1 408")


@pytest.mark.parametrize("ended", [True, False])
def test_a_head_of_more_than_64_kibibytes_is_refused(ask: Ask, *, ended: bool) -> None:
    answer = ask(get("pypi.org", "/", *(["X: " + "x" * 1000] * 66))[: None if ended else -4], resolve=never)
    assert answer.startswith(b"HTTP/1.1 431")


def test_a_connection_on_which_nothing_moves_ends(connect: Connect, serve: Serve) -> None:
    server = serve(None)
    connection = connect(private=(f"127.0.0.1:{server.port}",), bounds=Bounds(idle=0.2, farewell=0.1))
    connection.sendall(tunnel(f"127.0.0.1:{server.port}"))
    assert receive(connection).startswith(b"HTTP/1.1 200")


def push(connection: socket.socket, limit: int) -> None:
    sent = 0
    while sent < limit:
        sent += connection.send(b"x" * (1 << 16))


def test_a_reader_that_is_slow_makes_the_server_wait(connect: Connect) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host = f"127.0.0.1:{listener.getsockname()[1]}"
        connection = connect(private=(host,))
        connection.sendall(tunnel(host))
        server, _ = listener.accept()
        with server:
            server.settimeout(0.5)
            with pytest.raises(TimeoutError):
                push(server, 1 << 28)
        connection.close()


def test_names_in_the_record_are_printable_and_short(ask: Ask, record_path: Path) -> None:
    ask(b"GET http://" + b"\\x1b" * 300 + b"/ HTTP/1.1\r\nHost: x\r\n\r\n")
    ask(b"\x1b]52;c;evil\x07 x\xe2\x80\xae\r\n\r\n")
    hosts = [host for host, _, _ in recorded(record_path)]
    assert len(hosts) == 2
    assert all(host.isprintable() and host.isascii() and len(host) <= 255 for host in hosts)


def test_the_answers_of_a_name_server_do_not_change_the_verdict_on_a_name(ask: Ask) -> None:
    def resolve(_host: str, port: int) -> Iterable[tuple[Any, ...]]:
        return socket.getaddrinfo("10.0.0.1", port, type=socket.SOCK_STREAM)

    answer = ask(get("pypi.org"), allow=("pypi",), resolve=resolve)
    assert answer.startswith(b"HTTP/1.1 403")
    assert b"private address" in answer
