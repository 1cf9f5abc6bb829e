"""The host's end of the conversation with one `taskq-guest serve`, over any stream of bytes.

Guarantees: `run` behaves as `core.ports.Sandbox.run`: it returns or raises, and when it returns, no process that the
command started is left. Memory does not grow with output: what is not taken stays with the guest and the command.
Not responsible for: where the stream comes from, and what is left when it is lost; who opened it ends the guest.
"""

import contextlib
import errno
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Final, Protocol

from orchestration.adapters.sandbox.guest.deadline import Deadline
from orchestration.adapters.sandbox.guest.protocol import (
    CHUNK_LIMIT,
    VERSION,
    Decoder,
    Ended,
    Failed,
    Hello,
    MalformedFrameError,
    Message,
    Taken,
    UnrunnableError,
    Written,
    encode_end,
    encode_run,
    encode_stdin,
)
from orchestration.core.errors import SandboxError
from orchestration.core.ports import Command, Exit, Output, Stream

START: Final = timedelta(seconds=60)
"""How long a guest may take to start on a machine that is very busy."""
_NO_SUCH_PROGRAM: Final = 127
_CANNOT_RUN: Final = 126


class ByteStream(Protocol):
    """A two-way stream of bytes to a guest: an exec of an engine, a serial port, a socket."""

    def send(self, content: bytes) -> None:
        """Send all of *content*; from one thread at a time. Raises: OSError when the other side is gone."""
        ...

    def receive(self) -> bytes:
        """Wait for bytes and return what came; none at the end. Raises: OSError when the other side is gone."""
        ...

    def close(self) -> None:
        """End it, from any thread, any number of times: a `send` or `receive` that waits returns or raises."""
        ...


class Terminal(Protocol):
    """A person's terminal."""

    def size(self) -> os.terminal_size:
        """Return how large it is now."""
        ...

    def show(self, stream: Stream, content: bytes) -> None:
        """Write what the program says."""
        ...

    def joined(self, say: Callable[[bytes], None]) -> contextlib.AbstractContextManager[Callable[[], object]]:
        """Give what is typed, and each new size, as frames to *say* while the block lasts; yield what takes each ``a``.

        *say* raises SandboxError when the guest is lost.
        """
        ...


