"""The real OpenCode in a real container, beside a fake model on the host's loopback."""

import fcntl
import json
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestration.adapters.agent.opencode.agent import OpenCodeAgent
from orchestration.adapters.sandbox.docker.engine import Engine
from orchestration.adapters.sandbox.docker.provider import DockerSandboxProvider
from orchestration.core.agent_events import AgentEvent
from orchestration.core.attempts import AttemptFolders, AttemptSpec
from orchestration.core.ports import AgentJob, AgentResult, Command, Sandbox, SandboxProvider, Stream
from tests.builders import a_spec
from tests.model.server import FakeModel, config

CREATED = datetime(2026, 2, 1, tzinfo=UTC) + timedelta(seconds=os.getpid())
"""A part of a container's name: two test runs on one engine must not meet."""
OURS = f"opencode-{os.getpid()}"


@dataclass
class Kept:
    """A record that a test can look at."""

    lines: list[bytes] = field(default_factory=list)
    events: list[AgentEvent] = field(default_factory=list)

    def raw(self, line: bytes) -> None:
        self.lines.append(line)

    def event(self, event: AgentEvent) -> None:
        self.events.append(event)


@dataclass
class Seen:
    """Takes output as it comes."""

    stdout: bytes = b""
    stderr: bytes = b""

    def __call__(self, stream: Stream, chunk: bytes) -> None:
        setattr(self, stream, getattr(self, stream) + chunk)


@dataclass(frozen=True)
class Operator:
    """An operator whose OpenCode knows the fake model."""

    home: Path

    @property
    def environment(self) -> Mapping[str, str]:
        return {"HOME": str(self.home)}

    def configure(self, content: Any) -> None:
        self.write(".config/opencode/opencode.json", json.dumps(content))

    def log_in(self, content: Any) -> None:
        self.write(".local/share/opencode/auth.json", json.dumps(content))

    def write(self, name: str, text: str) -> None:
        path = self.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


@dataclass
class Attempt:
    """An open sandbox with a repository, and one agent for it."""

    sandbox: Sandbox
    spec: AttemptSpec
    folders: AttemptFolders
    agent: OpenCodeAgent
    record: Kept = field(default_factory=Kept)
    seen: Seen = field(default_factory=Seen)

    def job(self, *, seconds: float = 100, session: str | None = None, plan: str | None = None) -> AgentJob:
        timeout = timedelta(seconds=seconds)
        return AgentJob(
            spec=self.spec, folders=self.folders, timeout=timeout, session=session, plan=plan, record=self.record
        )

    def build(self, **job: Any) -> AgentResult:
        return self.agent.build(self.sandbox, self.job(**job), self.seen)

    def plan(self, **job: Any) -> AgentResult | None:
        return self.agent.plan(self.sandbox, self.job(**job), self.seen)

    def work(self) -> AgentResult:
        """Have it work as `build` does, and leave its server on."""
        return self.agent._work(self.sandbox, self.job(), self.seen, agent="build", text=self.spec.text)

    def shell(self, script: str) -> str:
        """Return what a shell in the sandbox says."""
        seen = Seen()
        self.sandbox.run(Command(argv=("/bin/sh", "-c", script), timeout=timedelta(seconds=20)), seen)
        return (seen.stdout + seen.stderr).decode()


@pytest.fixture
def model() -> Iterator[FakeModel]:
    with FakeModel() as running:
        yield running


@pytest.fixture
def operator(tmp_path: Path, model: FakeModel) -> Operator:
    found = Operator(home=tmp_path / "home")
    found.configure(config(model.url))
    return found


@pytest.fixture(scope="session")
def docker(capability: Callable[[str], None], tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProvider]:
    capability("docker")
    engine = Engine(os.environ)
    yield DockerSandboxProvider(engine, cache=tmp_path_factory.mktemp("cache"))
    engine.close()


Open = Callable[..., AbstractContextManager[Attempt]]


@pytest.fixture
def attempt(docker: SandboxProvider, operator: Operator, tmp_path: Path) -> Open:
    """Return a function that opens a container for one attempt, as the agent's needs say; and anew on its folders."""

    @contextmanager
    def opened(*, files: Mapping[str, str] | None = None, **differences: Any) -> Iterator[Attempt]:
        folders = AttemptFolders(root=tmp_path / "attempt")
        if not folders.root.exists():
            make_repository(folders, files or {})
        agent = OpenCodeAgent(operator.environment)
        wanted = {"text": "write hello.txt: hi", "network": "allowlist", **differences}
        spec = a_spec(queue=OURS, created_at=CREATED, agent="opencode", sandbox="docker", **wanted)
        needs = agent.needs(spec)
        spec = replace(spec, allow=needs.allow, allow_private=needs.allow_private)
        with folders.lease.open("w", encoding="utf-8") as lease:
            fcntl.flock(lease, fcntl.LOCK_EX)
            with docker.open(spec, folders, lease=lease.fileno()) as sandbox:
                yield Attempt(sandbox, spec, folders, agent)

    return opened


def make_repository(folders: AttemptFolders, files: Mapping[str, str]) -> None:
    folders.workspace.mkdir(parents=True)
    for name, content in {"README.md": "A project.\n", **files}.items():
        path = folders.workspace / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    for command in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", "start"]):
        subprocess.run(["git", *command], cwd=folders.workspace, check=True, capture_output=True)
