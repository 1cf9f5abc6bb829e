"""What the settings say for a task that comes without it, by the name of the field.

Not responsible for: tasks that are added (``engine.intake``), which ask the repository too.
"""

from typing import Any

from orchestration.core.settings import Settings
from orchestration.engine.intake import DEFAULT_AGENT, UNLIMITED


def defaults(settings: Settings) -> dict[str, Any]:
    """Return the fields of a task that *settings* have a value for."""
    network = settings.network or ("open" if settings.sandbox == UNLIMITED else "allowlist")
    return {
        "agent": settings.agent or ("command" if settings.agent_command is not None else DEFAULT_AGENT),
        "agent_command": settings.agent_command,
        "model": settings.model,
        "variant": settings.variant,
        "sandbox": settings.sandbox,
        "network": "open" if settings.sandbox == UNLIMITED else network,
        "limits": settings.limits,
        "priority": settings.priority,
        "allow_empty": settings.allow_empty,
    }
