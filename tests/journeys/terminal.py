"""taskq on a terminal: a person who reads and types."""

import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from tests.journeys.shell import Taskq

PATIENCE = 60
PROMPT = "$ "
"""Of a shell in a sandbox."""


_START = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
"""Makes stdin the terminal whose Ctrl-C is for the command; a fork of this process, with its threads, would not do."""


class Terminal:
    """One command on a terminal of its own; *seen* is all that it showed. When the block is left, it is gone."""

    def __init__(self, taskq: Taskq, *arguments: str) -> None:
        self.seen = ""
        self._unread = ""
        self._terminal, theirs = pty.openpty()
        self._process = subprocess.Popen(
            [sys.executable, "-c", _START, sys.executable, "-m", "orchestration", *arguments],
            env={**taskq.environment, "TERM": "xterm"},
            cwd=taskq.cwd,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)

    @property
    def pid(self) -> int:
        """The command's process."""
        return self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._terminal)

    def expect(self, text: str) -> str:
        """Read until *text* was shown; return what came before it, since the last time."""
        deadline = time.monotonic() + PATIENCE
        while text not in self._unread:
            assert self._read(deadline - time.monotonic()), f"it ended without {text!r}: {self.seen}"
        before, _, self._unread = self._unread.partition(text)
        return before

    def type(self, keys: str) -> None:
        """Type *keys*."""
        os.write(self._terminal, keys.encode())

    def kill(self, number: signal.Signals) -> None:
        """Send the command a signal."""
        self._process.send_signal(number)

    def wait(self) -> int:
        """Read to the end; return the exit code, negative for a signal."""
        deadline = time.monotonic() + PATIENCE
        while self._read(deadline - time.monotonic()):
            pass
        return self._process.wait(PATIENCE)

    def _read(self, seconds: float) -> bool:
        """Read what comes next; False at the end."""
        ready, _, _ = select.select([self._terminal], [], [], max(seconds, 0))
        assert ready, f"nothing more came within {PATIENCE} s: {self.seen}"
        try:
            chunk = os.read(self._terminal, 1 << 16).decode("utf-8", "replace")
        except OSError:  # which is how a terminal says that nobody has it open any more
            return False
        self.seen += chunk
        self._unread += chunk
        return bool(chunk)


@contextmanager
def in_shell(taskq: Taskq, identifier: str) -> Iterator[Terminal]:
    """Open the task's sandbox with a shell, and wait until that is there."""
    with Terminal(taskq, "review", identifier, "--shell") as terminal:
        terminal.expect(PROMPT)
        yield terminal
