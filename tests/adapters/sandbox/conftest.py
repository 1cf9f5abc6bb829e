"""Attempts to open sandboxes for, and a way to wait for processes."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from orchestration.core.attempts import AttemptFolders, AttemptSpec
from orchestration.core.naming import TaskId
from orchestration.core.ports import Command, Exit, Sandbox, Stream
from tests.builders import a_spec


@dataclass(frozen=True)
class Attempt:
    spec: AttemptSpec
    folders: AttemptFolders
    lease: int


@pytest.fixture
def make_attempt(tmp_path: Path) -> Iterator[Callable[..., Attempt]]:
    """Return a function that makes the folders and the (unlocked) lease of an attempt."""
    with contextlib.ExitStack() as stack:

        def make(identifier: str = "T-1", *, root: Path | None = None, queue: str | None = None) -> Attempt:
            folders = AttemptFolders(root=root or tmp_path / "attempts" / identifier)
            folders.root.mkdir(parents=True)
            lease = os.open(folders.lease, os.O_RDWR | os.O_CREAT, 0o600)
            stack.callback(os.close, lease)
            spec = a_spec(task=TaskId(identifier), queue=queue or f"queue-{os.getpid()}")
            return Attempt(spec, folders, lease)

        yield make


@pytest.fixture
def shell() -> Callable[..., tuple[Exit, str]]:
    """Return a function that runs a script in a sandbox and returns its exit and all that it wrote."""

    def run(sandbox: Sandbox, script: str, *, seconds: float = 20) -> tuple[Exit, str]:
        seen: list[bytes] = []

        def output(_stream: Stream, chunk: bytes) -> None:
            seen.append(chunk)

        command = Command(argv=("/bin/sh", "-c", script), timeout=timedelta(seconds=seconds))
        exit_ = sandbox.run(command, output)
        return exit_, b"".join(seen).decode()

    return run


@pytest.fixture
def living() -> Callable[[str], list[int]]:
    """Return a function that finds the host's processes with a text in their arguments."""

    def find(token: str) -> list[int]:
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal() and int(entry.name) != os.getpid():
                with contextlib.suppress(OSError):
                    if token.encode() in (entry / "cmdline").read_bytes():
                        found.append(int(entry.name))
        return found

    return find


@pytest.fixture
def wait_until() -> Callable[[Callable[[], object]], None]:
    """Return a function that waits for a condition, but not for ever."""

    def wait(condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < deadline, "it did not happen in time"
            time.sleep(0.01)

    return wait
