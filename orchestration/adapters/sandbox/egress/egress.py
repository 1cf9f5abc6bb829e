"""The runner's side of a sandbox's way out: a unix socket, and a forwarder behind it once somebody connects.

Guarantees: until the first connection there is no process, and waiting costs no CPU; a forwarder that dies is started
again at the next connection, a few times; leaving the block ends it, and so does the runner's death.
Not responsible for: who can reach the socket; whoever can may use what the allow-list opens.
"""

import contextlib
import contextvars
import json
import os
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

from orchestration.adapters.sandbox.egress import policy, record
from orchestration.adapters.sandbox.egress.names import PROXY_SOCKET
from orchestration.core.errors import ConfigError, SandboxError
from orchestration.core.facts import RefusedHost
from orchestration.support.logs import get_logger

log = get_logger()

_MODULE: Final = "orchestration.adapters.sandbox.egress.forwarder"
_BACKLOG: Final = 128
_STARTS: Final = 5
_GRACE_SECONDS: Final = 5
_TAIL: Final = 4096
_ADDRESS_LIMIT: Final = 103
_DESCRIPTORS: Final = Path("/proc/self/fd")


class Egress:
    """One attempt's way out, open inside the block. *folder* gets the socket, *record* the refusals; both are ours."""

    def __init__(self, folder: Path, record: Path, *, allow: Sequence[str], allow_private: Sequence[str]) -> None:
        self._folder = folder
        self._path = record
        self._allow = tuple(allow)
        self._allow_private = tuple(allow_private)

    def __enter__(self) -> Self:
        """Listen. Raises: ConfigError for an entry that is none; SandboxError."""
        try:
            policy.parse(self._allow, private=self._allow_private)
        except ValueError as error:
            raise ConfigError(f"allow: {error}") from error
        with contextlib.ExitStack() as stack:
            self._record = _open_record(self._path)
            stack.callback(os.close, self._record)
            self._listener = stack.enter_context(_listening(self._folder))
            self._told, self._tell = os.pipe()
            stack.callback(os.close, self._told)
            stack.callback(os.close, self._tell)
            context = contextvars.copy_context()  # so that its log lines name the task
            thread = threading.Thread(target=context.run, args=(self._watch,), name="egress", daemon=True)
            thread.start()
            stack.callback(thread.join)
            stack.callback(os.write, self._tell, b"x")
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the forwarder and wait for it; the socket goes, the record stays."""
        self._stack.close()

    def refused(self) -> tuple[RefusedHost, ...]:
        """Return what was refused by now, grouped, the first seen first, at most 100. Raises: SandboxError."""
        try:
            return record.read(self._path)
        except OSError as error:
            raise SandboxError(f"cannot read {self._path}: {error.strerror}") from error

    def _watch(self) -> None:
        for _ in range(_STARTS):
            if self._wait_for(self._listener) or not self._run():
                return
        log.error("egress.gave_up", starts=_STARTS, socket=str(self._folder / PROXY_SOCKET))
        self._listener.close()

    def _wait_for(self, source: socket.socket | IO[bytes]) -> bool:
        """Wait until *source* can be read; return whether the end was told instead."""
        poll = select.poll()
        poll.register(source, select.POLLIN)
        poll.register(self._told, select.POLLIN)
        return any(descriptor == self._told for descriptor, _ in poll.poll())

    def _run(self) -> bool:
        """Run a forwarder to its end; return whether it ended by itself."""
        try:
            process = self._start()
        except OSError as error:
            log.warning("egress.not_started", error=str(error))
            return True
        with process:
            said = self._follow(process)
            if said is None:
                _end(process)
                return False
        log.warning("egress.died", code=process.returncode, said=said.decode("utf-8", "replace"))
        return True

    def _start(self) -> "subprocess.Popen[bytes]":
        wanted = json.dumps({"allow": self._allow, "allow_private": self._allow_private})
        descriptors = (self._listener.fileno(), self._record)
        process = subprocess.Popen(  # noqa: S603 - our own program and arguments
            [sys.executable, "-I", "-m", _MODULE, *map(str, descriptors)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            bufsize=0,
            cwd="/",
            env={"PATH": os.defpath, "LANG": "C.UTF-8"},
            pass_fds=descriptors,
            start_new_session=True,
        )
        with contextlib.suppress(BrokenPipeError):  # then it died, which is seen where it is followed
            _stream(process.stdin).write(wanted.encode("ascii") + b"\n")
        return process

    def _follow(self, process: "subprocess.Popen[bytes]") -> bytes | None:
        """Wait for the forwarder's end; return the last that it said, or None when it is we who end it."""
        said = b""
        complaints = _stream(process.stderr)
        while not self._wait_for(complaints):
            chunk = os.read(complaints.fileno(), _TAIL)
            if not chunk:
                return said
            said = (said + chunk)[-_TAIL:]
        return None


def _end(process: "subprocess.Popen[bytes]") -> None:
    _stream(process.stdin).close()
    try:
        process.wait(_GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()


def _stream(stream: IO[bytes] | None) -> IO[bytes]:
    if stream is None:
        raise ValueError("the forwarder was started without this pipe")
    return stream


def _open_record(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise SandboxError(f"cannot write {path}: {error.strerror}") from error


@contextlib.contextmanager
def _listening(folder: Path) -> Iterator[socket.socket]:
    """Listen on the socket in *folder*, which every user may pass and nobody else may list; then remove it."""
    try:
        folder.mkdir(mode=0o711, exist_ok=True)
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise SandboxError(f"cannot use {folder}: {error.strerror}") from error
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, opened)
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        address = _short_address(folder, opened)
        stack.callback(_remove, opened)
        try:
            os.fchmod(opened, 0o711)
            _remove(opened)
            listener.bind(address)
            os.chmod(PROXY_SOCKET, 0o666, dir_fd=opened)  # noqa: S103 - whatever uid the sandbox has may connect
            listener.listen(_BACKLOG)
        except OSError as error:
            raise SandboxError(f"cannot listen in {folder}: {error.strerror}") from error
        yield listener


def _short_address(folder: Path, opened: int) -> str:
    """Return a path of the socket that fits into a socket address, however deep *folder* is."""
    through = _DESCRIPTORS / str(opened)
    if through.exists():
        return str(through / PROXY_SOCKET)
    address = str(folder / PROXY_SOCKET)
    if len(os.fsencode(address)) > _ADDRESS_LIMIT:
        raise SandboxError(f"the path {address} is too long for a socket; choose a shorter state folder")
    return address


def _remove(opened: int) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(PROXY_SOCKET, dir_fd=opened)
