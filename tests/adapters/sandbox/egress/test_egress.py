"""The runner's side: when a forwarder runs, when it ends, and that hostile clients cost the host little."""

import contextlib
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from orchestration.adapters.sandbox.egress.egress import Egress
from orchestration.adapters.sandbox.egress.names import PROXY_SOCKET
from orchestration.core.errors import ConfigError, SandboxError
from orchestration.core.facts import RefusedHost
from tests.adapters.sandbox.egress.conftest import Server, receive

Knock = Callable[[Path], socket.socket]
Wait = Callable[[Callable[[], object]], None]
Serve = Callable[..., Server]

ROOT = Path(__file__).resolve().parents[4]
REFUSED = b"CONNECT canary.example.com:443 HTTP/1.1\r\nHost: canary.example.com:443\r\n\r\n"
STARTER = """
import pathlib, sys
from orchestration.adapters.sandbox.egress.egress import Egress
with Egress(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), allow=(), allow_private=()):
    print("ready", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "egress"


@pytest.fixture
def egress(folder: Path, record_path: Path) -> Callable[..., Egress]:
    """Return a function that makes the way out of a sandbox."""

    def make(allow: tuple[str, ...] = (), private: tuple[str, ...] = ()) -> Egress:
        return Egress(folder, record_path, allow=allow, allow_private=private)

    return make


def forwarders(parent: int | None = None) -> list[int]:
    """Return the forwarders that a process, by default this one, has started and that live."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                state, ppid = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
                is_one = b"egress.forwarder" in (entry / "cmdline").read_bytes()
                if is_one and state != "Z" and int(ppid) == (parent or os.getpid()):
                    found.append(int(entry.name))
    return found


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def kibibytes(pid: int, name: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def refused_once(knock: Knock, folder: Path) -> bytes:
    with knock(folder) as connection:
        connection.sendall(REFUSED)
        return receive(connection)


def test_there_is_no_process_before_the_first_connection_and_none_after_the_block(
    egress: Callable[..., Egress], knock: Knock, folder: Path
) -> None:
    with egress():
        assert forwarders() == []
        assert refused_once(knock, folder).startswith(b"HTTP/1.1 403")
        (pid,) = forwarders()
        assert refused_once(knock, folder).startswith(b"HTTP/1.1 403")
        assert forwarders() == [pid]
    assert not is_alive(pid)
    assert not (folder / PROXY_SOCKET).exists()


def test_a_block_without_a_connection_ends(egress: Callable[..., Egress], folder: Path) -> None:
    with egress() as way:
        assert way.refused() == ()
    assert list(folder.iterdir()) == []


def test_what_was_refused_is_known_during_the_block_and_after(
    egress: Callable[..., Egress], knock: Knock, folder: Path
) -> None:
    with egress() as way:
        refused_once(knock, folder)
        refused_once(knock, folder)
        expected = (RefusedHost(host="canary.example.com", port=443, reason="not in the allow-list", count=2),)
        assert way.refused() == expected
    assert way.refused() == expected


def test_what_found_no_line_in_the_record_is_counted_at_the_end(
    egress: Callable[..., Egress], knock: Knock, folder: Path, record_path: Path
) -> None:
    line = b'{"at": "2026-11-21T09:00:00.000+00:00", "host": "a.example", "port": 80, "reason": "x"}\n'
    record_path.write_bytes(line * 999)
    with egress() as way:
        for _ in range(3):
            refused_once(knock, folder)
    assert [(each.host, each.count) for each in way.refused()] == [
        ("a.example", 999),
        ("canary.example.com", 1),
        ("(others)", 2),
    ]


def test_a_listed_server_is_reached_through_the_process(
    egress: Callable[..., Egress], knock: Knock, folder: Path, serve: Serve
) -> None:
    server = serve()
    host = f"localhost:{server.port}"
    with egress(private=(host,)):
        connection = knock(folder)
        connection.sendall(f"GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        assert receive(connection).endswith(b"hello")
    assert server.connections == 1


def test_a_second_block_takes_the_place_of_a_socket_that_a_crash_left(
    egress: Callable[..., Egress], knock: Knock, folder: Path
) -> None:
    folder.mkdir()
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(folder / PROXY_SOCKET))
    with egress():
        assert refused_once(knock, folder).startswith(b"HTTP/1.1 403")


def test_a_folder_may_be_deeper_than_the_address_of_a_socket(tmp_path: Path, record_path: Path, knock: Knock) -> None:
    folder = tmp_path.joinpath(*["deep" * 10] * 5) / "egress"
    folder.parent.mkdir(parents=True)
    with Egress(folder, record_path, allow=(), allow_private=()):
        assert refused_once(knock, folder).startswith(b"HTTP/1.1 403")


def test_every_user_may_connect_and_nobody_else_may_list(egress: Callable[..., Egress], folder: Path) -> None:
    before = os.umask(0o077)
    try:
        with egress():
            assert stat.S_IMODE(folder.stat().st_mode) == 0o711
            assert stat.S_IMODE((folder / PROXY_SOCKET).stat().st_mode) == 0o666
    finally:
        os.umask(before)


def test_a_link_in_place_of_the_folder_is_not_followed(
    tmp_path: Path, egress: Callable[..., Egress], folder: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SandboxError, match="cannot use"), egress():
        pass
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_an_entry_that_is_none_is_an_error_of_the_configuration(egress: Callable[..., Egress]) -> None:
    with pytest.raises(ConfigError, match="did you mean 'pypi'"), egress(("pypl",)):
        pass


@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGTERM])
def test_a_forwarder_ends_with_its_starter_however_that_dies(
    stop: signal.Signals, folder: Path, record_path: Path, knock: Knock, wait_until: Wait
) -> None:
    argv = [sys.executable, "-c", STARTER, str(folder), str(record_path)]
    with subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as starter:
        assert starter.stdout is not None
        assert starter.stdout.readline() == b"ready\n"
        idle = knock(folder)
        refused_once(knock, folder)
        (pid,) = forwarders(starter.pid)
        starter.send_signal(stop)
        starter.wait()
        wait_until(lambda: not is_alive(pid))
        assert receive(idle) == b""


