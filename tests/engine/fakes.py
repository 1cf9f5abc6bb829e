"""Stand-ins for the ports at the edge: git, sandboxes and agents that do at once what a test tells them."""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from orchestration.core.attempts import AttemptFolders, AttemptSpec
from orchestration.core.errors import RepositoryError, SandboxError, UsageError
from orchestration.core.facts import Landed, Revision, Run, Runner, SandboxFacts
from orchestration.core.models import Task
from orchestration.core.naming import TaskId
from orchestration.core.ports import (
    AgentJob,
    AgentNeeds,
    AgentResult,
    AgentServer,
    BaseTree,
    Command,
    Exit,
    Health,
    Leaks,
    Output,
    Sandbox,
    Services,
    discard_output,
)
from orchestration.core.repository import RepositoryFacts
from orchestration.core.status import Status

START = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
BASE = "1" * 40
RUNNER = Runner(host="here", pid=1, started="once", boot="b")


@dataclass
class SteppingClock:
    """Each look at it is a second later, so that orders can be told and runs are the same."""

    current: datetime = START
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def now(self) -> datetime:
        with self._lock:
            self.current += timedelta(seconds=1)
            return self.current

    def monotonic(self) -> float:
        return self.now().timestamp()


def a_task(identifier: str = "T-1", **fields: object) -> Task:
    values: dict[str, object] = {
        "id": TaskId(identifier),
        "repo": "/srv/repo",
        "base": "main",
        "base_commit": BASE,
        "status": Status.TODO,
        "text": f"do {identifier}",
        "agent": "fake",
        "sandbox": "fake",
        "created_at": START,
        "updated_at": START,
        **fields,
    }
    return Task(**values)  # type: ignore[arg-type]  # a builder takes any field


def a_run(
    *,
    attempt: int = 1,
    token: int = 2,
    runner: Runner = RUNNER,
    session: str | None = None,
    is_resumed: bool = False,
) -> Run:
    return Run(
        attempt=attempt,
        token=token,
        sandbox="fake",
        folder="/a",
        runner=runner,
        started_at=START,
        session=session,
        is_resumed=is_resumed,
    )


def a_revision(commit: str = "2" * 40, *, attempt: int = 1) -> Revision:
    return Revision(
        commit=commit,
        base_commit=BASE,
        ref=f"refs/taskq/q/attempt/T-1/{attempt}.1",
        attempt=attempt,
        collect=1,
        collected_at=START,
        source="bundle",
    )


@dataclass
class FakeRepository:
    """A repository that says what it is told to say; *kept* is what a person changed, *tips* are its branches."""

    kept: str | None = None
    tips: dict[str, str] = field(default_factory=dict)
    landed: list[str] = field(default_factory=list)
    on_land: Callable[[], None] = lambda: None

    def inspect(self, repo: Path, base: str, branch: str | None) -> RepositoryFacts:
        if base.startswith("refs/heads/") and base not in self.tips:
            raise RepositoryError(f"no {base}", code="no_base")
        return RepositoryFacts(repo, repo / ".git", self.tips.get(base, BASE))

    def publish(self, task: Task, revision: Revision) -> Revision:
        return revision

    def diff(self, revision: Revision, repo: Path, *, stat: bool = False, binary: bool = False) -> Iterable[bytes]:
        return ()

    def land(self, task: Task, revision: Revision, *, at: datetime) -> Landed:
        self.landed.append(revision.commit)
        self.on_land()
        return Landed(commit=revision.commit, how="ff", base=task.base, at=at)

    def preserve(self, task: Task) -> str | None:
        return self.kept


@dataclass
class FakeTree:
    """A base commit of these files."""

    files: Mapping[str, bytes] = field(default_factory=dict)

    def read(self, path: str, *, limit: int) -> bytes | None:
        return self.files.get(path)

    def blobs(self) -> Mapping[str, str]:
        return dict.fromkeys(self.files, "0" * 40)

    def export(self, to: Path) -> None:
        to.write_bytes(b"tar")


@dataclass
class FakeWorkspace:
    """A workspace whose work is *commit*; None when *changes* is False. *asked* has what was to be collected."""

    changes: bool = True
    commit: str = "2" * 40
    asked: list[AttemptSpec] = field(default_factory=list)
    tree: FakeTree = field(default_factory=FakeTree)
    on_prepare: Callable[[AttemptSpec], None] = lambda _spec: None

    def prepare(self, spec: AttemptSpec, folders: AttemptFolders) -> None:
        self.on_prepare(spec)
        folders.workspace.mkdir(parents=True, exist_ok=True)

    def base(self, spec: AttemptSpec) -> FakeTree:
        return self.tree

    def collect_command(self, spec: AttemptSpec) -> tuple[str, ...]:
        return ("collect",)

    def accept_bundle(
        self, spec: AttemptSpec, folders: AttemptFolders, bundle: Path, *, leaks: Leaks | None = None
    ) -> Revision | None:
        self.asked.append(spec)
        return a_revision(self.commit, attempt=spec.attempt) if self.changes else None

    def accept_archive(
        self, spec: AttemptSpec, folders: AttemptFolders, archive: Path, *, leaks: Leaks | None = None
    ) -> Revision | None:
        return replace(a_revision(attempt=spec.attempt), source="archive") if self.changes else None


