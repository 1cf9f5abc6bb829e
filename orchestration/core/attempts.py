"""One attempt: its description, its folders, its result. Frozen values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from types import MappingProxyType

from orchestration.core.facts import Failure, Revision, Usage
from orchestration.core.models import Limits
from orchestration.core.naming import TaskId


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
