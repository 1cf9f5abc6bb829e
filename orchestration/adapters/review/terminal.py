"""A person on their own terminal, in the sandbox: a shell, or the agent's program in its session.

What is written there reaches the terminal as it is: a program that runs full screen cannot be shown otherwise.
"""

import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from orchestration.core.ports import Command
from orchestration.core.review import Visit

_LONGEST: Final = timedelta(days=7)
_SHOWN: Final = ("COLORTERM", "NO_COLOR")
"""What programs inside may know of the person's terminal."""
_SHELL: Final = ("/bin/sh", "-c", "if command -v bash >/dev/null; then exec bash; fi; exec sh")


@dataclass(frozen=True, slots=True, kw_only=True)
class Terminal:
    """Visitors for the terminal that stdin and stdout are; *environment* is the person's."""

    environment: Mapping[str, str]

    def shell(self, visit: Visit) -> None:
        """Give the person a shell until they leave it."""
        self._interact(visit, Command(argv=_SHELL, timeout=_LONGEST))

    def session(self, visit: Visit) -> None:
        """Give the person the agent's own program, in its session, until they leave it."""
        with visit.serve() as server:
            self._interact(visit, server.attach)

    def _interact(self, visit: Visit, command: Command) -> None:
        shown = {name: self.environment[name] for name in _SHOWN if name in self.environment}
        with _stopped_when_left(visit):
            command = replace(command, env={**shown, **command.env})
            visit.services.interact(command, stdin=sys.stdin.fileno(), stdout=sys.stdout.fileno())


@contextmanager
def _stopped_when_left(visit: Visit) -> Iterator[None]:
    """End what runs in the block once the person is to leave, as when this process gets a signal."""
    has_ended = threading.Event()

    def watch() -> None:
        visit.left.wait()
        if not has_ended.is_set():
            visit.stop()

    watcher = threading.Thread(target=watch, name="review-leave", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        has_ended.set()
        visit.left.set()
        watcher.join()
