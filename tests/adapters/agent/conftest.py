"""A workspace with git, and a function that lets an agent work in it."""

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestration.adapters.sandbox.local.provider import LocalSandboxProvider
from orchestration.core.attempts import AttemptFolders, AttemptSpec
from orchestration.core.ports import Agent, AgentJob, AgentResult
from tests.builders import a_spec

PLAIN = a_spec()


@pytest.fixture
def spec() -> AttemptSpec:
    return PLAIN


@pytest.fixture
def folders(tmp_path: Path) -> AttemptFolders:
    return AttemptFolders(root=tmp_path / "attempt")


@pytest.fixture
def git(folders: AttemptFolders) -> Callable[..., str]:
    """Return a function that runs git in the workspace, whose git dir is made as taskq does: beside it."""
    folders.workspace.mkdir(parents=True)

    def run(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=folders.workspace, check=True, capture_output=True, text=True)
        return done.stdout

    run("init", "-q", "-b", "main", f"--separate-git-dir={folders.git}")
    run("config", "user.name", "taskq agent")
    run("config", "user.email", "agent@taskq.invalid")
    (folders.workspace / "greeting").write_text("hello\n", encoding="utf-8")
    (folders.workspace / ".gitignore").write_text("ignored\n", encoding="utf-8")
    run("add", "-A")
    run("commit", "-q", "-m", "start")
    return run


@pytest.fixture
def work(folders: AttemptFolders, git: Callable[..., str]) -> Iterator[Callable[..., tuple[AgentResult, str]]]:
    """Return a function that lets an agent work; it returns the result and what was written to stdout."""
    with folders.lease.open("w", encoding="utf-8") as lease:
        provider = LocalSandboxProvider(use_bubblewrap=False)
        with provider.open(PLAIN, folders, lease=lease.fileno()) as sandbox:

            def run(agent: Agent, *, seconds: float = 20, **differences: Any) -> tuple[AgentResult, str]:
                seen: dict[str, bytes] = {"stdout": b"", "stderr": b""}

                def output(stream: str, chunk: bytes) -> None:
                    seen[stream] += chunk

                job = AgentJob(spec=replace(PLAIN, **differences), folders=folders, timeout=timedelta(seconds=seconds))
                result = agent.build(sandbox, job, output)
                return result, seen["stdout"].decode()

            yield run