@dataclass
class FakeSandbox:
    """A sandbox in which every command succeeds; `stop` sets *stopped*, and later commands refuse."""

    stopped: threading.Event = field(default_factory=threading.Event)
    commands: list[Command] = field(default_factory=list)
    facts: SandboxFacts = field(default_factory=lambda: SandboxFacts(kind="fake"))
    services: Services | None = None

    def run(self, command: Command, output: Output = discard_output) -> Exit:
        if self.stopped.is_set():
            raise SandboxError("the sandbox was stopped", code="sandbox_stopped")
        self.commands.append(command)
        return Exit(code=0)

    def send(self, name: str, content: bytes) -> str:
        return f"/config/{name}"

    def fetch(self, name: str, to: Path, *, limit: int) -> None:
        to.write_bytes(b"bundle")

    def archive(self, to: Path, *, limit: int, files: int) -> None:
        to.write_bytes(b"archive")

    def stop(self) -> None:
        self.stopped.set()


@dataclass
class FakeProvider:
    """Opens fake sandboxes; *reaped* has the labels of what was reaped."""

    opened: list[FakeSandbox] = field(default_factory=list)
    closed: int = 0
    reaped: list[Mapping[str, str]] = field(default_factory=list)
    on_open: Callable[[AttemptSpec], None] = lambda _spec: None
    facts: SandboxFacts = field(default_factory=lambda: SandboxFacts(kind="fake"))
    services: Services | None = None

    def prepare(
        self, spec: AttemptSpec, tree: BaseTree, output: Output, *, is_stopped: Callable[[], bool]
    ) -> str | None:
        output("stdout", b"made\n")
        return None

    @contextmanager
    def open(self, spec: AttemptSpec, folders: AttemptFolders, *, lease: int) -> Iterator[FakeSandbox]:
        self.on_open(spec)
        for folder in (folders.out, folders.git, folders.config, folders.data):
            folder.mkdir(parents=True, exist_ok=True)
        sandbox = FakeSandbox(facts=self.facts, services=self.services)
        self.opened.append(sandbox)
        try:
            yield sandbox
        finally:
            self.closed += 1

    def reap(self, labels: Mapping[str, str]) -> int:
        self.reaped.append(labels)
        return 0

    def check(self) -> Health:
        return Health(name="fake", usable=True, detail="always")


DONE = AgentResult(exit=Exit(code=0), command="fake")
FAILED = AgentResult(exit=Exit(code=7), command="fake", problem="it failed", code="agent_failed")
STOPPED = AgentResult(exit=Exit(code=None, stopped=True), command="fake", problem="stopped", code="agent_stopped")


@dataclass
class FakeAgent:
    """Does *planning* in the plan stage and *work* in the build stage; *asked* has the jobs that it got."""

    work: Callable[[FakeSandbox, AgentJob], AgentResult] = lambda _sandbox, _job: DONE
    planning: Callable[[FakeSandbox, AgentJob], AgentResult | None] = lambda _sandbox, _job: None
    needed: Callable[[AttemptSpec], AgentNeeds] = lambda _spec: AgentNeeds()
    asked: list[AgentJob] = field(default_factory=list)
    served: Callable[[AgentJob], AbstractContextManager[AgentServer] | None] = lambda _job: None

    def needs(self, spec: AttemptSpec) -> AgentNeeds:
        return self.needed(spec)

    def plan(self, sandbox: Sandbox, job: AgentJob, output: Output) -> AgentResult | None:
        assert isinstance(sandbox, FakeSandbox)
        self.asked.append(job)
        return self.planning(sandbox, job)

    def build(self, sandbox: Sandbox, job: AgentJob, output: Output) -> AgentResult:
        assert isinstance(sandbox, FakeSandbox)
        self.asked.append(job)
        return self.work(sandbox, job)

    def serve(self, sandbox: Sandbox, job: AgentJob, output: Output) -> AbstractContextManager[AgentServer] | None:
        return self.served(job)


def no_secret(name: str) -> bytes:
    """Have no secret."""
    raise UsageError(f"no secret {name}", code="no_secret")


def only(name: str, value: object) -> Callable[[str], object]:
    """Return a table of one name, as `assembly` has them."""

    def get(wanted: str) -> object:
        if wanted != name:
            raise UsageError(f"no part {wanted!r}", code="unknown_part")
        return value

    return get
