"""An agent that wants out of its container: raw packets, names, addresses of the host and of clouds, and the proxy.

Each way out is tried from a container with the open network too: what does not get out there is no proof.
"""

import contextlib
import os
import selectors
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import pytest

from tests.adapters.sandbox.docker.conftest import Box, box, engine, open_box

__all__ = ["box", "engine", "open_box"]
pytestmark = pytest.mark.full
OpenBox = Callable[..., AbstractContextManager[Box]]

TCP = """perl -MIO::Socket::INET -e '
my $s = IO::Socket::INET->new(PeerAddr => $ARGV[0], PeerPort => $ARGV[1], Proto => "tcp", Timeout => 3) or exit 7;
print $s "leak"; close $s' {address} {port}"""
UDP = """perl -MIO::Socket::INET -e '
my $s = IO::Socket::INET->new(PeerAddr => $ARGV[0], PeerPort => $ARGV[1], Proto => "udp") or exit 7;
send($s, "leak", 0) or exit 8' {address} {port}"""
TCP6 = """perl -MSocket=:all -e '
socket(my $s, AF_INET6, SOCK_STREAM, 0) or exit 7;
my $to = pack_sockaddr_in6($ARGV[1], inet_pton(AF_INET6, $ARGV[0]));
connect($s, $to) or exit 8; syswrite $s, "leak"' {address} {port}"""


@dataclass
class Trap:
    """Listens on every address of the host, over TCP and UDP; *caught* is what came."""

    caught: list[bytes] = field(default_factory=list)
    port: int = 0

    def serve(self, sockets: list[socket.socket], stop: threading.Event) -> None:
        with selectors.DefaultSelector() as selector:
            for one in sockets:
                selector.register(one, selectors.EVENT_READ)
            while not stop.is_set():
                for key, _ in selector.select(0.1):
                    self._take(key.fileobj)

    def _take(self, ready: object) -> None:
        assert isinstance(ready, socket.socket)
        if ready.type == socket.SOCK_DGRAM:
            self.caught.append(ready.recv(100))
            return
        connection, _ = ready.accept()
        with connection:
            connection.settimeout(5)
            self.caught.append(connection.recv(100))


@pytest.fixture
def trap() -> Iterator[Trap]:
    made, stop = Trap(), threading.Event()
    with contextlib.ExitStack() as stack:
        tcp = stack.enter_context(socket.create_server(("", 0)))
        made.port = tcp.getsockname()[1]
        udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        udp.bind(("", made.port))
        thread = threading.Thread(target=made.serve, args=([tcp, udp], stop), daemon=True)
        thread.start()
        yield made
        stop.set()
        thread.join(10)


def host_addresses() -> list[str]:
    """Return every IPv4 address that this host has, but loopback."""
    shown = subprocess.run(["ip", "-4", "-o", "addr"], capture_output=True, text=True, check=True).stdout
    found = [line.split()[3].partition("/")[0] for line in shown.splitlines()]
    return [address for address in found if not address.startswith("127.")]


@pytest.mark.parametrize("network", ["allowlist", "none"])
@pytest.mark.parametrize("attempt", [TCP, UDP], ids=["tcp", "udp"])
def test_no_packet_reaches_any_address_of_the_host(open_box: OpenBox, trap: Trap, network: str, attempt: str) -> None:
    addresses = host_addresses()
    assert addresses, "the host has an address besides loopback"
    with open_box(network="open", attempt=2) as control:
        for address in addresses:
            control.shell(attempt.format(address=address, port=trap.port))
    reached = len(trap.caught)
    assert reached, "the control: with the open network it gets out"
    with open_box(network=network) as closed:
        for address in addresses:
            assert not closed.shell(attempt.format(address=address, port=trap.port))[0].succeeded, address
        for address in ("127.0.0.1", "0.0.0.0", "255.255.255.255", "224.0.0.1"):
            closed.shell(attempt.format(address=address, port=trap.port))
    assert len(trap.caught) == reached


@pytest.mark.parametrize("network", ["allowlist", "none"])
def test_there_is_no_interface_but_loopback_and_no_route(open_box: OpenBox, network: str) -> None:
    with open_box(network=network) as closed:
        assert closed.shell("ls /sys/class/net")[1].split() == ["lo"]
        routes = closed.shell("cat /proc/net/route; cat /proc/net/ipv6_route")[1]
        assert [line for line in routes.splitlines()[1:] if not line.endswith("lo")] == []
    with open_box(network="open") as control:
        assert "eth0" in control.shell("ls /sys/class/net")[1]


