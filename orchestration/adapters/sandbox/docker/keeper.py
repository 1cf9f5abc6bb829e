"""An attempt's container: made, started, looked at, removed.

Guarantees: its main process does nothing but read what we never write; when the runner dies, that stream ends, and the
container with all in it ends too. A container whose start fails is removed.
"""

import contextlib
import time
from dataclasses import dataclass
from typing import Any, Final

from orchestration.adapters.sandbox.docker.engine import Engine
from orchestration.adapters.sandbox.docker.transport import EngineStream
from orchestration.core.errors import SandboxError

_READY: Final = b"ready\n"
_START_SECONDS: Final = 60
_ATTACHED: Final = {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}
_END_SECONDS: Final = 1.0
"""How long after a lost command the end of a dying container may take to show."""


@dataclass(frozen=True, slots=True)
class State:
    """What the engine says of a container; *is_there* is False when it was removed."""

    is_there: bool
    is_running: bool
    code: int | None = None
    ran_out_of_memory: bool = False


class Keeper:
    """One container, from `create` to `remove`."""

    def __init__(self, engine: Engine, identifier: str, name: str, *, warnings: tuple[str, ...]) -> None:
        self._engine = engine
        self._stream: EngineStream | None = None
        self.id = identifier
        self.name = name
        self.warnings = warnings

    @classmethod
    def create(cls, engine: Engine, settings: dict[str, Any], host: dict[str, Any]) -> "Keeper":
        """Make the container; one of the same labels that a crash left in its place is removed first.

        Raises: SandboxError (``name_taken``, ``image_missing``, ``disk_full`` and the rest of `Engine.errors`).
        """
        try:
            return cls._create(engine, settings, host)
        except SandboxError as error:
            if error.code != "name_taken" or not _remove_own(engine, settings):
                raise
        return cls._create(engine, settings, host)

    @classmethod
    def _create(cls, engine: Engine, settings: dict[str, Any], host: dict[str, Any]) -> "Keeper":
        with engine.errors(f"make container {settings['name']}"):
            config = engine.api.create_host_config(**host)
            made = engine.api.create_container(**settings, host_config=config)
        return cls(engine, made["Id"], settings["name"], warnings=tuple(made.get("Warnings") or ()))

    def start(self) -> None:
        """Start the container and wait until its main process says that it is ready. Raises: SandboxError."""
        with self._engine.errors(f"start container {self.name}"):
            self._stream = EngineStream(self._engine.api.attach_socket(self.id, params=_ATTACHED))
            self._engine.api.start(self.id)
        self._await_ready(self._stream)

    def restart(self) -> None:
        """End every process of the container, and start it again. Raises: SandboxError."""
        try:
            with self._engine.errors(f"end container {self.name}"):
                self._engine.api.kill(self.id)
        except SandboxError as error:
            if error.code != "not_running":
                raise
        self._hang_up()
        with self._engine.errors(f"wait for the end of container {self.name}"):
            self._engine.api.wait(self.id, timeout=_START_SECONDS)
        self.start()

    def has_ended(self) -> bool:
        """Return whether the main process is gone: told by its stream, as the engine's word may come late."""
        if self._stream is None:
            return True
        self._stream.be_patient(_END_SECONDS)
        try:
            return self._stream.receive() == b""
        except TimeoutError:
            self._stream.be_patient(None)
            return False
        except OSError:
            return True

    def wait_until_ended(self) -> State:
        """Return the state of a container whose main process is gone, as soon as the engine has noticed."""
        deadline = time.monotonic() + _START_SECONDS
        while (state := self.state()).is_running and time.monotonic() < deadline:
            time.sleep(0.02)
        return state

    def state(self) -> State:
        """Return what the engine knows now. Raises: SandboxError when it does not answer."""
        try:
            with self._engine.errors(f"look at container {self.name}"):
                found = self._engine.api.inspect_container(self.id)["State"]
        except SandboxError as error:
            if error.code == "container_gone":
                return State(is_there=False, is_running=False)
            raise
        return State(
            is_there=found.get("Status") != "removing",
            is_running=bool(found.get("Running")) and not found.get("Dead"),
            code=found.get("ExitCode"),
            ran_out_of_memory=bool(found.get("OOMKilled")),
        )

    def execute(self, argv: list[str], *, user: str) -> EngineStream:
        """Start another process in the container, and return the stream to it. Raises: SandboxError."""
        with self._engine.errors(f"run a command in container {self.name}"):
            made = self._engine.api.exec_create(self.id, argv, user=user, stdin=True, workdir="/")
            return EngineStream(self._engine.api.exec_start(made["Id"], socket=True))

    def remove(self) -> None:
        """Remove the container with all that runs in it; one that is gone already is well. Raises: SandboxError."""
        self._hang_up()
        remove(self._engine, self.id)

    def _hang_up(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _await_ready(self, stream: EngineStream) -> None:
        stream.be_patient(_START_SECONDS)
        try:
            said = stream.receive()
        except OSError as error:
            raise SandboxError(f"container {self.name} did not become ready: {error}", code="not_ready") from error
        if said != _READY:
            raise _unready(
                self.name, stream.complaints.decode("utf-8", "backslashreplace").strip() or f"it said {said!r}"
            )
        stream.be_patient(None)


def remove(engine: Engine, identifier: str) -> None:
    """Remove a container by force, with its anonymous volumes; when this returns, its name is free.

    Raises: SandboxError, but for one that is gone.
    """
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            with engine.errors(f"remove container {identifier[:12]}"):
                engine.api.remove_container(identifier, force=True, v=True)
        except SandboxError as error:
            if error.code == "container_gone":
                return
            is_on_its_way = "already in progress" in str(error) or error.code == "not_running"
            if not is_on_its_way or time.monotonic() > deadline:
                raise
            time.sleep(0.02)  # somebody else removes it, or it ends by itself, which podman does not interrupt
        else:
            return


def _remove_own(engine: Engine, settings: dict[str, Any]) -> bool:
    """Remove the container that has this name, if its labels are exactly ours."""
    with contextlib.suppress(SandboxError), engine.errors(f"look at container {settings['name']}"):
        found = engine.api.inspect_container(settings["name"])
        labels = found["Config"].get("Labels") or {}
        if all(labels.get(name) == value for name, value in settings["labels"].items()):
            remove(engine, found["Id"])
            return True
    return False


def _unready(name: str, why: str) -> SandboxError:
    if "no such file or directory" in why.lower():
        message = (
            f"cannot start container {name}: its image holds no taskq-guest; make one with: taskq build-image, "
            "or name your own image in .taskq.toml, so that taskq puts its part on it"
        )
        return SandboxError(message, code="image_unfit")
    return SandboxError(f"container {name} did not become ready: {why!a}", code="not_ready")
