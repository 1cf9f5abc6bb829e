"""The one way to run git on the host, over repositories named by their git dir.

Guarantees: no discovery, no inherited environment, a time limit that ends every descendant, bounded output.
Not responsible for: checking arguments; refs, paths and ids are checked before they come here.

No library between: see ``docs/decisions/0007-git-as-a-process.md``.
"""

import os
import select
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Generator, Mapping
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO, Final

from orchestration.adapters.git.environment import host_environment, operator_environment, walled
from orchestration.adapters.git.escape import last_line, shown
from orchestration.core.errors import GitError

_CHUNK: Final = 256 * 1024
_STDERR_KEPT: Final = 16 * 1024
OUTPUT_LIMIT: Final = 256 * 1024**2


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where git works: always an explicit git dir, and a work tree and index only where they are wanted."""

    git_dir: Path
    work_tree: Path | None = None
    index: Path | None = None

    @property
    def environment(self) -> Mapping[str, str]:
        """Return the variables that say so."""
        chosen = {"GIT_DIR": self.git_dir, "GIT_WORK_TREE": self.work_tree, "GIT_INDEX_FILE": self.index}
        return {name: str(path) for name, path in chosen.items() if path is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What git said."""

    code: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        """Return the output without its last newline; bytes that are no UTF-8 survive as surrogates."""
        return self.stdout.decode("utf-8", "surrogateescape").removesuffix("\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class HostGit:
    """git with nothing of the operator's or an agent's around it. *home* is an empty folder of ours."""

    home: Path
    name: str
    email: str
    timeout: timedelta = timedelta(minutes=30)

    def run(
        self,
        place: Place,
        *arguments: str,
        stdin: bytes | BinaryIO = b"",
        config: tuple[str, ...] = (),
        expected: Collection[int] = (0,),
        limit: int = OUTPUT_LIMIT,
        memory: int | None = None,
    ) -> Answer:
        """Run git to its end; *memory* bounds the address space in bytes, for input that may be a bomb.

        Raises: GitError when it ends with a code that is not *expected*, takes too long or says more than *limit*.
        """
        command = _bounded(walled(arguments, config), memory)
        process = self._start(place, arguments[0], command, stdin)
        parts: list[bytes] = []
        with closing(process.chunks()) as chunks:
            size = 0
            for chunk in chunks:
                size += len(chunk)
                if size > limit:
                    raise GitError(f"git {arguments[0]} wrote more than {limit} bytes", code="git_output")
                parts.append(chunk)
        return process.answer(b"".join(parts), expected, place)

    def stream(
        self, place: Place, *arguments: str, stdin: bytes = b"", config: tuple[str, ...] = ()
    ) -> Generator[bytes, None, None]:
        """Yield git's output as it comes; closing the generator ends git.

        Raises: GitError, also after the last chunk, when git failed.
        """
        process = self._start(place, arguments[0], walled(arguments, config), stdin)
        yield from process.chunks()
        process.answer(b"", (0,), place)

    def operator(self, place: Place, *arguments: str, expected: Collection[int] = (0,)) -> Answer:
        """Run git as `run` does, but with the operator's own configuration in view: for reading settings only."""
        environment = {**operator_environment(), **place.environment}
        process = self._spawn(environment, arguments[0], walled(arguments), b"")
        with closing(process.chunks()) as chunks:
            output = b"".join(chunks)
        return process.answer(output, expected, place)

    def _start(self, place: Place, verb: str, command: list[str], stdin: bytes | BinaryIO) -> "_Process":
        who = {
            f"GIT_{role}_{part}": value
            for role in ("AUTHOR", "COMMITTER")
            for part, value in (("NAME", self.name), ("EMAIL", self.email))
        }
        return self._spawn({**host_environment(self.home), **who, **place.environment}, verb, command, stdin)

    def _spawn(
        self, environment: Mapping[str, str], verb: str, command: list[str], stdin: bytes | BinaryIO
    ) -> "_Process":
        if not self.home.is_dir():
            self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        with ExitStack() as stack:
            source: BinaryIO | int = subprocess.DEVNULL
            if not isinstance(stdin, bytes):
                source = stdin
            elif stdin:
                source = stack.enter_context(tempfile.TemporaryFile())
                source.write(stdin)
                source.seek(0)
            try:
                started = subprocess.Popen(  # noqa: S603 - no shell, and `walled` wrote it
                    command,
                    stdin=source,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    cwd=self.home,
                    env=environment,
                    start_new_session=True,
                )
            except OSError as error:
                raise GitError(f"git cannot be started: {error.strerror}", code="git_missing") from error
        return _Process(started, verb, self.timeout)


def _bounded(command: list[str], memory: int | None) -> list[str]:
    """Return *command* under a limit of its address space; a system without that limit runs it as it is."""
    if memory is None:
        return command
    return ["/bin/sh", "-c", 'ulimit -v "$0" 2>/dev/null; exec "$@"', str(memory // 1024), *command]


class _Process:
    """A running git: its output in chunks, its stderr's tail, its end within the time limit."""

    def __init__(self, process: "subprocess.Popen[bytes]", verb: str, timeout: timedelta) -> None:
        self._process = process
        self._verb = verb
        self._deadline = time.monotonic() + timeout.total_seconds()
        self._stderr = b""

    def chunks(self) -> Generator[bytes, None, None]:
        """Yield stdout; however this generator is left, no process of git's group is left."""
        try:
            yield from self._pump()
            self._await_end()
        except (TimeoutError, subprocess.TimeoutExpired):
            raise GitError(f"git {self._verb} took too long and was ended", code="git_timeout") from None
        finally:
            self._end()

    def answer(self, stdout: bytes, expected: Collection[int], place: Place) -> Answer:
        """Return what was said; GitError when the exit code is none of *expected*."""
        code = self._process.returncode
        if code not in expected:
            raise GitError(f"git {self._verb} failed in {shown(str(place.git_dir))}: {last_line(self._stderr)}")
        return Answer(code=code, stdout=stdout, stderr=self._stderr)

    def _pump(self) -> Generator[bytes, None, None]:
        with selectors.DefaultSelector() as selector:
            for stream in (self._process.stdout, self._process.stderr):
                if stream is not None:
                    selector.register(stream, selectors.EVENT_READ)
            while selector.get_map():
                ready = selector.select(max(0.0, self._deadline - time.monotonic()))
                if not ready:
                    raise TimeoutError
                for key, _ in ready:
                    chunk = os.read(key.fd, _CHUNK)
                    if not chunk:
                        selector.unregister(key.fileobj)
                    elif key.fileobj is self._process.stdout:
                        yield chunk
                    else:
                        self._stderr = (self._stderr + chunk)[-_STDERR_KEPT:]

    def _await_end(self) -> None:
        """Wait for what has closed its output; where the system can tell of an end, without looking again and again."""
        if sys.platform == "linux":
            ending = os.pidfd_open(self._process.pid)
            try:
                select.select([ending], [], [], max(0.0, self._deadline - time.monotonic()))
            finally:
                os.close(ending)
        self._process.wait(max(0.0, self._deadline - time.monotonic()))

    def _end(self) -> None:
        if self._process.poll() is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()
