"""One short git process without ``subprocess``, whose import alone is a tenth of what `taskq add` may take.

Guarantees: no shell, no inherited descriptor but /dev/null and our pipes, a time limit, bounded output.
Not responsible for: anything that runs longer than a look; see ``command``.
"""

import os
import select
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final

SIGKILL: Final = 9
OUTPUT_LIMIT: Final = 1 << 20


def ask(argv: Sequence[str], *, environment: Mapping[str, str], seconds: float) -> tuple[int, bytes, bytes]:
    """Run *argv*, whose program is an absolute path, with no input; return its exit code, stdout and stderr.

    The code is minus the signal's number when a signal ended it.
    Raises: TimeoutError after *seconds*, with the process ended; OSError when it cannot be started.
    """
    pipes = os.pipe(), os.pipe()
    actions = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)]
    redirections = [(os.POSIX_SPAWN_DUP2, pipes[0][1], 1), (os.POSIX_SPAWN_DUP2, pipes[1][1], 2)]
    try:
        pid = os.posix_spawn(argv[0], list(argv), environment, file_actions=[*actions, *redirections])
    except OSError:
        for descriptor in (*pipes[0], *pipes[1]):
            os.close(descriptor)
        raise
    for _, write_end in pipes:
        os.close(write_end)
    outputs = {read_end: b"" for read_end, _ in pipes}
    try:
        _drain(outputs, deadline=time.monotonic() + seconds)
        _, status = os.waitpid(pid, 0)
    except BaseException:
        with suppress(ProcessLookupError):
            os.kill(pid, SIGKILL)
        os.waitpid(pid, 0)
        raise
    finally:
        for read_end in outputs:
            os.close(read_end)
    stdout, stderr = outputs.values()
    return os.waitstatus_to_exitcode(status), stdout, stderr


def _drain(outputs: dict[int, bytes], *, deadline: float) -> None:
    """Read all pipes to their end, keeping the first OUTPUT_LIMIT bytes of each. Raises: TimeoutError."""
    poller = select.poll()
    for descriptor in outputs:
        poller.register(descriptor, select.POLLIN | select.POLLHUP)
    waiting = set(outputs)
    while waiting:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        for descriptor, _ in poller.poll(left * 1000):
            chunk = os.read(descriptor, 1 << 16)
            if chunk:
                outputs[descriptor] = (outputs[descriptor] + chunk)[:OUTPUT_LIMIT]
            else:
                poller.unregister(descriptor)
                waiting.discard(descriptor)
