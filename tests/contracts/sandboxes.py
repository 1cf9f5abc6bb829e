"""Every kind of sandbox, opened for a test. A new provider joins the table ``PROVIDERS``."""

import contextlib
import fcntl
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from orchestration.adapters.sandbox.docker.container import INSIDE
from orchestration.adapters.sandbox.docker.engine import Engine
from orchestration.adapters.sandbox.docker.provider import DockerSandboxProvider
from orchestration.adapters.sandbox.local.provider import LocalSandboxProvider
from orchestration.core.attempts import AttemptFolders, AttemptSpec
from orchestration.core.ports import Command, Exit, Sandbox, SandboxProvider, Stream
from tests.adapters.sandbox.docker.engines import packed_image, podman
from tests.builders import a_spec


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of sandbox. *inside* maps the attempt's folders to what commands see; *needs* is a capability.

    *serves* is whether something can go on in it beside commands.
    """

    name: str
    make: Callable[[], SandboxProvider]
    needs: str | None = None
    close: Callable[[], None] = lambda: None
    inside: Callable[[AttemptFolders], AttemptFolders] = lambda folders: folders
    network: str | None = None
    is_slow: bool = False
    serves: bool = False
    of_image: tuple[str, ...] = ()
    """What the names of the variables that the image brings along start with."""


ENGINE = Engine(os.environ)
OPENED = contextlib.ExitStack()
"""What a kind opened of its own; closing the kind closes it."""
CACHE = Path(tempfile.gettempdir()) / f"taskq-contracts-{os.getpid()}"


def in_podman() -> DockerSandboxProvider:
    """Start a podman with the image of the machine's engine; it ends with OPENED."""
    with contextlib.ExitStack() as stack:
        other = stack.enter_context(podman(stack.enter_context(packed_image(ENGINE))))
        provider = DockerSandboxProvider(stack.enter_context(other.engine()), cache=CACHE)
        OPENED.enter_context(stack.pop_all())
    return provider


PROVIDERS: dict[str, Kind] = {
    "local-in-bubblewrap": Kind(name="local", needs="bwrap", make=lambda: LocalSandboxProvider(use_bubblewrap=True)),
    "local-without": Kind(name="local", make=lambda: LocalSandboxProvider(use_bubblewrap=False)),
    "docker": Kind(
        name="docker",
        needs="docker",
        is_slow=True,
        serves=True,
        make=lambda: DockerSandboxProvider(ENGINE, cache=CACHE),
        close=ENGINE.close,
        inside=lambda _folders: INSIDE,
        network="none",
        of_image=("NODE_", "OPENCODE_"),
    ),
    "podman": Kind(
        name="docker",
        needs="podman",
        is_slow=True,
        serves=True,
        make=in_podman,
        close=OPENED.close,
        inside=lambda _folders: INSIDE,
        network="none",
        of_image=("NODE_", "OPENCODE_"),
    ),
}
PATIENCE = timedelta(seconds=20)
CREATED = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=os.getpid())
"""A part of a container's name: two test runs on one engine must not meet."""
OWN = f"{os.getpid()}s"
"""Makes what our processes sleep unlike what those of another test run do."""


@dataclass
class Seen:
    """Takes output as it comes."""

    stdout: bytes = b""
    stderr: bytes = b""
    chunks: list[tuple[Stream, bytes]] = field(default_factory=list)

    def __call__(self, stream: Stream, chunk: bytes) -> None:
        self.chunks.append((stream, chunk))
        setattr(self, stream, getattr(self, stream) + chunk)


@dataclass(frozen=True)
class Opened:
    sandbox: Sandbox
    provider: SandboxProvider
    spec: AttemptSpec
    folders: AttemptFolders
    kind: Kind

    def run(self, *argv: str, seconds: float = 20, stdin: bytes = b"", **env: str) -> tuple[Exit, Seen]:
        seen = Seen()
        timeout = timedelta(seconds=seconds)
        return self.sandbox.run(Command(argv=argv, timeout=timeout, stdin=stdin, env=env), seen), seen

    def shell(self, script: str, **options: float) -> tuple[Exit, Seen]:
        return self.run("/bin/sh", "-c", script, **options)  # type: ignore[arg-type]  # only `seconds` is passed on


@contextlib.contextmanager
def opened(kind: Kind, provider: SandboxProvider, root: Path, *, attempt: int) -> Iterator[Opened]:
    folders = AttemptFolders(root=root / "attempt")
    folders.root.mkdir()
    spec = a_spec(queue=f"contract-{OWN}", attempt=attempt, created_at=CREATED, network=kind.network)
    lease = os.open(folders.lease, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lease, fcntl.LOCK_EX)
        with provider.open(spec, folders, lease=lease) as sandbox:
            yield Opened(sandbox, provider, spec, folders, kind)
    finally:
        os.close(lease)


def living(token: str) -> list[int]:
    """Return the host's processes that have *token* in their arguments."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                if token.encode() in (entry / "cmdline").read_bytes() and int(entry.name) != os.getpid():
                    found.append(int(entry.name))
    return found


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE.total_seconds()
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)
