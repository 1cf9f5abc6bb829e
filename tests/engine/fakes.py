"""Stand-ins for the ports at the edge: git, sandboxes and agents that do at once what a test tells them."""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from orchestration.core.attempts import AttemptFolders, AttemptSpec
from orchestration.core.errors import SandboxError, UsageError
from orchestration.core.facts import Landed, Revision, Run, Runner, SandboxFacts
from orchestration.core.models import Task
from orchestration.core.naming import TaskId
from orchestration.core.ports import (
    AgentJob,
    AgentResult,
    BaseTree,
    Command,
    Exit,
    Health,
    Leaks,
    Output,
    Sandbox,
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


def a_run(*, attempt: int = 1, token: int = 2, runner: Runner = RUNNER) -> Run:
    return Run(attempt=attempt, token=token, sandbox="fake", folder="/a", runner=runner, started_at=START)


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
    """A repository that says what it is told to say; *kept* is what a person changed."""

    kept: str | None = None
    landed: list[str] = field(default_factory=list)
    on_land: Callable[[], None] = lambda: None

    def inspect(self, repo: Path, base: str, branch: str | None) -> RepositoryFacts:
        return RepositoryFacts(repo, repo / ".git", BASE)

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
    """A workspace whose work is a commit named by the task; None when *changes* is False."""

    changes: bool = True
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
        return a_revision(attempt=spec.attempt) if self.changes else None

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

    def prepare(
        self, spec: AttemptSpec, tree: BaseTree, output: Output, *, is_stopped: Callable[[], bool]
    ) -> str | None:
        output("stdout", b"made\n")
        return None

    @contextmanager
    def open(self, spec: AttemptSpec, folders: AttemptFolders, *, lease: int) -> Iterator[FakeSandbox]:
        self.on_open(spec)
        folders.out.mkdir(parents=True, exist_ok=True)
        sandbox = FakeSandbox(facts=self.facts)
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
    """Does *work* in the build stage."""

    work: Callable[[FakeSandbox, AgentJob], AgentResult] = lambda _sandbox, _job: DONE

    def plan(self, sandbox: Sandbox, job: AgentJob, output: Output) -> AgentResult | None:
        return None

    def build(self, sandbox: Sandbox, job: AgentJob, output: Output) -> AgentResult:
        assert isinstance(sandbox, FakeSandbox)
        return self.work(sandbox, job)


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
