"""`taskq-guest dial`: it joins its input and output with a connection to a port of the loopback address."""

import contextlib
import hashlib
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pytest

FAREWELL = 5


@dataclass(frozen=True)
class Dialled:
    """A dialling guest between what the test says as its host and as its server."""

    process: "subprocess.Popen[bytes]"
    server: socket.socket

    @property
    def input(self) -> IO[bytes]:
        assert self.process.stdin is not None
        return self.process.stdin

    @property
    def output(self) -> IO[bytes]:
        assert self.process.stdout is not None
        return self.process.stdout


def dialling(program: Path, port: int) -> "subprocess.Popen[bytes]":
    pipe = subprocess.PIPE
    return subprocess.Popen([program, "dial", str(port)], stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0)


@pytest.fixture
def dialled(program: Path) -> Iterator[Dialled]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)
        with dialling(program, listener.getsockname()[1]) as process:
            server, _ = listener.accept()
            server.settimeout(20)
            with server:
                yield Dialled(process, server)
            process.kill()


def read_all(connection: socket.socket) -> bytes:
    parts = []
    while part := connection.recv(1 << 16):
        parts.append(part)
    return b"".join(parts)


def test_bytes_go_both_ways(dialled: Dialled) -> None:
    dialled.input.write(b"question")
    assert dialled.server.recv(100) == b"question"
    dialled.server.sendall(b"answer")
    assert dialled.output.read(6) == b"answer"


def test_much_goes_both_ways_at_once(dialled: Dialled) -> None:
    content = os.urandom(1 << 20) * 20
    received: list[bytes] = []

    def send() -> None:
        left = memoryview(content)
        while left:
            left = left[dialled.input.write(left) :]
        dialled.input.close()

    threads = [
        threading.Thread(target=send),
        threading.Thread(target=dialled.server.sendall, args=(content,)),
        threading.Thread(target=lambda: received.append(read_all(dialled.server))),
    ]
    for thread in threads:
        thread.start()
    said = b""
    while len(said) < len(content):
        said += dialled.output.read(1 << 20)
    for thread in threads:
        thread.join(20)
    wanted = hashlib.sha256(content).digest()
    assert [hashlib.sha256(each).digest() for each in (said, *received)] == [wanted, wanted]


def test_the_end_of_what_the_host_says_is_passed_on_and_the_answer_still_comes(dialled: Dialled) -> None:
    dialled.input.write(b"all of it")
    dialled.input.close()
    assert read_all(dialled.server) == b"all of it"
    dialled.server.sendall(b"the answer comes after the end of the question")
    dialled.server.close()
    assert dialled.output.read() == b"the answer comes after the end of the question"
    assert dialled.process.wait(20) == 0


def test_it_ends_when_the_server_has_finished_although_the_host_has_not(dialled: Dialled) -> None:
    dialled.server.sendall(b"goodbye")
    dialled.server.close()
    assert dialled.output.read() == b"goodbye"
    assert dialled.process.wait(20) == 0


def test_a_server_that_goes_on_and_on_is_left_soon_after_the_host_has(dialled: Dialled) -> None:
    # An engine takes what is written for a host that has left: only the end of the input tells.
    began = time.monotonic()
    dialled.input.close()
    with contextlib.suppress(ConnectionError):
        while dialled.process.poll() is None:
            dialled.server.sendall(bytes(1 << 10))
            dialled.output.read(1 << 10)
    assert dialled.process.wait(20) == 0
    assert time.monotonic() - began > FAREWELL - 0.5, "the control: it had some time"


def test_it_ends_when_nobody_takes_what_the_server_says(dialled: Dialled) -> None:
    dialled.output.close()
    dialled.server.sendall(b"hello")
    assert dialled.process.wait(20) == 0


def test_a_connection_that_is_reset_ends_it(dialled: Dialled) -> None:
    dialled.server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    dialled.server.close()
    assert dialled.output.read() == b""
    assert dialled.process.wait(20) == 0


def test_it_waits_without_spinning(dialled: Dialled) -> None:
    before = cpu_time(dialled.process.pid)
    with pytest.raises(subprocess.TimeoutExpired):
        dialled.process.wait(0.5)
    assert cpu_time(dialled.process.pid) - before < 0.1


def test_where_nobody_listens_it_is_exit_1_and_said(program: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with dialling(program, port) as process:
        said, complaints = process.communicate(timeout=20)
    assert (process.returncode, said) == (1, b"")
    assert b"cannot connect: Connection refused" in complaints


def test_only_the_loopback_address_is_dialled(program: Path) -> None:
    with socket.create_server(("127.0.0.2", 0)) as elsewhere:
        with dialling(program, elsewhere.getsockname()[1]) as process:
            process.communicate(timeout=20)
        assert process.returncode == 1, "the same port of another address is not meant"


@pytest.mark.parametrize("port", ["0", "65536", "80x", "-1", "", "localhost"])
def test_what_is_no_port_is_exit_2(program: Path, port: str) -> None:
    ended = subprocess.run([program, "dial", port], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    assert (ended.returncode, ended.stdout) == (2, b"")


def test_with_every_access_checked_it_carries_the_same(sanitized: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, dialling(sanitized, listener.getsockname()[1]) as process:
        server, _ = listener.accept()
        with server:
            server.sendall(bytes(1 << 20))
        said, complaints = process.communicate(timeout=20)
    assert (process.returncode, len(said), complaints) == (0, 1 << 20, b"")


def cpu_time(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
