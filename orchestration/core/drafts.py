"""What an operator said of a task, before defaults are settled. None is "not said".

A named tuple, because `taskq add` loads it and it is quicker to make than a dataclass.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple


class TaskDraft(NamedTuple):
    """One task as given by flags, a task file or a line of a bulk file.

    *source* is ``file:line`` (or None for flags) and starts every error about the draft; *stem* is what an id is made
    from when none is given. *limits* holds only what was said, by the field names of ``core.models.Limits``.
    """

    id: str | None = None
    title: str | None = None
    text: str | None = None
    repo: str | None = None
    base: str | None = None
    branch: str | None = None
    worktree_path: str | None = None
    agent: str | None = None
    agent_command: str | None = None
    model: str | None = None
    variant: str | None = None
    sandbox: str | None = None
    network: str | None = None
    priority: int | None = None
    labels: tuple[str, ...] | None = None
    after: tuple[str, ...] | None = None
    not_before: datetime | None = None
    limits: Mapping[str, timedelta | float] | None = None
    allow_empty: bool | None = None
    source: str | None = None
    stem: str | None = None


def overlay(stronger: TaskDraft, weaker: TaskDraft) -> TaskDraft:
    """Return *weaker* with everything that *stronger* says in its place; limits are merged one by one."""
    said: dict[str, Any] = {name: value for name, value in stronger._asdict().items() if value is not None}
    if stronger.limits is not None:
        said["limits"] = {**(weaker.limits or {}), **stronger.limits}
    return weaker._replace(**said)
