"""That only a checked address is connected to, and that a name is asked for once."""

import socket
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from orchestration.adapters.sandbox.egress.policy import Grant, Refusal
from orchestration.adapters.sandbox.egress.upstream import RefusedAddressError, UnreachableError, connect, is_own
from tests.adapters.sandbox.egress.conftest import Server


def answers(*addresses: str, port: int) -> list[tuple[Any, ...]]:
    return [answer for address in addresses for answer in socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)]


class Rebinding:
    """A name server that gives the first answer once and the second ever after."""

    def __init__(self, first: str, second: str) -> None:
        self.asked = 0
        self._answers = (first, second)

    def __call__(self, _host: str, port: int) -> Iterable[tuple[Any, ...]]:
        self.asked += 1
        return answers(self._answers[min(self.asked, 2) - 1], port=port)


def test_a_name_is_resolved_once_and_the_answer_that_was_checked_is_connected_to(serve: Callable[..., Server]) -> None:
    server = serve()
    resolve = Rebinding("127.0.0.1", "127.0.0.2")
    with connect(Grant(host="a.example", private=True), server.port, seconds=5, resolve=resolve) as connection:
        assert connection.getpeername()[0] == "127.0.0.1"
    assert resolve.asked == 1


def test_a_name_that_answers_with_a_private_address_is_not_connected_to(
    serve: Callable[..., Server], wait_until: Callable[[Callable[[], object]], None]
) -> None:
    trap = serve()
    resolve = Rebinding("127.0.0.1", "127.0.0.1")
    with pytest.raises(RefusedAddressError) as caught:
        connect(Grant(host="a.example", private=False), trap.port, seconds=5, resolve=resolve)
    assert caught.value.refusal is Refusal.PRIVATE
    with connect(Grant(host="a.example", private=True), trap.port, seconds=5, resolve=resolve):
        wait_until(lambda: trap.connections)
    assert trap.connections == 1


def test_among_several_addresses_only_the_allowed_ones_are_tried(serve: Callable[..., Server]) -> None:
    server = serve()

    def resolve(_host: str, port: int) -> Iterable[tuple[Any, ...]]:
        return answers("169.254.169.254", "127.0.0.1", port=port)

    with connect(Grant(host="a.example", private=True), server.port, seconds=5, resolve=resolve) as connection:
        assert connection.getpeername()[0] == "127.0.0.1"


def test_a_host_that_has_no_address_is_unreachable() -> None:
    def resolve(_host: str, _port: int) -> Iterable[tuple[Any, ...]]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    with pytest.raises(UnreachableError, match=r"a\.example cannot be resolved"):
        connect(Grant(host="a.example", private=False), 443, seconds=5, resolve=resolve)


def test_a_host_on_whose_port_nobody_listens_is_unreachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(UnreachableError, match="does not answer"):
        connect(Grant(host="127.0.0.1", private=True), port, seconds=5)


def test_an_address_of_this_machine_is_known_as_its_own() -> None:
    assert is_own(("127.0.0.1", 80), socket.AF_INET)
    assert not is_own(("192.0.2.1", 80), socket.AF_INET)
