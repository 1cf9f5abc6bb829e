"""Whether a program that was killed had run out of its sandbox's memory, as the kernel counts it."""

import re
from datetime import timedelta
from typing import Final

from orchestration.core.errors import SandboxError
from orchestration.core.ports import Command, Exit, Sandbox

_COUNT: Final = "cat /sys/fs/cgroup/memory.events /sys/fs/cgroup/memory/memory.oom_control 2>/dev/null"
_KILLS: Final = re.compile(rb"^oom_kill [1-9]", re.MULTILINE)
_PATIENCE: Final = timedelta(seconds=30)
_SIGKILL: Final = 9


def ran_out(sandbox: Sandbox, ended: Exit) -> bool:
    """Return whether the kernel killed something in *sandbox* for want of memory, when *ended* may tell of that."""
    if ended.stopped or ended.timed_out or (ended.signal != _SIGKILL and ended.code != 128 + _SIGKILL):
        return False
    seen: list[bytes] = []
    command = Command(argv=("/bin/sh", "-c", _COUNT), timeout=_PATIENCE)
    try:
        sandbox.run(command, lambda _stream, chunk: seen.append(chunk[:4096]))
    except SandboxError:  # it is gone: how the program ended is known all the same
        return False
    return _KILLS.search(b"".join(seen[:16])) is not None