@pytest.mark.parametrize("address", ["169.254.169.254", "100.100.100.200", "8.8.8.8", "10.0.0.1"])
def test_metadata_public_and_private_addresses_are_unreachable(open_box: OpenBox, address: str) -> None:
    with open_box(network="allowlist") as closed:
        for port in (53, 80):
            assert closed.shell(TCP.format(address=address, port=port))[0].code == 7
            assert not closed.shell(UDP.format(address=address, port=port))[0].succeeded


@pytest.mark.parametrize("address", ["fd00:ec2::254", "2001:4860:4860::8888", "ff02::1"])
def test_there_is_no_ipv6(open_box: OpenBox, address: str) -> None:
    with open_box(network="allowlist") as closed:
        assert not closed.shell(TCP6.format(address=address, port=80))[0].succeeded


def test_no_name_can_be_asked_for(open_box: OpenBox) -> None:
    with open_box(network="allowlist") as closed:
        assert not closed.shell("getent hosts example.com")[0].succeeded
        assert closed.shell("getent hosts localhost")[0].succeeded, "the control: getent works"


def test_an_abstract_socket_of_the_host_is_out_of_reach(open_box: OpenBox) -> None:
    name = f"taskq-test-{os.getpid()}"
    script = """perl -MSocket -e 'socket S, AF_UNIX, SOCK_STREAM, 0;
        connect(S, pack_sockaddr_un("\\0$ARGV[0]")) or exit 7' """
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"\0{name}")
        server.listen()
        control = subprocess.run(["/bin/sh", "-c", script + name], check=False, timeout=20)
        assert control.returncode == 0, "the control: on the host it is there"
        with open_box(network="allowlist") as closed:
            assert closed.shell(script + name)[0].code == 7


def through_proxy(box: Box, request: str) -> str:
    """Send the bytes of *request* to the proxy; return what comes back."""
    script = """perl -MIO::Socket::INET -e '
        my $s = IO::Socket::INET->new(PeerAddr => "127.0.0.1:3128", Timeout => 5) or exit 7;
        local $/; print $s <STDIN>; $s->flush; shutdown($s, 1); print <$s>'"""
    from datetime import timedelta

    from orchestration.core.ports import Command

    seen: list[bytes] = []
    command = Command(argv=("/bin/sh", "-c", script), timeout=timedelta(seconds=60), stdin=request.encode("latin-1"))
    ended = box.sandbox.run(command, lambda _stream, chunk: seen.append(chunk))
    assert ended.code == 0, (ended, seen)
    return b"".join(seen).decode("latin-1")


def test_the_proxy_refuses_what_is_not_listed_and_says_so_in_the_facts(open_box: OpenBox, trap: Trap) -> None:
    address = host_addresses()[0]
    with open_box(network="allowlist", allow=("pypi",)) as closed:
        said = [
            through_proxy(closed, f"CONNECT {host}:{trap.port} HTTP/1.1\r\nHost: {host}\r\n\r\n")
            for host in ("evil.example", address, "169.254.169.254", "localhost", "pypi.org.evil.example")
        ]
        said += [
            through_proxy(closed, f"GET http://{address}:{trap.port}/ HTTP/1.1\r\nHost: {address}\r\n\r\n"),
            through_proxy(closed, f"GET http://pypi.org@{address}:{trap.port}/ HTTP/1.1\r\nHost: pypi.org\r\n\r\n"),
        ]
        refused = {one.host for one in closed.sandbox.facts.refused}
    assert [answer for answer in said if not answer.startswith(("HTTP/1.1 403", "HTTP/1.1 400"))] == []
    assert {"evil.example", "169.254.169.254", address} <= refused
    assert trap.caught == []


def test_what_the_operator_opens_is_reached_through_the_proxy_alone(open_box: OpenBox, trap: Trap) -> None:
    opened = (f"127.0.0.1:{trap.port}",)
    with open_box(network="allowlist", allow_private=opened) as closed:
        asked = f"CONNECT 127.0.0.1:{trap.port} HTTP/1.1\r\nHost: 127.0.0.1:{trap.port}\r\n\r\nleak"
        assert through_proxy(closed, asked).startswith("HTTP/1.1 200")
        assert trap.caught == [b"leak"]
        assert not closed.shell(TCP.format(address="127.0.0.1", port=trap.port))[0].succeeded


def test_this_machine_can_show_its_addresses() -> None:
    assert shutil.which("ip"), "the tests above read addresses with it; Debian: package iproute2"
