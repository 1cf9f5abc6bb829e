"""A real engine, and sandboxes of ours in it."""

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestration.adapters.sandbox.docker.engine import Engine
from orchestration.adapters.sandbox.docker.provider import DockerSandboxProvider
from orchestration.adapters.sandbox.docker.sandbox import DockerSandbox
from orchestration.core.attempts import AttemptFolders, AttemptSpec
from orchestration.core.ports import Command, Exit
from tests.builders import a_spec

QUEUE = f"docker-{os.getpid()}"
CREATED = datetime(2026, 2, 1, tzinfo=UTC) + timedelta(seconds=os.getpid())
"""Both make our containers unlike those of another test run on the same engine."""


@dataclass(frozen=True)
class Box:
    """An open sandbox, with what the engine says of its container."""

    engine: Engine
    provider: DockerSandboxProvider
    sandbox: DockerSandbox
    spec: AttemptSpec
    folders: AttemptFolders

    @property
    def inspected(self) -> dict[str, Any]:
        return self.engine.api.inspect_container(self.sandbox.facts.id)

    def shell(self, script: str, *, seconds: float = 30) -> tuple[Exit, str, str]:
        """Run a shell script; return its end, its stdout and its stderr."""
        seen = {"stdout": b"", "stderr": b""}

        def output(stream: str, chunk: bytes) -> None:
            seen[stream] += chunk

        command = Command(argv=("/bin/sh", "-c", script), timeout=timedelta(seconds=seconds))
        return self.sandbox.run(command, output), seen["stdout"].decode(), seen["stderr"].decode()


@pytest.fixture(scope="session")
def engine(capability: Callable[[str], None]) -> Iterator[Engine]:
    capability("docker")
    made = Engine(os.environ)
    yield made
    made.close()


@pytest.fixture
def open_box(engine: Engine, tmp_path: Path) -> Iterator[Callable[..., AbstractContextManager[Box]]]:
    """Return a function that opens a sandbox for a spec with the given differences."""
    provider = DockerSandboxProvider(engine, cache=tmp_path / "cache", secret=lambda name: f"value of {name}".encode())

    @contextlib.contextmanager
    def opened(**differences: Any) -> Iterator[Box]:
        spec = replace(a_spec(), **{"queue": QUEUE, "created_at": CREATED, "network": "none", **differences})
        folders = AttemptFolders(root=tmp_path / f"{spec.task}-{spec.attempt}")
        folders.root.mkdir(exist_ok=True)
        lease = os.open(folders.lease, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lease, fcntl.LOCK_EX)
            with provider.open(spec, folders, lease=lease) as sandbox:
                yield Box(engine, provider, sandbox, spec, folders)
        finally:
            os.close(lease)

    yield opened
    assert provider.reap({"taskq.queue": QUEUE}) == 0, "a container was left"


@pytest.fixture
def box(open_box: Callable[..., AbstractContextManager[Box]]) -> Iterator[Box]:
    with open_box() as made:
        yield made
