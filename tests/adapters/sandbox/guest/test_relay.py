"""`taskq-guest hold`: it ends when its input does, and relays connections from a port to a unix socket."""

import contextlib
import hashlib
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

CONNECTIONS = 128
WaitUntil = Callable[[Callable[[], object]], None]


@dataclass(frozen=True)
class Relay:
    process: "subprocess.Popen[bytes]"
    port: int
    listener: socket.socket
    path: Path

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def pair(self) -> tuple[socket.socket, socket.socket]:
        """Return both ends of a new relayed connection: the client's and the server's."""
        client = self.connect()
        server, _ = self.listener.accept()
        server.settimeout(20)
        return client, server


def held(program: Path, *arguments: str) -> "subprocess.Popen[bytes]":
    process = subprocess.Popen([program, "hold", *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@pytest.fixture
def relay(program: Path, tmp_path: Path) -> Iterator[Relay]:
    port, path = free_port(), tmp_path / "proxy"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(256)
        listener.settimeout(20)
        with held(program, str(port), str(path)) as process:
            yield Relay(process, port, listener, path)
            process.terminate()


def read_all(connection: socket.socket) -> bytes:
    parts = []
    while part := connection.recv(1 << 16):
        parts.append(part)
    return b"".join(parts)


def test_it_holds_until_its_input_ends(program: Path) -> None:
    with held(program) as process:
        assert process.stdin is not None
        process.stdin.write(b"what is said is of no interest\n" * 1000)
        process.stdin.flush()
        assert process.poll() is None
        process.stdin.close()
        assert process.wait(20) == 0


def test_it_ends_when_it_is_told_to(program: Path) -> None:
    with held(program) as process:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def test_a_port_that_is_taken_is_exit_1_and_said(program: Path, relay: Relay) -> None:
    ended = subprocess.run(
        [program, "hold", str(relay.port), "/nowhere"], stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    assert (ended.returncode, ended.stdout) == (1, b"")
    assert b"cannot listen: Address" in ended.stderr


@pytest.mark.parametrize(("port", "path"), [("0", "/x"), ("65536", "/x"), ("80x", "/x"), ("80", "/" + "x" * 200)])
def test_what_is_no_port_or_path_is_exit_2(program: Path, port: str, path: str) -> None:
    ended = subprocess.run([program, "hold", port, path], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    assert (ended.returncode, ended.stdout) == (2, b"")


def test_it_listens_on_the_loopback_address_only(relay: Relay) -> None:
    lines = Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()
    lines += Path("/proc/net/tcp6").read_text(encoding="ascii").splitlines()
    bound = [line.split()[1] for line in lines if line.split()[1].endswith(f":{relay.port:04X}")]
    assert bound == [f"0100007F:{relay.port:04X}"]


def test_bytes_go_both_ways(relay: Relay) -> None:
    client, server = relay.pair()
    with client, server:
        client.sendall(b"question")
        assert server.recv(100) == b"question"
        server.sendall(b"answer")
        assert client.recv(100) == b"answer"


def test_a_half_close_is_passed_on_and_the_other_way_stays_open(relay: Relay) -> None:
    client, server = relay.pair()
    with client, server:
        client.sendall(b"all of it")
        client.shutdown(socket.SHUT_WR)
        assert read_all(server) == b"all of it"
        server.sendall(b"the answer comes after the end of the question")
        server.close()
        assert read_all(client) == b"the answer comes after the end of the question"


def test_a_server_that_answers_early_and_closes_is_heard(relay: Relay) -> None:
    client, server = relay.pair()
    with client:
        server.sendall(b"no, too large")
        server.close()
        assert read_all(client) == b"no, too large"


def test_much_goes_both_ways_at_once(relay: Relay) -> None:
    content = os.urandom(1 << 20) * 30
    client, server = relay.pair()
    received: dict[str, bytes] = {}

    def send(connection: socket.socket) -> None:
        connection.sendall(content)
        connection.shutdown(socket.SHUT_WR)

    with client, server:
        threads = [threading.Thread(target=send, args=(each,)) for each in (client, server)]
        threads.append(threading.Thread(target=lambda: received.update(server=read_all(server))))
        for thread in threads:
            thread.start()
        received["client"] = read_all(client)
        for thread in threads:
            thread.join(20)
    wanted = hashlib.sha256(content).digest()
    assert {name: hashlib.sha256(each).digest() for name, each in received.items()} == {
        "client": wanted,
        "server": wanted,
    }


def test_a_reader_that_is_slow_holds_up_its_own_connection_only(relay: Relay) -> None:
    slow_client, slow_server = relay.pair()
    with slow_client, slow_server:
        slow_client.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while slow_client.send(bytes(1 << 16)):
                pass
        client, server = relay.pair()
        with client, server:
            client.sendall(b"past it")
            assert server.recv(100) == b"past it"


def test_a_hundred_connections_at_once_are_relayed(relay: Relay) -> None:
    with ExitStack() as stack:
        pairs = [tuple(map(stack.enter_context, relay.pair())) for _ in range(100)]
        for number, (client, _) in enumerate(pairs):
            client.sendall(str(number).encode())
        said = [int(server.recv(10)) for _, server in pairs]
    assert said == list(range(100))


def test_connections_over_the_limit_wait_until_one_ends(relay: Relay) -> None:
    with ExitStack() as stack:
        pairs = [tuple(map(stack.enter_context, relay.pair())) for _ in range(CONNECTIONS)]
        late = stack.enter_context(relay.connect())
        late.sendall(b"late")
        pairs[0][0].sendall(b"still served")
        assert pairs[0][1].recv(100) == b"still served"
        relay.listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            relay.listener.accept()
        relay.listener.settimeout(20)
        for end in pairs[5]:
            end.close()
        server = stack.enter_context(relay.listener.accept()[0])
        assert server.recv(100) == b"late"


def test_many_connections_one_after_the_other_leave_nothing_open(relay: Relay, wait_until: WaitUntil) -> None:
    descriptors = Path(f"/proc/{relay.process.pid}/fd")
    before = len(list(descriptors.iterdir()))
    for _ in range(300):
        client, server = relay.pair()
        client.close()
        server.close()
    wait_until(lambda: len(list(descriptors.iterdir())) == before)


def test_a_connection_that_is_reset_is_forgotten(relay: Relay, wait_until: WaitUntil) -> None:
    descriptors = Path(f"/proc/{relay.process.pid}/fd")
    before = len(list(descriptors.iterdir()))
    client, server = relay.pair()
    with server:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
        assert server.recv(10) == b""
    wait_until(lambda: len(list(descriptors.iterdir())) == before)


def test_without_a_server_a_connection_is_closed_and_the_relay_goes_on(relay: Relay) -> None:
    relay.listener.close()
    with relay.connect() as client:
        assert read_all(client) == b""
    relay.path.unlink()
    with relay.connect() as client:
        assert read_all(client) == b""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(relay.path))
        listener.listen()
        with relay.connect() as client:
            client.sendall(b"back")
            server, _ = listener.accept()
            with server:
                assert server.recv(10) == b"back"


def test_an_idle_relay_with_half_closed_connections_does_not_spin(relay: Relay) -> None:
    client, server = relay.pair()
    with client, server:
        client.close()
        assert server.recv(10) == b""
        before = cpu_time(relay.process.pid)
        with pytest.raises(subprocess.TimeoutExpired):
            relay.process.wait(0.5)
        assert cpu_time(relay.process.pid) - before < 0.1


def cpu_time(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
