"""A guest that dies, hangs or talks nonsense: every `run` and `stop` ends all the same, and says why."""

import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from orchestration.adapters.sandbox.guest.session import GuestSession
from orchestration.core.errors import SandboxError
from orchestration.core.ports import Command, Exit, Stream
from tests.adapters.sandbox.guest.guests import (
    OWN,
    PATIENCE,
    Guest,
    as_stream,
    guest_over_socket,
    guest_without_processes,
)

HELLO = b"h\0\0\0\1\2"


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Return both ends of a conversation: the host's, and the guest's, whom the test plays."""
    ours, theirs = socket.socketpair()
    theirs.settimeout(PATIENCE.total_seconds())
    with ours, theirs:
        yield ours, theirs


def run(session: GuestSession, *, timeout: timedelta = PATIENCE, argument: str = "") -> Exit:
    command = Command(argv=("anything", argument), timeout=timeout)
    return session.run(command, lambda _stream, _chunk: None, environment={}, cwd="/")


def test_a_guest_that_is_killed_is_said_to_be_gone(program: Path, tmp_path: Path) -> None:
    with guest_over_socket(program, tmp_path) as guest:
        with pytest.raises(SandboxError, match="guest is gone") as caught:
            guest.run_into(lambda _stream, _chunk: guest.process.kill(), "/bin/sh", "-c", f"echo up; sleep 73001.{OWN}")
        assert caught.value.code == "guest_lost"
        assert guest.session.is_lost
        with pytest.raises(SandboxError, match="guest is gone") as again:
            guest.run("true")
        assert again.value.code == "guest_lost"


def test_a_guest_that_died_between_two_commands_is_noticed_at_the_next(program: Path, tmp_path: Path) -> None:
    with guest_over_socket(program, tmp_path) as guest:
        assert guest.run("true")[0].succeeded
        guest.process.kill()
        guest.process.wait()
        with pytest.raises(SandboxError, match="guest is gone") as caught:
            guest.run("true")
        assert caught.value.code == "guest_lost"


def test_a_command_that_kills_the_guest_loses_the_sandbox(program: Path, tmp_path: Path) -> None:
    with guest_over_socket(program, tmp_path) as guest:
        with pytest.raises(SandboxError) as caught:
            guest.shell(f"kill -KILL $PPID; sleep 73002.{OWN}")
        assert caught.value.code == "guest_lost"


def test_a_guest_that_hangs_past_the_time_limit_is_given_up(program: Path, tmp_path: Path) -> None:
    with guest_over_socket(program, tmp_path, grace=timedelta(seconds=0.3)) as guest:
        began = time.monotonic()
        with pytest.raises(SandboxError, match="could not be ended"):
            guest.shell(f"kill -STOP $PPID; sleep 73003.{OWN}", seconds=0.2)
        assert 0.5 <= time.monotonic() - began < 10
        guest.process.send_signal(signal.SIGCONT)
        assert guest.process.wait(20) == 0, "given up, it ends all by itself"


def test_stop_does_not_wait_for_the_time_limit_of_a_guest_that_hangs(program: Path, tmp_path: Path) -> None:
    with guest_over_socket(program, tmp_path, grace=timedelta(seconds=0.3)) as guest:
        errors: list[SandboxError] = []

        def work() -> None:
            with pytest.raises(SandboxError, match="could not be ended") as caught:
                guest.shell(f"echo up; kill -STOP $PPID; sleep 73004.{OWN}", seconds=3600)
            errors.append(caught.value)

        thread = threading.Thread(target=work)
        thread.start()
        stat = Path(f"/proc/{guest.process.pid}/stat")
        while stat.read_text(encoding="ascii").rpartition(")")[2].split()[0] != "T":
            assert thread.is_alive()
        guest.session.stop()
        thread.join(20)
        assert errors
        guest.process.send_signal(signal.SIGCONT)


def test_a_slow_reader_of_output_is_not_taken_for_a_hanging_guest(program: Path, tmp_path: Path) -> None:
    ended = threading.Event()

    def output(_stream: Stream, _chunk: bytes) -> None:
        ended.wait(1.5)
        ended.set()

    with guest_over_socket(program, tmp_path, grace=timedelta(seconds=0.5)) as guest:
        exit_ = guest.run_into(output, "echo", "hi", seconds=0.2)
    assert exit_.succeeded


def test_an_interrupted_reader_leaves_no_command_behind(guest: Guest, living: Callable[[str], list[int]]) -> None:
    def output(_stream: Stream, _chunk: bytes) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        guest.run_into(output, "/bin/sh", "-c", f"echo up; sleep 73005.{OWN}")
    assert not living(f"73005.{OWN}")
    assert guest.run("true")[0].succeeded


def test_a_guest_that_never_says_hello_is_waited_for_only_so_long(ends: tuple[socket.socket, socket.socket]) -> None:
    with pytest.raises(SandboxError, match="did not start in time") as caught:
        GuestSession(as_stream(ends[0]), grace=PATIENCE, start=timedelta(seconds=0.2))
    assert caught.value.code == "guest_lost"


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (b"", "is gone"),
        (b"a\0\0\0\1\1", "another language"),
        (b"exec: taskq-guest: not found", "unknown type|bytes"),
    ],
    ids=["nothing", "no-hello", "noise"],
)
def test_whatever_else_comes_first_is_no_guest(
    ends: tuple[socket.socket, socket.socket], said: bytes, why: str
) -> None:
    ends[1].sendall(said)
    ends[1].shutdown(socket.SHUT_WR)
    with pytest.raises(SandboxError, match=why) as caught:
        GuestSession(as_stream(ends[0]), grace=PATIENCE)
    assert caught.value.code == "guest_lost"
    assert ends[1].recv(1) == b"", "the conversation is over"


@pytest.mark.parametrize("version", [1, 3])
def test_a_guest_of_another_version_says_which_command_helps(
    ends: tuple[socket.socket, socket.socket], version: int
) -> None:
    ends[1].sendall(b"h\0\0\0\1" + bytes([version]))
    with pytest.raises(SandboxError, match="taskq build-image") as caught:
        GuestSession(as_stream(ends[0]), grace=PATIENCE)
    assert caught.value.code == "image_unfit"
    assert ends[1].recv(1) == b"", "the conversation is over"


@pytest.mark.parametrize("said", [b"\xff" * 5, HELLO, b"o\xff\xff\xff\xff"], ids=["noise", "hello-again", "huge"])
def test_a_guest_that_breaks_the_protocol_is_given_up(ends: tuple[socket.socket, socket.socket], said: bytes) -> None:
    ends[1].sendall(HELLO + said)
    session = GuestSession(as_stream(ends[0]), grace=PATIENCE)
    with pytest.raises(SandboxError, match="guest") as caught:
        run(session)
    assert caught.value.code == "guest_lost"
    assert session.is_lost


def test_a_guest_that_floods_past_the_time_limit_is_given_up(ends: tuple[socket.socket, socket.socket]) -> None:
    def flood() -> None:
        try:
            while True:
                ends[1].sendall(b"o\0\0\0\1x" * 1000)
        except OSError:
            return

    ends[1].sendall(HELLO)
    session = GuestSession(as_stream(ends[0]), grace=timedelta(seconds=0.2))
    thread = threading.Thread(target=flood)
    thread.start()
    with pytest.raises(SandboxError, match="could not be ended"):
        run(session, timeout=timedelta(seconds=0.2))
    thread.join(20)
    assert not thread.is_alive()


def test_stop_gives_up_a_guest_that_takes_no_more(ends: tuple[socket.socket, socket.socket]) -> None:
    ends[1].sendall(HELLO)
    session = GuestSession(as_stream(ends[0]), grace=timedelta(seconds=0.2))
    errors: list[SandboxError] = []

    def work() -> None:
        with pytest.raises(SandboxError, match="takes no more") as caught:
            run(session, argument="x" * 3_000_000)
        errors.append(caught.value)

    thread = threading.Thread(target=work)
    thread.start()
    assert ends[1].recv(1) == b"R", "the rest of the request does not fit on the way"
    session.stop()
    thread.join(20)
    assert [error.code for error in errors] == ["guest_lost"]


def test_a_command_that_cannot_be_started_for_want_of_processes_is_no_result(program: Path) -> None:
    with guest_without_processes(program) as guest:
        with pytest.raises(SandboxError, match="cannot start a process: Resource temporarily unavailable") as caught:
            guest.run("true")
        assert caught.value.code == "sandbox"
        assert not guest.session.is_lost
