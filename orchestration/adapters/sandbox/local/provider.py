"""The provider `local`: one supervisor process per attempt, inside bubblewrap where that works.

Guarantees: no process of an attempt outlives the block that opened its sandbox; after a crash of the runner the
supervisor ends them, and after a crash of both `reap` does.
Not responsible for: isolation from the network, or, without bubblewrap, from the operator's files.
"""

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import IO, Final, Self

from orchestration.adapters.sandbox.attempt_files import make_folders, no_secret, put_secrets
from orchestration.adapters.sandbox.environment import environment, marks
from orchestration.adapters.sandbox.local import bubblewrap
from orchestration.adapters.sandbox.local.channel import Channel
from orchestration.adapters.sandbox.local.leftovers import end_leftovers
from orchestration.adapters.sandbox.local.sandbox import LocalSandbox
from orchestration.core.attempts import AttemptFolders, AttemptSpec
from orchestration.core.errors import SandboxError
from orchestration.core.ports import BaseTree, Health, Output
from orchestration.core.toolchain import TOOLCHAIN_FILE
from orchestration.support.paths import cache_folder
from orchestration.support.trees import remove_tree

KIND: Final = "local"
_SUPERVISOR: Final = Path(__file__).with_name("supervisor.py")
_START: Final = timedelta(seconds=60)
"""How long a supervisor may take to start on a machine that is very busy."""
_INSTALL: Final = "install bubblewrap (Debian, Fedora, Arch: package bubblewrap) and allow user namespaces"


class LocalSandboxProvider:
    """See `core.ports.SandboxProvider`.

    *use_bubblewrap* None means: where it works. *home* is whose secrets are hidden, *path* what commands get as PATH,
    *readable* what must stay readable though it lies in a temporary folder: by default the cache of repositories;
    *secret* returns the value of a secret by its name.
    """

    def __init__(
        self,
        *,
        use_bubblewrap: bool | None = None,
        home: Path | None = None,
        path: str | None = None,
        readable: Sequence[Path] | None = None,
        secret: Callable[[str], bytes] = no_secret,
        grace: timedelta = timedelta(seconds=30),
    ) -> None:
        self._use_bubblewrap = use_bubblewrap
        self._home = home if home is not None else Path.home()
        self._path = path if path is not None else os.environ.get("PATH", os.defpath)
        self._readable = tuple(readable) if readable is not None else (cache_folder(os.environ),)
        self._secret = secret
        self._grace = grace

    @classmethod
    def make(
        cls,
        *,
        environment: Mapping[str, str],  # noqa: ARG003 -- the same for every provider
        cache: Path,
        image: str | None,  # noqa: ARG003 -- the same for every provider
        secret: Callable[[str], bytes],
    ) -> Self:
        """Return the provider for an operator's settings; *cache* stays readable."""
        return cls(readable=(cache,), secret=secret)

    def prepare(self, spec: AttemptSpec, tree: BaseTree, output: Output, *, is_stopped: Callable[[], bool]) -> None:
        """There is nothing to make: commands run with the programs of this host."""

    @contextlib.contextmanager
    def open(self, spec: AttemptSpec, folders: AttemptFolders, *, lease: int) -> Iterator[LocalSandbox]:
        """See `core.ports.SandboxProvider.open`."""
        make_folders(folders)
        ours, theirs = socket.socketpair()
        with contextlib.ExitStack() as stack:
            stack.callback(remove_tree, folders.secrets)
            put_secrets(folders, {name: self._secret(name) for name in spec.toolchain.secrets})
            complaints = stack.enter_context(tempfile.TemporaryFile())
            channel = Channel(ours)
            variables = environment(spec, folders, kind=KIND, path=self._path)
            sandbox = LocalSandbox(
                channel, folders, environment=variables, grace=self._grace, waivers=tuple(_waivers(spec))
            )
            stack.callback(sandbox.close)
            with theirs:
                supervisor = self._start(spec, folders, theirs.fileno(), lease, complaints)
            stack.callback(self._end, supervisor, channel, spec.labels)
            _await_greeting(channel, complaints)
            yield sandbox

    def reap(self, labels: Mapping[str, str]) -> int:
        """See `core.ports.SandboxProvider.reap`. Without /proc (macOS) there is nothing to find them by."""
        return end_leftovers(labels, patience=self._grace)

    def check(self) -> Health:
        """See `core.ports.SandboxProvider.check`."""
        program = bubblewrap.find_working()
        if self._use_bubblewrap and program is None:
            return Health(name="local", usable=False, detail="bubblewrap does not work here", remedy=_INSTALL)
        if program is None or self._use_bubblewrap is False:
            detail = "processes of this user, without bubblewrap: they can read and write whatever you can"
            return Health(name="local", usable=True, detail=detail)
        detail = f"processes of this user in {program}: only the attempt's folders can be written; the network is open"
        return Health(name="local", usable=True, detail=detail)

    def _start(
        self, spec: AttemptSpec, folders: AttemptFolders, theirs: int, lease: int, complaints: IO[bytes]
    ) -> "subprocess.Popen[bytes]":
        variables = marks(spec.labels, kind=KIND)
        labels = [f"{name}={value}" for name, value in variables.items()]
        program = [sys.executable, "-I", "-S", str(_SUPERVISOR), str(theirs), str(lease), *labels]
        try:
            return subprocess.Popen(  # noqa: S603 - our own program and arguments
                [*self._wrapping(folders), *program],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=complaints,
                cwd="/",
                env=variables | {"PATH": os.defpath, "LANG": "C.UTF-8"},
                pass_fds=(theirs, lease),
                start_new_session=True,
            )
        except OSError as error:
            raise SandboxError(f"cannot start the sandbox's supervisor: {error.strerror}") from error

    def _wrapping(self, folders: AttemptFolders) -> tuple[str, ...]:
        if self._use_bubblewrap is False:
            return ()
        program = bubblewrap.find_working()
        if program is None:
            if self._use_bubblewrap:
                raise SandboxError(f"bubblewrap does not work here; {_INSTALL}")
            return ()
        return bubblewrap.wrap(program, folders, home=self._home, path=self._path, readable=self._readable)

    def _end(self, supervisor: "subprocess.Popen[bytes]", channel: Channel, labels: Mapping[str, str]) -> None:
        """Hang up and wait; a supervisor that cannot end its tree, or was killed, has its work done for it."""
        channel.hang_up()
        try:
            orderly = supervisor.wait(self._grace.total_seconds()) == 0
        except subprocess.TimeoutExpired:
            orderly = False
        if not orderly:
            supervisor.kill()
            self.reap(labels)
            try:
                supervisor.wait(self._grace.total_seconds())
            except subprocess.TimeoutExpired as error:
                message = f"the sandbox's supervisor {supervisor.pid} does not die; a person must look at it"
                raise SandboxError(message) from error


def _waivers(spec: AttemptSpec) -> Iterator[str]:
    yield "the agent is a process of yours, with your network"
    wanted = spec.toolchain
    unused = [name for name in ("image", "dockerfile", "setup") if getattr(wanted, name) is not None]
    if unused:
        yield f"{', '.join(unused)} of {TOOLCHAIN_FILE} is not used: the agent has the programs of this host"


def _await_greeting(channel: Channel, complaints: IO[bytes]) -> None:
    try:
        channel.receive(_START.total_seconds())
    except SandboxError as error:
        complaints.seek(0)
        said = complaints.read(1 << 16).decode(errors="backslashreplace").strip().splitlines()
        why = said[-1] if said else "it said nothing"
        raise SandboxError(f"the sandbox's supervisor did not start: {why!a}") from error
