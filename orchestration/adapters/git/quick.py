"""One short git process without ``subprocess``, whose import alone is a twentieth of what `taskq add` may take.

Guarantees: no shell, none of the descriptors that Python opened, no input, a time limit, bounded output; leaving the
block leaves no process.
Not responsible for: anything that runs longer than a look; see ``command``.
"""

import os
import select
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

SIGKILL: Final = 9
RESTORED: Final = (13, 25)
"""SIGPIPE and SIGXFSZ, which Python ignores and a child should not."""
OUTPUT_LIMIT: Final = 1 << 20


class Question:
    """A process that answers while we do something else; use as a context manager.

    Raises: OSError when *argv*, whose program is an absolute path, cannot be started.
    """

    def __init__(self, argv: Sequence[str], *, environment: Mapping[str, str]) -> None:
        pipes = os.pipe(), os.pipe()
        self._outputs = {read_end: b"" for read_end, _ in pipes}
        actions = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)]
        redirections = [(os.POSIX_SPAWN_DUP2, pipes[0][1], 1), (os.POSIX_SPAWN_DUP2, pipes[1][1], 2)]
        self._pid: int | None = None
        try:
            self._pid = os.posix_spawn(
                argv[0], list(argv), environment, file_actions=[*actions, *redirections], setsigdef=RESTORED
            )
        except OSError:
            self._close()
            raise
        finally:
            for _, write_end in pipes:
                os.close(write_end)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pid is not None:
            with suppress(ProcessLookupError):
                os.kill(self._pid, SIGKILL)
            os.waitpid(self._pid, 0)
            self._pid = None
        self._close()

    def answer(self, *, seconds: float) -> tuple[int, bytes, bytes]:
        """Return exit code (minus the number of the signal that ended it), stdout and stderr.

        Raises: TimeoutError after *seconds*.
        """
        if self._pid is None:
            raise ValueError("it has answered already")
        self._drain(deadline=time.monotonic() + seconds)
        _, status = os.waitpid(self._pid, 0)
        self._pid = None
        stdout, stderr = self._outputs.values()
        return os.waitstatus_to_exitcode(status), stdout, stderr

    def _drain(self, *, deadline: float) -> None:
        """Read both pipes to their end, keeping the first OUTPUT_LIMIT bytes of each. Raises: TimeoutError."""
        poller = select.poll()
        for descriptor in self._outputs:
            poller.register(descriptor, select.POLLIN | select.POLLHUP)
        waiting = set(self._outputs)
        while waiting:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            for descriptor, _ in poller.poll(left * 1000):
                chunk = os.read(descriptor, 1 << 16)
                if chunk:
                    self._outputs[descriptor] = (self._outputs[descriptor] + chunk)[:OUTPUT_LIMIT]
                else:
                    poller.unregister(descriptor)
                    waiting.discard(descriptor)

    def _close(self) -> None:
        for read_end in self._outputs:
            os.close(read_end)
