"""The nouns: task, attempt, revision, limits. Frozen values; change makes a new one.

Guarantees: a task's status changes only through ``Task.advance``, along the table in ``core.status``.
Not responsible for: how values are stored (``store.codec``) or found on disk.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Self

from orchestration.core.errors import IllegalTransitionError
from orchestration.core.naming import TaskId
from orchestration.core.status import RUNNING, TRANSITIONS, Status

SCHEMA_VERSION: Final = 1
"""The ``v`` that this taskq writes; a task with a larger one is refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one attempt may use, complete: a task's limits are settled when it is added. Sizes are bytes."""

    setup: timedelta = timedelta(minutes=10)
    plan: timedelta = timedelta(minutes=15)
    build: timedelta = timedelta(hours=1)
    collect: timedelta = timedelta(minutes=10)
    output: int = 64 * 1024**2
    """Kept output of each stage."""
    bundle: int = 1024**3
    """What is taken out of the sandbox, as one file."""
    file: int = 100 * 1024**2
    """Any one changed file."""
    files: int = 100_000
    """How many files may change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Runner:
    """The process that holds an attempt, so named that a recycled pid or a reboot is noticed."""

    host: str
    pid: int
    started: str
    boot: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Facts of the current attempt, known since its claim. *token* is the claim's rev: the fencing token."""

    attempt: int
    token: int
    sandbox: str
    folder: str
    runner: Runner
    started_at: datetime
    session: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FileChange:
    """One path that a revision changes against its base. Counts are None for binary files."""

    path: str
    status: str
    added: int | None
    removed: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """One collected state of a task's work; review and landing are about exactly one.

    *flags* are findings of the tree check that a reviewer must see, such as ``changes .gitattributes drivers``.
    *published* is False when a person had moved the branch or changed the worktree, so that neither was touched.
    """

    commit: str
    base_commit: str
    ref: str
    attempt: int
    collect: int
    collected_at: datetime
    source: str
    files: tuple[FileChange, ...] = ()
    flags: tuple[str, ...] = ()
    published: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What the agent used, as its structured output said; None is unknown, never zero."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Landed:
    """How and when an approved revision came into its base."""

    commit: str
    how: str
    base: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why an attempt did not succeed. *report* is the path of the full report under ``queue/errors``."""

    stage: str
    code: str
    message: str
    command: str | None = None
    exit_code: int | None = None
    stdout_tail: str = ""
    stderr_tail: str = ""
    report: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What is wanted, and how far it is."""

    id: TaskId
    repo: str
    base: str
    status: Status
    created_at: datetime
    updated_at: datetime
    v: int = SCHEMA_VERSION
    rev: int = 0
    title: str | None = None
    text: str | None = None
    base_commit: str | None = None
    branch: str | None = None
    worktree_path: str | None = None
    task_file: str | None = None
    reason: str | None = None
    priority: int = 0
    labels: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    not_before: datetime | None = None
    agent: str | None = None
    agent_command: str | None = None
    model: str | None = None
    sandbox: str | None = None
    network: str | None = None
    limits: Limits = field(default_factory=Limits)
    allow_empty: bool = False
    attempt: int = 0
    charged: int = 0
    run: Run | None = None
    revision: Revision | None = None
    verification: Mapping[str, Any] | None = None
    usage: Usage | None = None
    landed: Landed | None = None
    error: Failure | None = None

    def advance(self, to: Status, *, at: datetime, reason: str | None = None, hint: str = "") -> Self:
        """Return this task in status *to*, or refuse with IllegalTransitionError."""
        if to not in TRANSITIONS[self.status]:
            raise IllegalTransitionError(self.id, self.status, to, hint=hint)
        return replace(self, status=to, updated_at=at, reason=reason)

    @property
    def is_running(self) -> bool:
        """Whether a runner holds (or held, when it died) this task."""
        return self.status in RUNNING


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptSpec:
    """One attempt, complete and plain, so that another machine could run it unchanged. Holds no secret."""

    version: int
    queue: str
    task: TaskId
    attempt: int
    token: int
    text: str
    repo: str
    base: str
    base_commit: str
    branch: str
    worktree_path: str | None
    agent: str
    agent_command: str | None
    model: str | None
    sandbox: str
    limits: Limits
    allow_empty: bool
    created_at: datetime
    start_commit: str
    """Where the agent starts: the base commit, or with ``--dirty-run`` what was collected and changed since."""
    previous_tip: str | None
    """Our last tip of the branch, which the branch must still be at to be moved; None before the first collect."""
    collect: int
    """The number that this attempt's next collected ref gets, from 1."""

    @property
    def labels(self) -> Mapping[str, str]:
        """Return what marks everything that belongs to this attempt as ours."""
        return MappingProxyType(
            {"taskq.queue": self.queue, "taskq.task": self.task, "taskq.attempt": str(self.attempt)}
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptFolders:
    """The folders of one attempt; all paths are absolute.

    The agent may write *workspace*, *git*, *data* and *out*, and nothing else; host programs never trust what is there.
    *inbox* holds what was taken out of the sandbox, and is ours alone.
    """

    root: Path

    @property
    def workspace(self) -> Path:
        """The agent's checkout."""
        return self.root / "workspace"

    @property
    def git(self) -> Path:
        """The checkout's git dir, outside its tree."""
        return self.root / "git"

    @property
    def config(self) -> Path:
        """The agent's configuration, read-only for the agent."""
        return self.root / "config"

    @property
    def data(self) -> Path:
        """The agent's HOME and temporary folder."""
        return self.root / "data"

    @property
    def out(self) -> Path:
        """Where commands in the sandbox leave files for the host to fetch."""
        return self.root / "out"

    @property
    def inbox(self) -> Path:
        """Fetched files and the quarantine: host only."""
        return self.root / "inbox"

    @property
    def logs(self) -> Path:
        """Output of each stage: host only."""
        return self.root / "logs"

    @property
    def result(self) -> Path:
        """The attempt's result as JSON, written before the journal is told."""
        return self.root / "result.json"

    @property
    def lease(self) -> Path:
        """The file whose lock says that somebody holds this attempt."""
        return self.root / "lease"


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptResult:
    """How an attempt ended, as observed. Written to its folder before the journal is told, and enough to settle it."""

    task: TaskId
    attempt: int
    token: int
    finished_at: datetime
    revision: Revision | None = None
    failure: Failure | None = None
    collected: bool = False
    """Whether nothing of the agent's is in the folders only: it was collected, or there was nothing to collect."""
    stopped: str | None = None
    """Why it was ended from outside (``interrupted``, ``cancelled``); None when it ended by itself."""
    session: str | None = None
    usage: Usage | None = None
    timings: Mapping[str, timedelta] = field(default_factory=dict)
