"""One attempt: its description, its folders, its result. Frozen values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from types import MappingProxyType

from orchestration.core.facts import Failure, Revision, SandboxFacts, Usage
from orchestration.core.models import Limits
from orchestration.core.naming import TaskId
from orchestration.core.toolchain import Toolchain


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
    network: str | None = None
    """``allowlist``, ``none`` or ``open``; None for a sandbox that does not limit it."""
    allow: tuple[str, ...] = ()
    """What the operator's configuration opens the network to: hosts (``HOST`` or ``HOST:PORT``) and presets."""
    allow_private: tuple[str, ...] = ()
    """Hosts that the operator opens although their addresses are private; a repository cannot."""
    toolchain: Toolchain = field(default_factory=Toolchain)
    """What ``.taskq.toml`` of the base commit says; known since setup."""
    image: str | None = None
    """The id of the image that the sandbox starts from; known since setup, None where there is no image."""
    variant: str | None = None
    """Which variant of the model, such as how hard it thinks; the agent's own words."""
    session: str | None = None
    """The agent's session that is to be gone on with; None for a fresh one."""

    @property
    def labels(self) -> Mapping[str, str]:
        """Return what marks everything that belongs to this attempt as ours."""
        return MappingProxyType(
            {"taskq.queue": self.queue, "taskq.task": self.task, "taskq.attempt": str(self.attempt)}
        )


@dataclass(frozen=True, kw_only=True)
class AttemptFolders:
    """The folders of one attempt; all paths are absolute. Without slots, so that each path is made once.

    The agent may write *workspace*, *git*, *data* and *out*, and nothing else; host programs never trust what is there.
    *inbox* holds what was taken out of the sandbox, and is ours alone.
    """

    root: Path

    @cached_property
    def workspace(self) -> Path:
        """The agent's checkout."""
        return self.root / "workspace"

    @cached_property
    def git(self) -> Path:
        """The checkout's git dir, outside its tree."""
        return self.root / "git"

    @cached_property
    def config(self) -> Path:
        """The agent's configuration, read-only for the agent."""
        return self.root / "config"

    @cached_property
    def data(self) -> Path:
        """The agent's HOME and temporary folder."""
        return self.root / "data"

    @cached_property
    def out(self) -> Path:
        """Where commands in the sandbox leave files for the host to fetch."""
        return self.root / "out"

    @cached_property
    def secrets(self) -> Path:
        """The repository's secrets, one file each, there only while a sandbox is open."""
        return self.root / "secrets"

    @cached_property
    def egress(self) -> Path:
        """Where the sandbox meets the way out of its network: host only, shown read-only."""
        return self.root / "egress"

    @cached_property
    def base(self) -> Path:
        """A link to the object store that the workspace borrows from: shown in the sandbox, read-only."""
        return self.root / "base"

    @cached_property
    def inbox(self) -> Path:
        """Fetched files and the quarantine: host only."""
        return self.root / "inbox"

    @cached_property
    def logs(self) -> Path:
        """Output of each stage: host only."""
        return self.root / "logs"

    @cached_property
    def result(self) -> Path:
        """The attempt's result as JSON, written before the journal is told."""
        return self.root / "result.json"

    @cached_property
    def lease(self) -> Path:
        """The file whose lock says that somebody holds this attempt."""
        return self.root / "lease"

    @property
    def ahead(self) -> Path:
        """There while the folders may hold work that no revision has: a person was in the sandbox since."""
        return self.root / "ahead"


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
    sandbox: SandboxFacts | None = None
    """What the agent's sandbox was; None when none was opened."""
