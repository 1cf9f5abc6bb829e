"""What was said of a task becomes a task with every default settled, or an error that names where it was said.

Guarantees: all of the drafts become tasks, or none; nothing is written here.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from orchestration.core.drafts import TaskDraft
from orchestration.core.errors import TaskqError, UsageError
from orchestration.core.models import Limits, Task, check_network
from orchestration.core.naming import (
    TaskId,
    branch_for,
    check_branch,
    check_label,
    id_from_stem,
    task_id,
    worktree_path,
)
from orchestration.core.repository import RepositoryFacts
from orchestration.core.settings import Settings
from orchestration.core.status import Status

TITLE_LENGTH: Final = 72
DEFAULT_AGENT: Final = "opencode"
UNLIMITED: Final = "local"
"""The sandbox that limits neither what its programs use nor where they connect to."""
_SANDBOX_LIMITS: Final = ("memory", "cpus", "pids")

Inspect = Callable[[Path, str, str | None], RepositoryFacts]
"""Looks at a repository; see ``core.ports.Repository.inspect``."""


class Intake:
    """Settles drafts into tasks. *check* refuses a task whose agent or sandbox cannot be."""

    def __init__(
        self,
        *,
        settings: Settings,
        worktree_root: Path,
        cwd: Path,
        inspect: Inspect,
        current_branch: Callable[[Path], str],
        check: Callable[[Task], None],
    ) -> None:
        self._settings = settings
        self._worktree_root = worktree_root
        self._cwd = cwd
        self._inspect = inspect
        self._current_branch = current_branch
        self._check = check
        self._seen: dict[tuple[str, str | None, str], tuple[str, RepositoryFacts]] = {}

    @property
    def warnings(self) -> tuple[str, ...]:
        """What an operator should know of the repositories that were looked at, each once."""
        return tuple(dict.fromkeys(warning for _, facts in self._seen.values() for warning in facts.warnings))

    def settle(self, drafts: Sequence[TaskDraft], *, now: datetime) -> tuple[Task, ...]:
        """Return the tasks that *drafts* stand for, in their order. Raises: UsageError."""
        if not drafts:
            raise UsageError("there is no task in the input")
        return tuple(self._named(draft, now=now) for draft in drafts)

    def _named(self, draft: TaskDraft, *, now: datetime) -> Task:
        try:
            return self._task(draft, now=now)
        except TaskqError as error:
            if draft.source is None or str(error).startswith(draft.source):
                raise
            raise type(error)(f"{draft.source}: {error}", code=error.code) from error

    def _task(self, draft: TaskDraft, *, now: datetime) -> Task:
        identifier = _identifier(draft)
        text = (draft.text or "").strip("\n")
        if not text.strip():
            raise UsageError(f"task {identifier} is empty: say what is wanted", code="empty_task")
        branch = check_branch(draft.branch) if draft.branch else branch_for(identifier)
        sandbox = draft.sandbox or self._settings.sandbox
        network = _network(draft.network or self._settings.network, sandbox)
        _refuse_idle_limits(draft, sandbox)
        base, facts = self._repository(draft, branch)
        task = Task(
            id=identifier,
            repo=str(facts.root),
            base=base,
            base_commit=facts.base_commit,
            branch=branch,
            worktree_path=str(self._worktree(draft, facts, identifier)),
            status=Status.TODO,
            title=(draft.title or text.strip().splitlines()[0])[:TITLE_LENGTH],
            text=text,
            priority=self._settings.priority if draft.priority is None else draft.priority,
            labels=_labels(draft.labels or ()),
            after=tuple(task_id(identifier) for identifier in draft.after or ()),
            not_before=draft.not_before,
            agent=draft.agent or self._default_agent(draft),
            agent_command=draft.agent_command or self._settings.agent_command,
            model=draft.model or self._settings.model,
            variant=draft.variant or self._settings.variant,
            sandbox=sandbox,
            network=network,
            limits=_limits(draft, self._settings.limits),
            allow_empty=self._settings.allow_empty if draft.allow_empty is None else draft.allow_empty,
            created_at=now,
            updated_at=now,
        )
        self._check(task)
        return task

    def _default_agent(self, draft: TaskDraft) -> str:
        """Return the agent when none is named: a command that is given is meant to be run."""
        if draft.agent_command is not None:
            return "command"
        return self._settings.agent or ("command" if self._settings.agent_command is not None else DEFAULT_AGENT)

    def _repository(self, draft: TaskDraft, branch: str) -> tuple[str, RepositoryFacts]:
        """Return the base's name and what the repository says, asked once for equal drafts."""
        if not draft.repo:
            raise UsageError("no repository: say which with --repo, or repo: in the task file", code="no_repository")
        wanted = draft.base or self._settings.base
        key = (draft.repo, wanted, branch if draft.branch else "")
        if key not in self._seen:
            folder = self._cwd / Path(draft.repo).expanduser()
            base = wanted or self._current_branch(folder)
            self._seen[key] = (base, self._inspect(folder, base, branch))
        return self._seen[key]

    def _worktree(self, draft: TaskDraft, facts: RepositoryFacts, identifier: TaskId) -> Path:
        if draft.worktree_path is None:
            return worktree_path(
                self._worktree_root, repository=facts.root, common_dir=facts.common_dir, identifier=identifier
            )
        path = self._cwd / Path(draft.worktree_path).expanduser()
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise UsageError(f"the worktree path {path} is taken; name one that does not exist", code="worktree_taken")
        if path.is_relative_to(facts.common_dir):
            raise UsageError(f"the worktree path {path} is inside the repository's git folder", code="worktree_taken")
        return path


def _identifier(draft: TaskDraft) -> TaskId:
    if draft.id is not None:
        return task_id(draft.id)
    if draft.stem is None:
        raise UsageError("no id: give one with --id", code="no_id")
    stem = id_from_stem(draft.stem)
    if not stem:
        raise UsageError(f"the file name {draft.stem!r} leaves nothing for an id; give one with --id", code="bad_id")
    return task_id(stem)


def _labels(labels: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(map(check_label, labels)))


def _network(said: str | None, sandbox: str) -> str:
    """Return the network that a task gets. Raises: UsageError for one that *sandbox* cannot keep to."""
    network = check_network(said or ("open" if sandbox == UNLIMITED else "allowlist"))
    if sandbox == UNLIMITED and network != "open":
        raise UsageError(
            f"the {sandbox} sandbox does not limit the network, so it cannot be {network}; "
            "use --sandbox docker, or --network open",
            code="unlimited_sandbox",
        )
    return network


def _refuse_idle_limits(draft: TaskDraft, sandbox: str) -> None:
    """Refuse limits of the task's own that would have no effect; what is configured is for every sandbox."""
    idle = [name for name in _SANDBOX_LIMITS if name in (draft.limits or {})]
    if idle and sandbox == UNLIMITED:
        raise UsageError(
            f"the {sandbox} sandbox does not limit {', '.join(idle)}; use --sandbox docker", code="unlimited_sandbox"
        )


def _limits(draft: TaskDraft, defaults: Limits) -> Limits:
    given: dict[str, Any] = dict(draft.limits or {})
    return defaults._replace(**given)
