"""The sandbox that an attempt is in: opened once, opened again when it died, closed at teardown."""

from contextlib import ExitStack

from orchestration.core.attempts import AttemptFolders, AttemptSpec
from orchestration.core.errors import SandboxError
from orchestration.core.facts import SandboxFacts
from orchestration.core.ports import BaseTree, Output, Sandbox, SandboxProvider
from orchestration.pipeline.stage import StopSwitch


class Room:
    """Holds at most one open sandbox; every process in it is gone after `leave`."""

    def __init__(self, provider: SandboxProvider, folders: AttemptFolders, *, lease: int, switch: StopSwitch) -> None:
        self._provider = provider
        self._folders = folders
        self._lease = lease
        self._switch = switch
        self._stack = ExitStack()
        self._sandbox: Sandbox | None = None
        self._facts: SandboxFacts | None = None

    @property
    def sandbox(self) -> Sandbox:
        """The open sandbox. Raises: SandboxError when none is open."""
        if self._sandbox is None:
            raise SandboxError("no sandbox is open")
        return self._sandbox

    @property
    def facts(self) -> SandboxFacts | None:
        """What was observed of the sandbox that is open, or else of the last one."""
        if self._sandbox is not None:
            self._facts = self._sandbox.facts
        return self._facts

    def prepare(self, spec: AttemptSpec, tree: BaseTree, output: Output) -> str | None:
        """Make ready what the sandbox starts from; see `core.ports.SandboxProvider.prepare`."""
        return self._provider.prepare(spec, tree, output, is_stopped=lambda: self._switch.reason is not None)

    def end_leftovers(self, spec: AttemptSpec) -> None:
        """End whatever earlier attempts of the task left running, found by label."""
        self._provider.reap({name: value for name, value in spec.labels.items() if name != "taskq.attempt"})

    def enter(self, spec: AttemptSpec) -> Sandbox:
        """Open the sandbox in which the agent works; a thrown stop switch stops it."""
        sandbox = self._open(spec)
        self._switch.attach(sandbox)
        return sandbox

    def enter_again(self, spec: AttemptSpec) -> Sandbox:
        """Open a fresh sandbox on the same folders, for taking the work out; the stop switch does not reach it."""
        self.leave()
        return self._open(spec)

    def leave(self) -> None:
        """Close what is open; again is no error."""
        self._facts = self.facts
        self._sandbox = None
        self._stack.close()

    def _open(self, spec: AttemptSpec) -> Sandbox:
        self._sandbox = self._stack.enter_context(self._provider.open(spec, self._folders, lease=self._lease))
        return self._sandbox