def test_a_forwarder_that_dies_is_started_again_and_that_is_said(
    egress: Callable[..., Egress], knock: Knock, folder: Path, wait_until: Wait
) -> None:
    with capture_logs() as said, egress():
        refused_once(knock, folder)
        (first,) = forwarders()
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: any(line["event"] == "egress.died" for line in said))
        assert refused_once(knock, folder).startswith(b"HTTP/1.1 403")
        (second,) = forwarders()
        assert second != first
    assert [(line["event"], line["code"]) for line in said] == [("egress.died", -signal.SIGKILL)]


def test_a_forwarder_that_dies_again_and_again_is_given_up_and_connections_are_refused(
    egress: Callable[..., Egress], knock: Knock, folder: Path, wait_until: Wait
) -> None:
    with capture_logs() as said, egress():
        for count in range(1, 6):
            refused_once(knock, folder)
            os.kill(forwarders()[0], signal.SIGKILL)
            wait_until(lambda count=count: len(said) >= count)
        wait_until(lambda: said[-1]["event"] == "egress.gave_up")
        with pytest.raises(ConnectionRefusedError):
            knock(folder)


def test_the_process_holds_nothing_of_the_operators(
    egress: Callable[..., Egress],
    knock: Knock,
    folder: Path,
    wait_until: Wait,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CANARY", "secret")
    with egress(("hidden.example",)):
        refused_once(knock, folder)
        (pid,) = forwarders()
        process = Path(f"/proc/{pid}")
        assert b"secret" not in (process / "environ").read_bytes()
        assert b"hidden" not in (process / "cmdline").read_bytes()
        # Standard input, output and error, the record, and one socket: the listening one.
        wait_until(lambda: len(list((process / "fd").iterdir())) == 5)
        assert sum(each.readlink().name.startswith("socket:") for each in (process / "fd").iterdir()) == 1


def test_importing_the_runners_side_loads_no_part_of_the_forwarder() -> None:
    program = "import sys, orchestration.adapters.sandbox.egress.egress; print(*sorted(sys.modules))"
    loaded = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert "orchestration.adapters.sandbox.egress.policy" in loaded
    assert not {"h11", "orchestration.adapters.sandbox.egress.forwarder"} & set(loaded)


def flood(folder: Path, count: int) -> list[socket.socket]:
    """Return as many connections, of *count*, as the socket takes at once."""
    taken = []
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(count):
        connection = socket.socket(socket.AF_UNIX)
        connection.setblocking(False)
        try:
            connection.connect(f"/proc/self/fd/{descriptor}/{PROXY_SOCKET}")
            connection.send(b"GET http://pypi.org/ HTTP/1.1\r\nX: ")
        except OSError:
            connection.close()
        else:
            taken.append(connection)
    os.close(descriptor)
    return taken


def test_a_thousand_connections_that_never_finish_cost_little_and_pass(
    egress: Callable[..., Egress], knock: Knock, folder: Path, wait_until: Wait
) -> None:
    with egress():
        refused_once(knock, folder)
        (pid,) = forwarders()
        taken = flood(folder, 1000)
        assert len(taken) > 64
        wait_until(lambda: kibibytes(pid, "Threads") >= 64)
        assert kibibytes(pid, "Threads") <= 64 + 2
        assert kibibytes(pid, "VmRSS") < 64 << 10
        for connection in taken:
            connection.close()
        assert refused_once(knock, folder).startswith(b"HTTP/1.1 403")
        assert forwarders() == [pid]


def test_headers_without_end_cost_little(egress: Callable[..., Egress], knock: Knock, folder: Path) -> None:
    with egress():
        refused_once(knock, folder)
        (pid,) = forwarders()
        for _ in range(40):
            connection = knock(folder)
            with contextlib.suppress(ConnectionError, TimeoutError):
                connection.settimeout(0.05)
                for _ in range(200):
                    connection.sendall(b"X: " + b"x" * 50_000)
            connection.close()
        assert kibibytes(pid, "VmHWM") < 64 << 10
        assert refused_once(knock, folder).startswith(b"HTTP/1.1 403")


@pytest.mark.parametrize("closer", ["client", "server"])
def test_a_tunnel_that_is_closed_on_one_side_only_costs_no_cpu(
    closer: str, egress: Callable[..., Egress], knock: Knock, folder: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host = f"127.0.0.1:{listener.getsockname()[1]}"
        with egress(private=(host,)):
            client = knock(folder)
            client.sendall(f"CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            server, _ = listener.accept()
            with server:
                assert client.recv(1000).startswith(b"HTTP/1.1 200")
                quiet, loud = (client, server) if closer == "client" else (server, client)
                quiet.shutdown(socket.SHUT_WR)
                assert loud.recv(1000) == b""
                (pid,) = forwarders()
                before = cpu_seconds(pid)
                quiet.settimeout(0.5)
                with pytest.raises(TimeoutError):
                    quiet.recv(1000)
                assert cpu_seconds(pid) - before < 0.1
                loud.sendall(b"still here")
                quiet.settimeout(20)
                assert quiet.recv(1000) == b"still here"
