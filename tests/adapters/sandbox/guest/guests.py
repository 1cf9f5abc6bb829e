"""Guests as plain processes of this host, and the streams that reach them."""

import contextlib
import errno
import os
import select
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from orchestration.adapters.sandbox.guest.session import ByteStream, GuestSession
from orchestration.core.ports import Command, Exit, Output, Stream

SOURCE = Path(__file__).parents[4] / "orchestration" / "adapters" / "sandbox" / "guest" / "taskq-guest.c"
PATIENCE = timedelta(seconds=20)
OWN = f"{os.getpid()}s"
"""Makes what our processes sleep unlike what those of another test run do."""


class SocketStream:
    """A stream over one socket, as a machine's serial port would be."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def send(self, content: bytes) -> None:
        self._connection.sendall(content)

    def receive(self) -> bytes:
        return self._connection.recv(1 << 18)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)


class PipeStream:
    """A stream over two pipes, which is what an engine's exec gives to the guest."""

    def __init__(self, source: int, target: int) -> None:
        self._source, self._target = source, target
        self._alarm, self._ring = os.pipe()
        self._sending = threading.Lock()
        self._is_open = True
        os.set_blocking(target, False)

    def send(self, content: bytes) -> None:
        left = memoryview(content)
        with self._sending:
            while left:
                ready, _, _ = select.select([self._alarm], [self._target] if self._is_open else [], [])
                if ready:
                    raise OSError(errno.EPIPE, "the stream was closed")
                left = left[os.write(self._target, left) :]

    def receive(self) -> bytes:
        ready, _, _ = select.select([self._source, self._alarm], [], [])
        return b"" if self._alarm in ready else os.read(self._source, 1 << 16)

    def close(self) -> None:
        os.write(self._ring, b"!")
        with self._sending:
            if self._is_open:
                os.close(self._target)
                self._is_open = False

    def free(self) -> None:
        self.close()
        for descriptor in (self._source, self._alarm, self._ring):
            os.close(descriptor)


@dataclass
class Seen:
    """Takes output as it comes."""

    stdout: bytes = b""
    stderr: bytes = b""
    chunks: list[tuple[Stream, bytes]] = field(default_factory=list)

    def __call__(self, stream: Stream, chunk: bytes) -> None:
        self.chunks.append((stream, chunk))
        setattr(self, stream, getattr(self, stream) + chunk)


@dataclass(frozen=True)
class Guest:
    """A guest process, the session with it, and the folder that its commands start in."""

    process: "subprocess.Popen[bytes]"
    session: GuestSession
    folder: Path

    def run(self, *argv: str, seconds: float = 20, stdin: bytes = b"", **env: str) -> tuple[Exit, Seen]:
        seen = Seen()
        return self.run_into(seen, *argv, seconds=seconds, stdin=stdin, **env), seen

    def run_into(self, output: Output, *argv: str, seconds: float = 20, stdin: bytes = b"", **env: str) -> Exit:
        command = Command(argv=argv, timeout=timedelta(seconds=seconds), stdin=stdin, env=env)
        return self.session.run(command, output, environment=self.environment, cwd=str(self.folder))

    def shell(self, script: str, *, seconds: float = 20) -> tuple[Exit, Seen]:
        return self.run("/bin/sh", "-c", script, seconds=seconds)

    @property
    def environment(self) -> Mapping[str, str]:
        return {"PATH": os.environ["PATH"], "FOLDER": str(self.folder)}


@contextlib.contextmanager
def guest_over_socket(
    program: Path, folder: Path, *, grace: timedelta = PATIENCE, user: int | None = None, limit: str = ""
) -> Iterator[Guest]:
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            process = _start(program, theirs.fileno(), theirs.fileno(), user=user, limit=limit)
        with _ended(process), contextlib.closing(GuestSession(SocketStream(ours), grace=grace)) as session:
            yield Guest(process, session, folder)


def guest_without_processes(program: Path) -> contextlib.AbstractContextManager[Guest]:
    """Return a guest that cannot start any: not root, who has no such limit."""
    return guest_over_socket(program, Path("/"), user=64123 if os.geteuid() == 0 else None, limit="--nproc=0")


@contextlib.contextmanager
def guest_over_pipes(
    program: Path, folder: Path, *, grace: timedelta = PATIENCE, user: int | None = None
) -> Iterator[Guest]:
    their_input, our_output = os.pipe()
    our_input, their_output = os.pipe()
    process = _start(program, their_input, their_output, user=user)
    for descriptor in (their_input, their_output):
        os.close(descriptor)
    stream = PipeStream(our_input, our_output)
    try:
        with _ended(process), contextlib.closing(GuestSession(stream, grace=grace)) as session:
            yield Guest(process, session, folder)
    finally:
        stream.free()


TRANSPORTS = {"socket": guest_over_socket, "pipes": guest_over_pipes}


def raw_guest(program: Path, content: bytes) -> "subprocess.CompletedProcess[bytes]":
    """Send *content* to a guest and hang up; return how it ended and what it said."""
    quiet = {"ASAN_OPTIONS": "detect_leaks=0"}  # looking for leaks needs to trace, which the guest forbids
    return subprocess.run(
        [program, "serve"], input=content, capture_output=True, env=quiet, timeout=PATIENCE.total_seconds(), check=False
    )


def as_stream(connection: socket.socket) -> ByteStream:
    """Return the host's end of a conversation in which the test plays the guest."""
    return SocketStream(connection)


def _start(program: Path, stdin: int, stdout: int, *, user: int | None, limit: str = "") -> "subprocess.Popen[bytes]":
    groups: list[int] | None = None
    if user is not None:
        groups = []
        os.fchown(stdin, user, user)  # as an engine does
        os.fchown(stdout, user, user)
    limiting = ("prlimit", limit) if limit else ()
    return subprocess.Popen(
        [*limiting, program, "serve"],
        stdin=stdin,
        stdout=stdout,
        env={"PATH": os.defpath, "OPERATOR_TOKEN": "canary"},
        user=user,
        group=user,
        extra_groups=groups,
    )


@contextlib.contextmanager
def _ended(process: "subprocess.Popen[bytes]") -> Iterator[None]:
    try:
        yield
        process.wait(PATIENCE.total_seconds())
    finally:
        process.kill()
        process.wait()
