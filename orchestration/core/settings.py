"""The configuration as one typed value with its defaults: a named tuple, because `taskq add` loads it.

Not responsible for: where values come from and in what order (``support.config``).
"""

from pathlib import Path
from typing import NamedTuple

from orchestration.core.models import DEFAULT_LIMITS, Limits


class Settings(NamedTuple):
    """What an operator can set in ``config.toml``; None means that there is no default.

    *image* is what sandboxes start from when a repository names nothing, None for the built-in one. *allow* opens the
    network to hosts and presets, *allow_private* to hosts with private addresses, which no repository can.
    """

    sandbox: str = "docker"
    image: str | None = None
    network: str | None = None
    allow: tuple[str, ...] = ()
    allow_private: tuple[str, ...] = ()
    agent: str | None = None
    agent_command: str | None = None
    model: str | None = None
    variant: str | None = None
    base: str | None = None
    priority: int = 0
    allow_empty: bool = False
    max_parallel: int = 3
    worktree_root: Path | None = None
    identity_name: str = "taskq agent"
    identity_email: str = "agent@taskq.invalid"
    limits: Limits = DEFAULT_LIMITS
