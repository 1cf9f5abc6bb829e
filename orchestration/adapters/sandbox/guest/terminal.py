"""A person's terminal, joined to a program that runs on a terminal of its own in a sandbox.

Guarantees: the person's terminal is as it was when the block is left, however that happens; every key goes inside,
Ctrl-C with all others; a terminal that hangs up ends the program.
"""

import contextlib
import os
import select
import termios
import threading
import tty
from collections.abc import Callable, Iterator
from typing import Final

from orchestration.adapters.sandbox.guest.protocol import encode_end, encode_resize, encode_stdin
from orchestration.core.errors import SandboxError
from orchestration.core.ports import Stream

_LOOK_MS: Final = 100
"""How often the size is looked at: unlike the signal of a change, that works in every thread and sets nothing up."""
_KEYS: Final = 4096
_TAKEN: Final = b"t"
_OVER: Final = b"o"
_PLAIN_SCREEN: Final = b"\x1b[<u\x1b[?1047l\x1b[?1000;1002;1003;1004;1006;2004l\x1b[?25h\x1b[0m\r\n"
"""Takes back what a full-screen program sets: keyboard, second screen, mouse, focus, pasting, hidden cursor."""


class PersonsTerminal:
    """See `guest.session.Terminal`. The descriptors stay the caller's; *stdin* is a terminal."""

    def __init__(self, stdin: int, stdout: int) -> None:
        self._stdin = stdin
        self._stdout = stdout

    @contextlib.contextmanager
    def raw(self) -> Iterator[Callable[[], None]]:
        """Have every key come as it is typed, and none be shown, while the block lasts. Raises: SandboxError.

        Unless what it yields was called before the end, the program had no time to tidy up the screen: then we do.
        """
        try:
            before = termios.tcgetattr(self._stdin)
            tty.setraw(self._stdin)
        except termios.error as error:
            raise SandboxError("there is no terminal to join; run it on one", code="no_terminal") from error
        tidied = threading.Event()
        try:
            yield tidied.set
        finally:
            with contextlib.suppress(OSError):  # of one that has hung up
                if not tidied.is_set():
                    os.write(self._stdout, _PLAIN_SCREEN)
            with contextlib.suppress(termios.error):
                termios.tcsetattr(self._stdin, termios.TCSADRAIN, before)

    def size(self) -> os.terminal_size:
        """Return how large it is now. Raises: OSError when it has hung up."""
        return os.get_terminal_size(self._stdin)

    def show(self, _stream: Stream, content: bytes) -> None:
        """Write what the program says. Raises: SandboxError when the terminal has hung up."""
        left = memoryview(content)
        try:
            while left:
                left = left[os.write(self._stdout, left) :]
        except OSError as error:
            raise SandboxError(f"the terminal is gone: {error.strerror}", code="terminal_gone") from error

    @contextlib.contextmanager
    def joined(self, say: Callable[[bytes], None]) -> Iterator[Callable[[], object]]:
        """See `guest.session.Terminal.joined`."""
        told, tell = os.pipe()
        thread = threading.Thread(target=self._listen, args=(say, told), name="taskq-terminal", daemon=True)
        try:
            thread.start()
            try:
                yield lambda: os.write(tell, _TAKEN)
            finally:
                os.write(tell, _OVER)
                thread.join()
        finally:
            os.close(told)
            os.close(tell)

    def _listen(self, say: Callable[[bytes], None], told: int) -> None:
        with contextlib.suppress(SandboxError):  # of a guest that is lost, which its session knows
            try:
                self._carry(say, told)
            except OSError:
                say(encode_end())

    def _carry(self, say: Callable[[bytes], None], told: int) -> None:
        """Say what happens, keys only when those before were taken. Raises: OSError when the terminal has hung up."""
        waits = select.poll()
        waits.register(told, select.POLLIN)
        waits.register(self._stdin, select.POLLIN)
        known = None
        while True:
            ready = {descriptor for descriptor, _ in waits.poll(_LOOK_MS)}
            if told in ready:
                if _OVER in os.read(told, 2):
                    return
                waits.register(self._stdin, select.POLLIN)
            elif self._stdin in ready:
                keys = os.read(self._stdin, _KEYS)
                if not keys:
                    raise OSError("it has ended")
                waits.unregister(self._stdin)
                say(encode_stdin(keys))
            if (size := self.size()) != known:
                known = size
                say(encode_resize(size))
