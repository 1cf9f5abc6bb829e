"""What a crash left: processes of ours whose environment carries an attempt's marks, and what they started.

Guarantees: only processes of this user with exactly the marks asked for, and their descendants; never the caller or its
ancestors; each one is named by pid and start, so that a recycled pid is no target.
Not responsible for: a process that has dropped its environment *and* lost its supervisor *and* runs without bubblewrap;
nothing that it cannot shed tells it from the operator's own.
"""

import os
import signal
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from orchestration.adapters.sandbox.environment import marks
from orchestration.core.errors import SandboxError
from orchestration.support.processes import PROC, Process, ancestry, family, owner, processes, send_signal

_PAUSE: Final = 0.01


def end_leftovers(labels: Mapping[str, str], *, patience: timedelta) -> int:
    """Kill every process with *labels* and every descendant of one; return how many there were.

    Raises: SandboxError when some are still there after *patience*; ValueError for no label or an unknown one.
    """
    if not labels:
        raise ValueError("without a label, everything would be a leftover")
    wanted = frozenset(f"{name}={value}".encode() for name, value in marks(labels, kind="local").items())
    deadline = time.monotonic() + patience.total_seconds()
    ended: set[tuple[int, str]] = set()
    while found := _freeze(wanted, ended, deadline):
        for each in found:
            send_signal(each, signal.SIGKILL)
            ended.add(each.key)
        if time.monotonic() > deadline:
            pids = ", ".join(str(each.pid) for each in found)
            raise SandboxError(f"processes {pids} do not die; a person must look at them")
        time.sleep(_PAUSE)
    return len(ended)


def _freeze(wanted: frozenset[bytes], killed: set[tuple[int, str]], deadline: float) -> set[Process]:
    """Stop and return all that is to die; what is stopped cannot fork away from the list that we hold."""
    frozen: set[tuple[int, str]] = set()
    while True:
        found = _find(wanted, killed)
        new = [each for each in found if each.key not in frozen]
        for each in new:
            send_signal(each, signal.SIGSTOP)
            frozen.add(each.key)
        if not new or time.monotonic() > deadline:
            return found


def _find(wanted: frozenset[bytes], killed: set[tuple[int, str]]) -> set[Process]:
    """Return the living among what carries the marks or was killed for it, and their descendants."""
    everyone = processes()
    spared = ancestry(os.getpid(), everyone)
    roots = {
        pid: each
        for pid, each in everyone.items()
        if pid not in spared and (each.key in killed or _carries(pid, wanted))
    }
    return {each for each in family(roots, everyone).values() if not each.is_dead and each.pid not in spared}


def _carries(pid: int, wanted: frozenset[bytes]) -> bool:
    """Whether the process has the marks: in its environment, or, as our supervisors hide theirs, as arguments."""
    folder = PROC / str(pid)
    try:
        if owner(pid) != os.getuid():
            return False
        if wanted <= frozenset((folder / "cmdline").read_bytes().split(b"\0")):
            return True
        return wanted <= frozenset((folder / "environ").read_bytes().split(b"\0"))
    except OSError:
        return False
