"""The task and its limits. Frozen values; change makes a new one with ``_replace``.

Named tuples, because `taskq add` loads them: see ``docs/decisions/0004-light-values.md``.

Guarantees: a task's status changes only through ``Task.advance``, along the table in ``core.status``.
Not responsible for: how values are stored (``store.codec``) or found on disk.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from orchestration.core.errors import IllegalTransitionError, UsageError
from orchestration.core.naming import TaskId
from orchestration.core.status import RUNNING, TRANSITIONS, Status

if TYPE_CHECKING:  # quoted below: what `taskq add` never needs is not loaded for it
    from orchestration.core.facts import Failure, Landed, Revision, Run, Usage

SCHEMA_VERSION: Final = 1
"""The ``v`` that this taskq writes; a task with a larger one is refused."""


class Limits(NamedTuple):
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
    memory: int = 1024**3
    """What all programs in the sandbox may hold together."""
    cpus: float = 2.0
    """Processors' worth of time; half a one is 0.5."""
    pids: int = 512
    """How many processes and threads there may be."""


DEFAULT_LIMITS: Final = Limits()

NETWORKS: Final = ("allowlist", "none", "open")
"""What a task may say of its sandbox's network: the way out that we guard, none at all, or the host's own."""


def check_network(text: str) -> str:
    """Return *text*, which is one of NETWORKS. Raises: UsageError."""
    if text not in NETWORKS:
        raise UsageError(f"no network {text[:40]!a}; there are: {', '.join(NETWORKS)}", code="unknown_network")
    return text


class Task(NamedTuple):
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
    variant: str | None = None
    sandbox: str | None = None
    network: str | None = None
    limits: Limits = DEFAULT_LIMITS
    allow_empty: bool = False
    attempt: int = 0
    charged: int = 0
    run: "Run | None" = None
    revision: "Revision | None" = None
    verification: Mapping[str, Any] | None = None
    usage: "Usage | None" = None
    landed: "Landed | None" = None
    error: "Failure | None" = None

    def advance(self, to: Status, *, at: datetime, reason: str | None = None, hint: str = "") -> Self:
        """Return this task in status *to*, or refuse with IllegalTransitionError."""
        if to not in TRANSITIONS[self.status]:
            raise IllegalTransitionError(self.id, self.status, to, hint=hint)
        return self._replace(status=to, updated_at=at, reason=reason)

    @property
    def is_running(self) -> bool:
        """Whether a runner holds (or held, when it died) this task."""
        return self.status in RUNNING
