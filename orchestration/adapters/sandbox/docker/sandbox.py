"""One attempt's sandbox in a container: commands through the guest inside, files through the mounted folders.

Guarantees: `run` returns or raises; a container that died or was removed is named as such at once; a command that kills
everything it may, the guest included, is a command that was killed, and the container is started afresh for the next.
"""

import signal
import threading
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path

from orchestration.adapters.sandbox.archive import write_archive
from orchestration.adapters.sandbox.attempt_files import put_config
from orchestration.adapters.sandbox.docker.container import GUEST, INSIDE
from orchestration.adapters.sandbox.docker.keeper import Keeper, State
from orchestration.adapters.sandbox.docker.memory import MemoryKills
from orchestration.adapters.sandbox.docker.services import DockerServices
from orchestration.adapters.sandbox.docker.users import Users
from orchestration.adapters.sandbox.guest.session import GuestSession
from orchestration.adapters.sandbox.hostile_files import components, fetch_file
from orchestration.core.attempts import AttemptFolders
from orchestration.core.errors import SandboxError
from orchestration.core.facts import SandboxFacts
from orchestration.core.ports import Command, Exit, Output, discard_output


class DockerSandbox:
    """See `core.ports.Sandbox`. *grace* is how long, past its timeout, a command's death may take.

    *prepare* is called with this sandbox after every start of the container; *observe* returns the facts.
    """

    def __init__(
        self,
        keeper: Keeper,
        folders: AttemptFolders,
        users: Users,
        *,
        environment: Mapping[str, str],
        prepare: Callable[["DockerSandbox"], None],
        observe: Callable[[], SandboxFacts],
        grace: timedelta,
    ) -> None:
        self._keeper = keeper
        self._folders = folders
        self._users = users
        self._environment = environment
        self._prepare = prepare
        self._observe = observe
        self._grace = grace
        self._turn = threading.RLock()
        self._session: GuestSession | None = None
        self._is_stopped = False
        self._kills = MemoryKills(environment, grace)
        self._services = DockerServices(
            keeper, self._open_guest, user=users.agent, environment=environment, kills=self._kills
        )

    @property
    def facts(self) -> SandboxFacts:
        """See `core.ports.Sandbox.facts`."""
        return self._observe()

    @property
    def services(self) -> DockerServices:
        """See `core.ports.Sandbox.services`."""
        return self._services

    def start(self) -> None:
        """Start the container and make it ready for commands. Raises: SandboxError."""
        self._keeper.start()
        self._settle_in()

    def run(self, command: Command, output: Output = discard_output) -> Exit:
        """Run *command*; an unknown program is exit code 127 and a line on stderr, as a shell would have it."""
        with self._turn:
            if self._is_stopped or self._session is None:
                raise SandboxError("the sandbox was stopped and runs no more commands", code="sandbox_stopped")
            if self._services.are_orphaned:
                self._revive()
            started = time.monotonic()
            environment = {**self._environment, **command.env}
            try:
                ended = self._session.run(command, output, environment=environment, cwd=str(INSIDE.workspace))
            except SandboxError as error:
                if error.code != "guest_lost":
                    raise
                self._revive(error)
                ended = Exit(code=None, signal=signal.SIGKILL, elapsed=timedelta(seconds=time.monotonic() - started))
            if self._session is not None:
                self._kills.explain(ended, self._session, output)
            return ended

    def send(self, name: str, content: bytes) -> str:
        """See `core.ports.Sandbox.send`. Raises: ValueError for a name that is not plain, StorageError."""
        put_config(self._folders, name, content, owner=self._users.owner)
        return str(INSIDE.config / name)

    def fetch(self, name: str, to: Path, *, limit: int) -> None:
        """See `core.ports.Sandbox.fetch`."""
        fetch_file(self._folders.root, (self._folders.out.name, *components(name)), to, limit=limit)

    def archive(self, to: Path, *, limit: int, files: int) -> None:
        """See `core.ports.Sandbox.archive`."""
        write_archive(self._folders.root, self._folders.workspace.name, to, limit=limit, files=files)

    def stop(self) -> None:
        """See `core.ports.Sandbox.stop`."""
        self._is_stopped = True
        session = self._session
        if session is not None:
            session.stop()
        self._services.stop()

    def close(self) -> None:
        """Give back the conversations with the guests; the container is its keeper's."""
        self._hang_up()
        self._services.close()

    def _settle_in(self) -> None:
        self._session = self._open_guest()
        self._prepare(self)

    def _open_guest(self) -> GuestSession:
        stream = self._keeper.execute([GUEST, "serve"], user=self._users.agent)
        try:
            return GuestSession(stream, grace=self._grace)
        except SandboxError as error:
            said = stream.complaints.decode("utf-8", "backslashreplace").strip()
            raise SandboxError(f"{error}{': ' + ascii(said) if said else ''}", code=error.code) from error

    def _hang_up(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.close()

    def _revive(self, lost: SandboxError | None = None) -> None:
        """Start afresh, with no process left, when only a guest died.

        Raises: SandboxError that says what became of the container.
        """
        self._hang_up()
        if self._keeper.has_ended():
            raise _lost(self._keeper.name, self._keeper.wait_until_ended()) from lost
        self._services.hang_up()
        self._keeper.restart()
        self._settle_in()


def _lost(name: str, state: State) -> SandboxError:
    if not state.is_there:
        return SandboxError(f"container {name} was removed while a command ran", code="container_gone")
    why = "it ran out of its memory" if state.ran_out_of_memory else f"exit code {state.code}"
    return SandboxError(f"container {name} died while a command ran: {why}", code="container_died")
