"""Every kind of sandbox, opened for a test. A new provider joins the table ``PROVIDERS``."""

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from orchestration.adapters.sandbox.local.provider import LocalSandboxProvider
from orchestration.core.attempts import AttemptFolders, AttemptSpec
from orchestration.core.ports import Command, Exit, Sandbox, SandboxProvider, Stream
from tests.builders import a_spec

PROVIDERS: dict[str, tuple[str | None, Callable[[], SandboxProvider]]] = {
    "local-in-bubblewrap": ("bwrap", lambda: LocalSandboxProvider(use_bubblewrap=True)),
    "local-without": (None, lambda: LocalSandboxProvider(use_bubblewrap=False)),
}
PATIENCE = timedelta(seconds=20)
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

    def run(self, *argv: str, seconds: float = 20, stdin: bytes = b"", **env: str) -> tuple[Exit, Seen]:
        seen = Seen()
        timeout = timedelta(seconds=seconds)
        return self.sandbox.run(Command(argv=argv, timeout=timeout, stdin=stdin, env=env), seen), seen

    def shell(self, script: str, **options: float) -> tuple[Exit, Seen]:
        return self.run("/bin/sh", "-c", script, **options)  # type: ignore[arg-type]  # only `seconds` is passed on


@contextlib.contextmanager
def opened(provider: SandboxProvider, root: Path) -> Iterator[Opened]:
    folders = AttemptFolders(root=root / "attempt")
    folders.root.mkdir()
    spec = a_spec()
    lease = os.open(folders.lease, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lease, fcntl.LOCK_EX)
        with provider.open(spec, folders, lease=lease) as sandbox:
            yield Opened(sandbox, provider, spec, folders)
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
