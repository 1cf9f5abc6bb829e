"""What every agent does, in a real sandbox: each has a job that succeeds, fails or never ends, in its own words."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestration.adapters.agent.command import CommandAgent
from orchestration.adapters.agent.oracle import OracleAgent
from orchestration.adapters.agent.scripted import ScriptedAgent
from orchestration.adapters.sandbox.local.provider import LocalSandboxProvider
from orchestration.core.attempts import AttemptFolders, AttemptSpec
from orchestration.core.ports import Agent, AgentJob, AgentResult, Sandbox, Stream
from tests.builders import a_spec

SCRIPTS = {
    "succeed": ("echo told; echo warned >&2; echo work > done", "say told\nwarn warned\nwrite done: work"),
    "fail": ("echo told; exit 3", "say told\nfail 3"),
    "crash": ("kill -9 $$", "crash"),
    "hang": ("echo told; sleep 72001", "say told\nhang"),
}


def command(kind: str, _folder: Path) -> tuple[Agent, dict[str, Any]]:
    return CommandAgent(), {"agent_command": SCRIPTS[kind][0]}


def scripted(kind: str, _folder: Path) -> tuple[Agent, dict[str, Any]]:
    return ScriptedAgent(), {"text": f"Please.\nscript:\n{SCRIPTS[kind][1]}\n"}


def oracle(kind: str, folder: Path) -> tuple[Agent, dict[str, Any]]:
    path = folder / "solution.sh"
    path.write_text(SCRIPTS[kind][0], encoding="utf-8")
    return OracleAgent(), {"agent_command": str(path)}


Make = Callable[[str, Path], tuple[Agent, dict[str, Any]]]
Build = Callable[..., tuple[AgentResult, dict[Stream, bytes]]]


@pytest.fixture(params=[command, scripted, oracle], ids=lambda make: make.__name__)
def make(request: pytest.FixtureRequest) -> Make:
    return request.param  # type: ignore[no-any-return]  # the parameters are right above


@pytest.fixture
def folders(tmp_path: Path) -> AttemptFolders:
    return AttemptFolders(root=tmp_path / "attempt")


@pytest.fixture
def spec() -> AttemptSpec:
    return a_spec()


@pytest.fixture
def sandbox(spec: AttemptSpec, folders: AttemptFolders) -> Iterator[Sandbox]:
    folders.root.mkdir()
    with (
        folders.lease.open("w", encoding="utf-8") as lease,
        LocalSandboxProvider(use_bubblewrap=False).open(spec, folders, lease=lease.fileno()) as opened,
    ):
        yield opened


@pytest.fixture
def build(make: Make, sandbox: Sandbox, spec: AttemptSpec, folders: AttemptFolders, tmp_path: Path) -> Build:
    """Return a function that has the agent do a job of this kind; it returns the result and what was written."""

    def run(kind: str, *, seconds: float = 20) -> tuple[AgentResult, dict[Stream, bytes]]:
        agent, differences = make(kind, tmp_path)
        seen: dict[Stream, bytes] = {"stdout": b"", "stderr": b""}

        def output(stream: Stream, chunk: bytes) -> None:
            seen[stream] += chunk

        job = AgentJob(spec=replace(spec, **differences), folders=folders, timeout=timedelta(seconds=seconds))
        return agent.build(sandbox, job, output), seen

    return run


def test_work_that_succeeds_is_no_problem(build: Build, folders: AttemptFolders) -> None:
    result, seen = build("succeed")
    assert (result.problem, result.code, result.exit.code) == (None, None, 0)
    assert result.command
    assert seen == {"stdout": b"told\n", "stderr": b"warned\n"}
    assert (folders.workspace / "done").read_text(encoding="utf-8") == "work\n"


def test_an_exit_code_is_a_failed_agent(build: Build) -> None:
    result, seen = build("fail")
    assert (result.problem, result.code, result.exit.code) == ("the agent ended with exit code 3", "agent_failed", 3)
    assert seen["stdout"] == b"told\n"


def test_a_signal_is_a_killed_agent(build: Build) -> None:
    result, _ = build("crash")
    assert (result.problem, result.code) == ("the agent was killed by signal 9 (SIGKILL)", "agent_killed")


def test_no_end_is_a_timeout(build: Build) -> None:
    result, _ = build("hang", seconds=0.3)
    assert result.code == "agent_timeout"
    assert result.problem == "the agent was still working after 0.3s and was stopped"


def test_an_agent_that_is_stopped_says_so(
    make: Make, sandbox: Sandbox, spec: AttemptSpec, folders: AttemptFolders, tmp_path: Path
) -> None:
    agent, differences = make("hang", tmp_path)
    job = AgentJob(spec=replace(spec, **differences), folders=folders, timeout=timedelta(seconds=20))
    result = agent.build(sandbox, job, lambda _stream, _chunk: sandbox.stop())
    assert (result.problem, result.code) == ("the agent was stopped on request", "agent_stopped")


def test_these_agents_have_no_plan_of_their_own(
    make: Make, sandbox: Sandbox, spec: AttemptSpec, folders: AttemptFolders, tmp_path: Path
) -> None:
    agent, differences = make("succeed", tmp_path)
    job = AgentJob(spec=replace(spec, **differences), folders=folders, timeout=timedelta(seconds=20))
    assert agent.plan(sandbox, job, lambda _stream, _chunk: None) is None
