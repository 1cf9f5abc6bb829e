"""What a run tells those who watch it, while it happens. For screens; the journal is the record."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from orchestration.core.facts import SandboxFacts
from orchestration.core.models import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskClaimed:
    """A runner has claimed *task*."""

    task: Task
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class StageStarted:
    """A stage of *task*'s attempt began."""

    task: Task
    stage: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class StageEnded:
    """A stage of *task*'s attempt ended, well or not."""

    task: Task
    stage: str
    elapsed: timedelta
    succeeded: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxOpened:
    """The attempt's sandbox is open; *facts* say what is wider than the defaults, which must be shown."""

    task: Task
    facts: SandboxFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputSeen:
    """The attempt's program wrote something: raw bytes of a hostile program; escape before showing."""

    task: Task
    stage: str
    stream: Literal["stdout", "stderr"]
    chunk: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSettled:
    """The attempt is over and the journal says so; *task* is its new state."""

    task: Task
    elapsed: timedelta


RunEvent = TaskClaimed | StageStarted | StageEnded | SandboxOpened | OutputSeen | TaskSettled
Observer = Callable[[RunEvent], None]
"""Called from worker threads; must be quick and must not raise."""
