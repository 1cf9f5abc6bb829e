"""Values that many tests need; each takes what differs."""

import os
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from orchestration.core.attempts import AttemptSpec
from orchestration.core.models import Limits
from orchestration.core.naming import TaskId

_SPEC: Final = AttemptSpec(
    version=1,
    queue="queue",
    task=TaskId("T-1"),
    attempt=1,
    token=1,
    text="do it",
    repo="/nowhere",
    base="main",
    base_commit="0" * 40,
    branch="task/t-1",
    worktree_path=None,
    agent="command",
    agent_command=None,
    model=None,
    sandbox="local",
    limits=Limits(),
    allow_empty=False,
    created_at=datetime(2026, 1, 1, tzinfo=UTC),
    start_commit="0" * 40,
    previous_tip=None,
    collect=1,
)


def a_spec(**changes: Any) -> AttemptSpec:
    """Return an attempt's description, of a queue that only this process has."""
    return replace(_SPEC, **{"queue": f"queue-{os.getpid()}", **changes})
