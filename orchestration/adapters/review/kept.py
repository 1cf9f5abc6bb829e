"""Runs a program of the host that ends with us: ``python -I -m orchestration.adapters.review.kept PROGRAM [ARGUMENT]``.

Guarantees: the program, and what is left of its process group, ends when our stdin does, so also when whoever started
us was killed; its exit code is ours. It gets our environment, and nothing on its stdin.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import Final

MODULE: Final = "orchestration.adapters.review.kept"
_GRACE: Final = 3.0
"""Seconds from the first, polite signal to the last one."""
_STOPS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main(argv: Sequence[str]) -> int:
    """Run *argv* until it ends, or until our stdin does."""
    for number in _STOPS:  # a terminal's Ctrl-C is for whoever started us, and who then ends our stdin
        signal.signal(number, signal.SIG_IGN)
    program = subprocess.Popen(  # noqa: S603 - what whoever started us wants to have kept
        argv,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=_heed_signals,  # noqa: PLW1509
    )
    threading.Thread(target=_end_with_stdin, args=(program,), daemon=True).start()
    code = program.wait()
    _signal(program, signal.SIGKILL)
    return code if code >= 0 else 128 - code


def _heed_signals() -> None:
    for number in _STOPS:
        signal.signal(number, signal.SIG_DFL)


def _end_with_stdin(program: "subprocess.Popen[bytes]") -> None:
    while os.read(0, 4096):
        pass
    _signal(program, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        program.wait(_GRACE)
    _signal(program, signal.SIGKILL)


def _signal(program: "subprocess.Popen[bytes]", number: signal.Signals) -> None:
    """Signal the program's process group, which is its own."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(program.pid, number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
