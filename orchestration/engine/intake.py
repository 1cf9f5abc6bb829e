"""What was said of a task becomes a task with every default settled, or an error that names where it was said.

Guarantees: all of the drafts become tasks, or none; nothing is written here.
"""

import os
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

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
Tell = Callable[[int], object]
"""Is told how many tasks are settled."""


class _Place(NamedTuple):
    """Where tasks begin: a repository and its base, and the folder that their worktrees go to."""

    base: str
    facts: RepositoryFacts
    root: str
    worktrees: str


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
        self._seen: dict[tuple[str, str | None, str], _Place] = {}

    @property
    def warnings(self) -> tuple[str, ...]:
        """What an operator should know of the repositories that were looked at, each once."""
        return tuple(dict.fromkeys(warning for place in self._seen.values() for warning in place.facts.warnings))

    def settle(self, drafts: Sequence[TaskDraft], *, now: datetime, tell: Tell | None = None) -> tuple[Task, ...]:
        """Return the tasks that *drafts* stand for, in their order. Raises: UsageError."""
        if not drafts:
            raise UsageError("there is no task in the input")
        tasks = []
        for count, draft in enumerate(drafts, start=1):
            tasks.append(self._named(draft, now=now))
            if tell is not None:
                tell(count)
        return tuple(tasks)

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
        place = self._place(draft, branch, identifier)
        task = Task(
            id=identifier,
            repo=place.root,
            base=place.base,
            base_commit=place.facts.base_commit,
            branch=branch,
            worktree_path=self._worktree(draft, place, identifier),
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

    def _place(self, draft: TaskDraft, branch: str, identifier: TaskId) -> _Place:
        """Return where the task begins; the repository is asked once for equal drafts."""
        if not draft.repo:
            raise UsageError("no repository: say which with --repo, or repo: in the task file", code="no_repository")
        wanted = draft.base or self._settings.base
        key = (draft.repo, wanted, branch if draft.branch else "")
        if key not in self._seen:
            folder = self._cwd / Path(draft.repo).expanduser()
            base = wanted or self._current_branch(folder)
            facts = self._inspect(folder, base, branch)
            first = worktree_path(
                self._worktree_root, repository=facts.root, common_dir=facts.common_dir, identifier=identifier
            )
            self._seen[key] = _Place(base, facts, str(facts.root), str(first.parent))
        return self._seen[key]

    def _worktree(self, draft: TaskDraft, place: _Place, identifier: TaskId) -> str:
        if draft.worktree_path is None:
            return os.path.join(place.worktrees, identifier)  # noqa: PTH118 -- a hundred thousand of them in one call
        path = self._cwd / Path(draft.worktree_path).expanduser()
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise UsageError(f"the worktree path {path} is taken; name one that does not exist", code="worktree_taken")
        if path.is_relative_to(place.facts.common_dir):
            raise UsageError(f"the worktree path {path} is inside the repository's git folder", code="worktree_taken")
        return str(path)


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
    return tuple(dict.fromkeys(map(check_label, labels))) if labels else ()


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
    if not draft.limits or sandbox != UNLIMITED:
        return
    idle = [name for name in _SANDBOX_LIMITS if name in draft.limits]
    if idle:
        raise UsageError(
            f"the {sandbox} sandbox does not limit {', '.join(idle)}; use --sandbox docker", code="unlimited_sandbox"
        )


def _limits(draft: TaskDraft, defaults: Limits) -> Limits:
    if not draft.limits:
        return defaults
    given: dict[str, Any] = dict(draft.limits)
    return defaults._replace(**given)
