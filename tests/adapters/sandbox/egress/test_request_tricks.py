"""Requests that are built to be read in two ways: sent as raw bytes, with a trap behind the forwarder."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.adapters.sandbox.egress.conftest import Server

Ask = Callable[..., bytes]
Serve = Callable[..., Server]

TRICKS = {
    "both lengths": "POST http://{good}/ HTTP/1.1|Host: {good}|Content-Length: 4|Transfer-Encoding: chunked||0||",
    "two lengths": "POST http://{good}/ HTTP/1.1|Host: {good}|Content-Length: 3|Content-Length: 0||abc",
    "the same length twice": "POST http://{good}/ HTTP/1.1|Host: {good}|Content-Length: 3|Content-Length: 3||abc",
    "two lengths in one": "POST http://{good}/ HTTP/1.1|Host: {good}|Content-Length: 3, 4||abcd",
    "a negative length": "POST http://{good}/ HTTP/1.1|Host: {good}|Content-Length: -3||abc",
    "a signed length": "POST http://{good}/ HTTP/1.1|Host: {good}|Content-Length: +3||abc",
    "an underscored length": "POST http://{good}/ HTTP/1.1|Host: {good}|Content-Length: 1_0||abc",
    "coding twice": "POST http://{good}/ HTTP/1.1|Host: {good}|Transfer-Encoding: chunked|Transfer-Encoding: x||0||",
    "two codings": "POST http://{good}/ HTTP/1.1|Host: {good}|Transfer-Encoding: gzip, chunked||0||",
    "an unknown coding": "POST http://{good}/ HTTP/1.1|Host: {good}|Transfer-Encoding: xchunked||0||",
    "coding of an old version": "POST http://{good}/ HTTP/1.0|Host: {good}|Transfer-Encoding: chunked||0||",
    "space before the colon": "POST http://{good}/ HTTP/1.1|Host: {good}|Content-Length : 3||abc",
    "a folded line": "GET http://{good}/ HTTP/1.1|Host: {good}|X: a| b||",
    "a folded first header": "GET http://{good}/ HTTP/1.1| Host: {good}||",
    "a bare line feed": "GET http://{good}/ HTTP/1.1|Host: {good}|X: a\nHost: {evil}||",
    "a bare carriage return": "GET http://{good}/ HTTP/1.1|Host: {good}|X: a\rHost: {evil}||",
    "line feeds only": "GET http://{good}/ HTTP/1.1\nHost: {good}\n\n||",
    "a NUL": "GET http://{good}/ HTTP/1.1|Host: {good}|X: a\0b||",
    "no colon": "GET http://{good}/ HTTP/1.1|Host: {good}|nonsense||",
    "an empty name": "GET http://{good}/ HTTP/1.1|Host: {good}|: x||",
    "an empty line first": "|GET http://{good}/ HTTP/1.1|Host: {good}||",
    "two hosts": "GET http://{good}/ HTTP/1.1|Host: {good}|Host: {evil}||",
    "the same host twice": "GET http://{good}/ HTTP/1.1|Host: {good}|Host: {good}||",
    "no host": "GET http://{good}/ HTTP/1.1||",
    "an empty host": "GET http://{good}/ HTTP/1.1|Host: ||",
    "another host": "GET http://{good}/ HTTP/1.1|Host: {evil}||",
    "another host of an old version": "GET http://{good}/ HTTP/1.0|Host: {evil}||",
    "another port": "GET http://{good}/ HTTP/1.1|Host: 127.0.0.1||",
    "two hosts in one": "GET http://{good}/ HTTP/1.1|Host: {good}, {evil}||",
    "a tunnel to another host": "CONNECT {good} HTTP/1.1|Host: {evil}||",
    "a user before the host": "GET http://{evil}@{good}/ HTTP/1.1|Host: {good}||",
    "a user of a tunnel": "CONNECT user@{good} HTTP/1.1|Host: {good}||",
    "a backslash": "GET http://{good}\\@{evil}/ HTTP/1.1|Host: {good}||",
    "a question mark at once": "GET http://{good}?@{evil}/ HTTP/1.1|Host: {good}||",
    "a fragment": "GET http://{good}/#@{evil}/ HTTP/1.1|Host: {good}||",
    "an escaped host": "GET http://%31%32%37.0.0.1:{port}/ HTTP/1.1|Host: {good}||",
    "a dot at the end": "GET http://127.0.0.1.:{port}/ HTTP/1.1|Host: {good}||",
    "a short address": "GET http://127.1:{port}/ HTTP/1.1|Host: 127.1:{port}||",
    "a hexadecimal address": "GET http://0x7f000001:{port}/ HTTP/1.1|Host: 0x7f000001:{port}||",
    "a decimal address": "CONNECT 2130706433:{port} HTTP/1.1|Host: 2130706433:{port}||",
    "an octal address": "CONNECT 017700000001:{port} HTTP/1.1|Host: 017700000001:{port}||",
    "an address in an address": "CONNECT [::ffff:127.0.0.1]:{port} HTTP/1.1|Host: [::ffff:127.0.0.1]:{port}||",
    "an address with a zone": "CONNECT [::1%lo]:{port} HTTP/1.1|Host: [::1%lo]:{port}||",
    "a tunnel without a port": "CONNECT 127.0.0.1 HTTP/1.1|Host: 127.0.0.1||",
    "a tunnel with an empty port": "CONNECT 127.0.0.1: HTTP/1.1|Host: {good}||",
    "port 0": "CONNECT 127.0.0.1:0 HTTP/1.1|Host: 127.0.0.1:0||",
    "port 65536": "CONNECT 127.0.0.1:65536 HTTP/1.1|Host: 127.0.0.1:65536||",
    "a port that wraps": "CONNECT 127.0.0.1:{wrapped} HTTP/1.1|Host: 127.0.0.1:{wrapped}||",
    "a port with a sign": "CONNECT 127.0.0.1:+{port} HTTP/1.1|Host: {good}||",
    "two ports": "CONNECT {good}:{port} HTTP/1.1|Host: {good}||",
    "a tunnel with a path": "CONNECT {good}/ HTTP/1.1|Host: {good}||",
    "a tunnel with a scheme": "CONNECT http://{good}/ HTTP/1.1|Host: {good}||",
    "a tunnel with a body": "CONNECT {good} HTTP/1.1|Host: {good}|Content-Length: 3||abc",
    "https without a tunnel": "GET https://{good}/ HTTP/1.1|Host: {good}||",
    "another scheme": "GET ftp://{good}/ HTTP/1.1|Host: {good}||",
    "a scheme in capitals": "GET HTTP://{good}/ HTTP/1.1|Host: {good}||",
    "no scheme": "GET //{good}/ HTTP/1.1|Host: {good}||",
    "a path only": "GET / HTTP/1.1|Host: {good}||",
    "a star": "OPTIONS * HTTP/1.1|Host: {good}||",
    "spaces in the target": "GET http://{good}/ http://{evil}/ HTTP/1.1|Host: {good}||",
    "a tab for a space": "GET\thttp://{good}/\tHTTP/1.1|Host: {good}||",
    "two spaces": "GET  http://{good}/ HTTP/1.1|Host: {good}||",
    "an unknown version": "GET http://{good}/ HTTP/2.0|Host: {good}||",
    "the preface of HTTP/2": "PRI * HTTP/2.0||SM||",
    "no version": "GET http://{good}/|Host: {good}||",
    "a small method": "connect {good} HTTP/1.1|Host: {good}||",
    "a greeting of SOCKS": "\x05\x01\0||",
    "a greeting of TLS": "\x16\x03\x01\x02\0\x01||",
}
CONTROLS = (
    "POST http://{good}/ HTTP/1.1|Host: {good}|Content-Length: 3||abc",
    "POST http://{good}/ HTTP/1.1|Host: {good}|Transfer-Encoding: chunked||0||",
    "GET http://{good}/ HTTP/1.0||",
    "CONNECT {good} HTTP/1.1|Host: 127.0.0.1||GET / HTTP/1.1||",
)


def raw(text: str, good: Server, evil: Server) -> bytes:
    filled = text.replace("|", "\r\n").format(
        good=f"127.0.0.1:{good.port}", evil=f"127.0.0.1:{evil.port}", port=good.port, wrapped=good.port + 65536
    )
    return filled.encode("latin-1")


@pytest.mark.parametrize("trick", TRICKS.values(), ids=TRICKS)
def test_a_request_that_could_be_read_in_two_ways_reaches_nobody(
    trick: str, ask: Ask, serve: Serve, record_path: Path
) -> None:
    good, evil = serve(), serve()
    answer = ask(raw(trick, good, evil), private=tuple(f"127.0.0.1:{each.port}" for each in (good, evil)))
    assert answer.startswith(b"HTTP/1.1 400")
    assert (good.connections, evil.connections) == (0, 0)
    line = json.loads(record_path.read_text(encoding="ascii"))
    assert line["host"]
    assert line["reason"].startswith("malformed request: ")


@pytest.mark.parametrize("request_", CONTROLS)
def test_the_same_without_the_trick_arrives(request_: str, ask: Ask, serve: Serve) -> None:
    good, evil = serve(), serve()
    answer = ask(raw(request_, good, evil), private=(f"127.0.0.1:{good.port}",))
    assert answer.startswith(b"HTTP/1.1 200")
    assert (good.connections, evil.connections) == (1, 0)


def test_bytes_after_a_body_are_no_part_of_it(ask: Ask, serve: Serve) -> None:
    good, evil = serve(until=b"abc"), serve()
    trick = "POST http://{good}/ HTTP/1.1|Host: {good}|Content-Length: 3||abcGET http://{evil}/ HTTP/1.1|Host: {evil}||"
    answer = ask(raw(trick, good, evil), private=tuple(f"127.0.0.1:{each.port}" for each in (good, evil)))
    assert answer.count(b"HTTP/1.1") == 1
    assert good.seen.endswith(b"\r\n\r\nabc")
    assert evil.connections == 0


@pytest.mark.parametrize("size", ["-3", "0x3", " 3", "+3", "3_0", "f" * 30, ""])
def test_a_chunk_whose_size_is_no_plain_number_is_not_passed_on(size: str, ask: Ask, serve: Serve) -> None:
    good, evil = serve(until=b"abc"), serve()
    trick = "POST http://{good}/ HTTP/1.1|Host: {good}|Transfer-Encoding: chunked||" + size + "|abc|0||"
    ask(raw(trick, good, evil), private=(f"127.0.0.1:{good.port}",))
    assert b"abc" not in good.seen
