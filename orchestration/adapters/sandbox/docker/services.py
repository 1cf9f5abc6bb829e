"""What goes on in a container beside its commands: each service, terminal and connection is a process of the engine's.

Guarantees: a service or terminal has a guest of its own, so that its end is the end of its whole tree; all end when the
container does, which is when the runner dies; their variables are in no setting of the container.
"""

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from typing import Final
from weakref import WeakSet

from orchestration.adapters.sandbox.docker.container import GUEST, INSIDE
from orchestration.adapters.sandbox.docker.keeper import Keeper
from orchestration.adapters.sandbox.docker.memory import MemoryKills
from orchestration.adapters.sandbox.docker.transport import EngineStream
from orchestration.adapters.sandbox.guest.session import GuestSession
from orchestration.adapters.sandbox.guest.terminal import PersonsTerminal
from orchestration.core.errors import SandboxError
from orchestration.core.ports import Command, Connection, Exit, Output, discard_output

_TERMINAL: Final = "xterm-256color"


class DockerService:
    """See `core.ports.Service`; it ends with *guest*. What its output raises ends it, and comes out of `stop`."""

    def __init__(self, guest: GuestSession, run: Callable[[], Exit]) -> None:
        self._guest = guest
        executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="taskq-service")
        self._ending: Future[Exit] = executor.submit(run)
        executor.shutdown(wait=False)

    @property
    def exit(self) -> Exit | None:
        """See `core.ports.Service.exit`; of one whose output could not be taken, nothing is known."""
        if not self._ending.done():
            return None
        return self._ending.result() if self._ending.exception() is None else Exit(code=None)

    def stop(self) -> Exit:
        """See `core.ports.Service.stop`. Raises: SandboxError when it does not end."""
        self._guest.stop()
        return self._ending.result()

    def wait(self) -> None:
        """Wait until it is over, however."""
        self._ending.exception()


class DockerServices:
    """See `core.ports.Services`. *open_guest* returns the conversation with a new guest in the container.

    *are_orphaned* is whether a guest died before its program, so that parts of that may live as long as the container.
    Connections are opened by one thread, whoever asks: the engine keeps a client for each thread that it has seen.
    """

    def __init__(
        self,
        keeper: Keeper,
        open_guest: Callable[[], GuestSession],
        *,
        user: str,
        environment: Mapping[str, str],
        kills: MemoryKills,
    ) -> None:
        self._keeper = keeper
        self._open_guest = open_guest
        self._user = user
        self._environment = environment
        self._kills = kills
        self._opener = ThreadPoolExecutor(max_workers=1, thread_name_prefix="taskq-connect")
        self._changing = threading.RLock()
        self._guests: set[GuestSession] = set()
        self._services: tuple[DockerService, ...] = ()
        self._connections: WeakSet[EngineStream] = WeakSet()
        self._is_stopped = False
        self.are_orphaned = False

    def start(self, command: Command, output: Output = discard_output) -> DockerService:
        """See `core.ports.Services.start`."""
        guest = self._guest()
        service = DockerService(guest, lambda: self._attend(guest, command, output))
        with self._changing:
            self._services = (*(each for each in self._services if each.exit is None), service)
        return service

    def connect(self, port: int) -> Connection:
        """See `core.ports.Services.connect`."""
        with self._changing:
            self._check()
            opening = self._opener.submit(self._keeper.execute, [GUEST, "dial", str(port)], user=self._user)
        connection = opening.result()
        with self._changing:
            self._connections.add(connection)
        self._check(connection)
        return connection

    def interact(self, command: Command, *, stdin: int, stdout: int) -> Exit:
        """See `core.ports.Services.interact`. Raises also: SandboxError (``no_terminal``, ``terminal_gone``)."""
        terminal = PersonsTerminal(stdin, stdout)
        environment = {**self._environment, "TERM": _TERMINAL}
        with terminal.raw() as leave, self._kept(self._guest()) as guest:
            ended = guest.interact(command, terminal, environment=environment, cwd=str(INSIDE.workspace))
            if ended.code is not None:
                leave()
            return ended

    def stop(self) -> None:
        """End all, from any thread, and refuse later ones."""
        with self._changing:
            self._is_stopped = True
            guests, connections = tuple(self._guests), tuple(self._connections)
        for guest in guests:
            guest.stop()
        for connection in connections:
            connection.close()

    def hang_up(self) -> None:
        """Leave all to the end of the container, which must follow; when this returns, nobody attends any of it."""
        with self._changing:
            guests, connections, services = tuple(self._guests), tuple(self._connections), self._services
        for guest in guests:
            guest.close()
        for connection in connections:
            connection.close()
        for service in services:
            service.wait()
        self.are_orphaned = False

    def close(self) -> None:
        """Hang up for good."""
        with self._changing:
            self._is_stopped = True
        self.hang_up()
        self._opener.shutdown()

    def _check(self, made: GuestSession | EngineStream | None = None) -> None:
        """Refuse what is stopped, with what was *made* before that was known."""
        if self._is_stopped:
            if made is not None:
                made.close()
            raise SandboxError("the sandbox was stopped and starts nothing more", code="sandbox_stopped")

    def _guest(self) -> GuestSession:
        self._check()
        guest = self._open_guest()
        with self._changing:
            self._guests.add(guest)
        self._check(guest)
        return guest

    @contextlib.contextmanager
    def _kept(self, guest: GuestSession) -> Iterator[GuestSession]:
        """Give the guest back at the end of a block, and note when it was lost."""
        try:
            yield guest
        except SandboxError as error:
            self.are_orphaned |= error.code == "guest_lost"
            raise
        finally:
            with self._changing:
                self._guests.discard(guest)
            guest.close()

    def _attend(self, guest: GuestSession, command: Command, output: Output) -> Exit:
        """Run a service to its end. One that took its guest along was killed, as a command would be."""
        started = time.monotonic()
        try:
            with self._kept(guest):
                ended = guest.run(command, output, environment=self._environment, cwd=str(INSIDE.workspace))
                self._kills.explain(ended, guest, output)
                return ended
        except SandboxError as error:
            if error.code not in {"guest_lost", "sandbox_stopped"}:
                raise
            is_stopped = error.code == "sandbox_stopped"
            number = None if is_stopped else signal.SIGKILL
            elapsed = timedelta(seconds=time.monotonic() - started)
            return Exit(code=None, signal=number, stopped=is_stopped, elapsed=elapsed)
