"""A person at a terminal: a real one, of which the test holds the other end."""

import contextlib
import os
import pty
import select
import termios
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from orchestration.core.ports import Exit
from tests.adapters.sandbox.guest.guests import PATIENCE


@dataclass
class Person:
    """What is on the screen is *seen*; *terminal* is the descriptor that a program gets."""

    screen: int
    terminal: int
    seen: bytes = b""
    ended: list[Exit] = field(default_factory=list)
    failed: list[BaseException] = field(default_factory=list)

    def resize(self, rows: int, columns: int) -> None:
        termios.tcsetwinsize(self.screen, (rows, columns))

    def type(self, keys: bytes) -> None:
        left = memoryview(keys)
        while left:
            left = left[os.write(self.screen, left) :]

    def wait_for(self, text: bytes) -> bytes:
        """Read the screen until *text* is on it; return what came before and forget all of it."""
        deadline = time.monotonic() + PATIENCE.total_seconds()
        while text not in self.seen:
            assert time.monotonic() < deadline, self.seen[-500:]
            if select.select([self.screen], [], [], 0.1)[0]:
                self.seen += os.read(self.screen, 1 << 16)
        before, _, self.seen = self.seen.partition(text)
        return before

    def modes(self) -> list[object]:
        return termios.tcgetattr(self.terminal)

    @contextlib.contextmanager
    def using(self, program: Callable[[], Exit]) -> Iterator[None]:
        """Run *program* beside the block, which ends it; then *ended* or *failed* says how."""

        def run() -> None:
            try:
                self.ended.append(program())
            except BaseException as error:  # noqa: BLE001 - the test looks at it
                self.failed.append(error)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield
        deadline = time.monotonic() + PATIENCE.total_seconds()
        while thread.is_alive() and time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                if select.select([self.screen], [], [], 0.05)[0]:
                    self.seen += os.read(self.screen, 1 << 16)
        assert not thread.is_alive(), self.seen[-500:]


@contextlib.contextmanager
def at_a_terminal() -> Iterator[Person]:
    """Yield a person at a terminal of 24 rows and 80 columns."""
    screen, terminal = pty.openpty()
    person = Person(screen, terminal)
    person.resize(24, 80)
    try:
        yield person
    finally:
        for descriptor in (person.screen, person.terminal):
            with contextlib.suppress(OSError):
                os.close(descriptor)