class GuestSession:
    """One guest; it runs one command at a time. *grace* is how long, past its time limit, a command's death may take.

    It owns *stream*. Raises, when made: SandboxError (``guest_lost``) for a guest that does not say hello, and
    (``image_unfit``) for one of another version.
    """

    def __init__(self, stream: ByteStream, *, grace: timedelta, start: timedelta = START) -> None:
        self._stream = stream
        self._grace = grace.total_seconds()
        self._decoder = Decoder()
        self._turn = threading.Lock()
        self._speaking = threading.Lock()
        self._running: Deadline | None = None
        self._is_stopped = False
        self._losing = threading.Lock()
        self._lost: tuple[str, str] | None = None
        self._greet(start)

    @property
    def is_lost(self) -> bool:
        """Whether the guest is known to be gone, or was given up."""
        return self._lost is not None

    def run(self, command: Command, output: Output, *, environment: Mapping[str, str], cwd: str) -> Exit:
        """Run *command* in the folder *cwd* with *environment* and its own variables, as `Sandbox.run`.

        What *output* raises ends the command first. An unknown program is exit code 127, one that cannot be run 126,
        each with a line on stderr, as a shell would have it.
        Raises: SandboxError (``sandbox_stopped``, ``guest_lost``, ``sandbox`` when no process can be started, or when
        the command outlives its time limit).
        """
        with self._turn:
            self._check()
            try:
                request = encode_run(command.argv, {**environment, **command.env}, cwd, command.timeout)
            except UnrunnableError as error:
                return _refused(" ".join(command.argv[:1]), str(error), output)
            with self._started(command, request) as deadline:
                chunks = _chunks(command.stdin)
                self._say(next(chunks))
                answer = self._attend(lambda: self._say(next(chunks, b"")), output, deadline)
        return _exit(answer, command.argv[0], cwd, output)

    def interact(self, command: Command, terminal: Terminal, *, environment: Mapping[str, str], cwd: str) -> Exit:
        """Run *command* as `run`, on a terminal of its own that is joined to the person's; its *stdin* is not used."""
        with self._turn:
            self._check()
            variables = {**environment, **command.env}
            try:
                request = encode_run(command.argv, variables, cwd, command.timeout, terminal=terminal.size())
            except UnrunnableError as error:
                return _refused(" ".join(command.argv[:1]), str(error), terminal.show)
            with self._started(command, request) as deadline, terminal.joined(self._say) as taken:
                answer = self._attend(taken, terminal.show, deadline)
        return _exit(answer, command.argv[0], cwd, terminal.show)

    def stop(self) -> None:
        """End what runs, from any thread; its `run` returns with ``stopped``. Later runs refuse."""
        self._is_stopped = True
        if self._speaking.acquire(timeout=self._grace):
            try:
                self._end_running()
            finally:
                self._speaking.release()
        else:
            self._lose("the sandbox's guest takes no more requests")

    def close(self) -> None:
        """Hang up, from any thread: the guest ends all of its processes and then itself."""
        self._lose("the sandbox was closed")

    def _greet(self, patience: timedelta) -> None:
        try:
            with Deadline(patience.total_seconds(), lambda: self._lose("the sandbox's guest did not start in time")):
                first = self._next()
        except BaseException:
            self.close()
            raise
        match first:
            case Hello(version) if version == VERSION:
                return
            case Hello(version):
                why = f"the sandbox's guest is of version {version}, not {VERSION}; make its image anew with: "
                raise self._lose(f"{why}taskq build-image", code="image_unfit")
            case _:
                raise self._lose(f"the sandbox's guest speaks another language: {first}")

    def _check(self) -> None:
        if self._is_stopped:
            raise SandboxError("the sandbox was stopped and runs no more commands", code="sandbox_stopped")
        if self._lost is not None:
            raise _error(self._lost)

    @contextlib.contextmanager
    def _started(self, command: Command, request: bytes) -> Iterator[Deadline]:
        """Have the command run for a block; if the block fails, the command is ended before the error goes on."""
        limit = command.timeout.total_seconds() + self._grace
        with Deadline(limit, self._give_up) as deadline:
            try:
                with self._speaking:
                    self._check()
                    self._running = deadline
                    self._send(request)
                yield deadline
            except BaseException:
                if self._running is not None:
                    self._abandon()
                raise
            finally:
                self._running = None

    def _attend(self, feed: Callable[[], object], output: Output, deadline: Deadline) -> Ended | Failed:
        """Carry bytes until the guest says that the command's whole tree is dead; *feed* follows up taken stdin."""
        while True:
            message = self._next()
            match message:
                case Written():
                    with deadline.paused():
                        output(message.stream, message.content)
                case Taken():
                    if message.is_open:
                        feed()
                case Ended() | Failed():
                    return message
                case Hello():
                    raise self._lose("the sandbox's guest said hello again")

    def _abandon(self) -> None:
        """End a command that nobody attends any more, so that the next one meets a quiet sandbox."""
        try:
            with self._speaking:
                self._end_running()
            while not isinstance(self._next(), Ended | Failed):
                pass
        except SandboxError:
            return  # the guest is lost, which every later run says; the error that brought us here goes on
        except BaseException:
            self.close()
            raise

    def _end_running(self) -> None:
        """Ask for the end of what runs, and wait no longer than the grace for it; `_speaking` is held."""
        if self._running is not None and self._lost is None:
            self._running.bring_forward(self._grace)
            with contextlib.suppress(SandboxError):  # then the run says so
                self._send(encode_end())

    def _say(self, frame: bytes) -> None:
        with self._speaking:
            self._send(frame)

    def _send(self, frame: bytes) -> None:
        try:
            self._stream.send(frame)
        except OSError as error:
            raise self._lose(_gone(error)) from error

    def _next(self) -> Message:
        try:
            while (message := self._decoder.next()) is None:
                if self._lost is not None:
                    raise _error(self._lost)
                content = self._stream.receive()
                if not content:
                    raise self._lose(_gone(None))
                self._decoder.feed(content)
        except OSError as error:
            raise self._lose(_gone(error)) from error
        except MalformedFrameError as error:
            raise self._lose(f"the sandbox's guest sent {error}; its processes cannot be told to end") from error
        return message

    def _give_up(self) -> None:
        self._lose("a command outlived its time; its processes could not be ended", code="sandbox")

    def _lose(self, why: str, *, code: str = "guest_lost") -> SandboxError:
        """Give the guest up; return the reason, which is the first one that was given."""
        with self._losing:
            if self._lost is None:
                self._lost = (why, code)
        self._stream.close()
        return _error(self._lost)


def _chunks(stdin: bytes) -> Iterator[bytes]:
    """Yield the frames of *stdin*, each to be sent when the one before was taken; the last one says that it is over."""
    whole = memoryview(stdin)
    for start in range(0, len(whole), CHUNK_LIMIT):
        yield encode_stdin(whole[start : start + CHUNK_LIMIT])
    yield encode_stdin(b"")


def _error(lost: tuple[str, str]) -> SandboxError:
    return SandboxError(lost[0], code=lost[1])


def _gone(error: OSError | None) -> str:
    why = f" ({error.strerror or error})" if error is not None else ""
    return f"the sandbox's guest is gone{why}; retry the task"


def _refused(
    program: str, why: str, output: Output, *, code: int = _CANNOT_RUN, elapsed: timedelta = timedelta(0)
) -> Exit:
    output("stderr", f"taskq: cannot run {program!a}: {why}\n".encode("ascii"))
    return Exit(code=code, elapsed=elapsed)


def _exit(answer: Ended | Failed, program: str, cwd: str, output: Output) -> Exit:
    if isinstance(answer, Ended):
        return Exit(
            code=answer.code,
            signal=answer.signal,
            timed_out=answer.timed_out,
            stopped=answer.stopped,
            elapsed=answer.elapsed,
        )
    if answer.tried == "process":
        raise SandboxError(f"the sandbox cannot start a process: {answer.why}")
    tried = program if answer.tried == "program" else cwd
    is_missing = answer.tried == "program" and answer.number == errno.ENOENT
    code = _NO_SUCH_PROGRAM if is_missing else _CANNOT_RUN
    return _refused(tried, answer.why, output, code=code, elapsed=answer.elapsed)
