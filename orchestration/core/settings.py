"""The configuration as one typed value with its defaults.

Not responsible for: where values come from and in what order (``support.config``).
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from orchestration.core.models import Limits

DEFAULT_LIMITS: Final = Limits()


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What an operator can set in ``config.toml``; None means that there is no default and the task must say it."""

    sandbox: str | None = None
    agent: str | None = None
    agent_command: str | None = None
    model: str | None = None
    base: str | None = None
    priority: int = 0
    allow_empty: bool = False
    max_parallel: int = 3
    worktree_root: Path | None = None
    identity_name: str = "taskq agent"
    identity_email: str = "agent@taskq.invalid"
    limits: Limits = field(default_factory=Limits)
