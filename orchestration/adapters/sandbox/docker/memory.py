"""Whether the kernel killed something in a container for want of memory, by the counter of its control group."""

import re
import signal
import threading
from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from orchestration.adapters.sandbox.guest.session import GuestSession
from orchestration.core.errors import SandboxError
from orchestration.core.ports import Command, Exit, Output

_KILLED: Final = 128 + signal.SIGKILL
_COUNT_KILLS: Final = "cat /sys/fs/cgroup/memory.events /sys/fs/cgroup/memory/memory.oom_control 2>/dev/null"
_KILLS: Final = re.compile(rb"^oom_kill (\d{1,9})$", re.MULTILINE)


class MemoryKills:
    """The counter of one container; asked from any thread. *grace* is how long the answer may take."""

    def __init__(self, environment: Mapping[str, str], grace: timedelta) -> None:
        self._environment = environment
        self._grace = grace
        self._known = 0
        self._looking = threading.Lock()

    def explain(self, ended: Exit, session: GuestSession, output: Output) -> None:
        """Say so on stderr when the kernel killed for want of memory what *ended*; *session*, now idle, is asked."""
        if ended.timed_out or ended.stopped or (ended.signal != signal.SIGKILL and ended.code != _KILLED):
            return
        if self._have_grown(session):
            output("stderr", b"taskq: the container ran out of its memory; raise limits.memory if that is right\n")

    def _have_grown(self, session: GuestSession) -> bool:
        with self._looking:
            try:
                kills = self._count(session)
            except SandboxError:  # stopped or lost meanwhile: how the command ended is known all the same
                return False
            has_grown = kills > self._known
            self._known = kills
            return has_grown

    def _count(self, session: GuestSession) -> int:
        """Return how often the kernel did so in the container's control group, of either version."""
        seen: list[bytes] = []
        command = Command(argv=("/bin/sh", "-c", _COUNT_KILLS), timeout=self._grace)
        session.run(command, lambda _stream, chunk: seen.append(chunk), environment=self._environment, cwd="/")
        found = _KILLS.search(b"".join(seen))
        return int(found[1]) if found is not None else 0
