"""The name of the operator's own machine: 127.0.0.1 of the host, for whom the operator listed exactly that."""

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestration.adapters.sandbox.egress.policy import OPERATORS_MACHINE, Refusal, parse
from tests.adapters.sandbox.egress.conftest import Server
from tests.adapters.sandbox.egress.test_forwarder import get, never, recorded, tunnel

Ask = Callable[..., bytes]
Serve = Callable[..., Server]


def test_the_name_that_is_listed_with_its_port_reaches_the_hosts_own_server(ask: Ask, serve: Serve) -> None:
    server = serve()
    place = f"{OPERATORS_MACHINE}:{server.port}"
    answer = ask(get(place, "/v1/models"), private=(place,), resolve=never)
    assert answer.endswith(b"hello")
    assert server.seen.startswith(b"GET /v1/models HTTP/1.1\r\n")


def test_a_tunnel_to_it_is_carried(ask: Ask, serve: Serve) -> None:
    server = serve()
    place = f"{OPERATORS_MACHINE}:{server.port}"
    answer = ask(tunnel(place) + b"GET / HTTP/1.1\r\n\r\n", private=(place,), resolve=never)
    assert answer.endswith(b"hello")


@pytest.mark.parametrize("make", [get, tunnel])
@pytest.mark.parametrize(
    ("allow", "private", "reason"),
    [
        ((), (), Refusal.NOT_LISTED),
        (("{name}:{port}",), (), Refusal.PRIVATE),
        ((".docker.internal:{port}",), (), Refusal.PRIVATE),
        ((), (".docker.internal:{port}",), Refusal.PRIVATE),
        (("{name}:{port}",), (".docker.internal:{port}",), Refusal.PRIVATE),
        ((), ("127.0.0.1:{port}", "localhost:{port}"), Refusal.NOT_LISTED),
        ((), ("{name}:1",), Refusal.PORT_NOT_LISTED),
        ((), ("{name}",), Refusal.PORT_NOT_LISTED),
    ],
)
def test_nothing_else_opens_it_and_the_answer_says_what_would(
    make: Callable[[str], bytes],
    allow: tuple[str, ...],
    private: tuple[str, ...],
    reason: Refusal,
    ask: Ask,
    serve: Serve,
    record_path: Path,
) -> None:
    trap = serve()
    place = f"{OPERATORS_MACHINE}:{trap.port}"
    listed, opened = (
        tuple(entry.format(name=OPERATORS_MACHINE, port=trap.port) for entry in entries) for entries in (allow, private)
    )
    answer = ask(make(place), allow=listed, private=opened, resolve=never)
    assert answer.startswith(b"HTTP/1.1 403")
    assert f'allow_private = ["{place}"]'.encode() in answer
    assert recorded(record_path) == [(OPERATORS_MACHINE, trap.port, reason)]
    assert trap.connections == 0


def test_the_name_opens_no_other_private_address(ask: Ask, serve: Serve) -> None:
    trap = serve()
    private = (f"{OPERATORS_MACHINE}:{trap.port}",)
    for host in ("127.0.0.1", "localhost", f"a.{OPERATORS_MACHINE}"):
        assert ask(get(f"{host}:{trap.port}"), private=private).startswith(b"HTTP/1.1 403")
    assert trap.connections == 0


def test_its_case_does_not_matter(ask: Ask, serve: Serve) -> None:
    server = serve()
    private = (f"Host.Docker.Internal:{server.port}",)
    assert ask(get(f"HOST.docker.internal:{server.port}"), private=private, resolve=never).endswith(b"hello")


def test_without_a_port_it_is_open_on_the_ports_of_the_web_as_every_host() -> None:
    policy = parse((), private=(OPERATORS_MACHINE,))
    open_ports = [
        port for port in (22, 80, 443, 11434) if not isinstance(policy.judge(OPERATORS_MACHINE, port), Refusal)
    ]
    assert open_ports == [80, 443]
