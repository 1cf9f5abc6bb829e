"""Who an attempt's commands run as, inside and outside. Pure.

Rules, in the order tried: a rootless engine's root is the operator, so the agent is root inside and the operator
outside; a remapped engine shifts ids by its own range; any other engine leaves ids as they are, and an operator who is
root has the agent run as 1000.
"""

from dataclasses import dataclass
from typing import Final

from orchestration.adapters.sandbox.attempt_files import Owner
from orchestration.adapters.sandbox.docker.engine import Facts
from orchestration.core.errors import SandboxError

AGENT: Final = 1000
"""The agent's uid and gid when the operator is root."""
KEEPER: Final = "65534:65534"
"""The user of the container's main process: neither root nor the agent, so that an agent cannot end it."""


@dataclass(frozen=True, slots=True)
class Users:
    """*inside* is the agent's uid and gid in the container; *owner* who gets its folders on the host, None: nobody."""

    inside: Owner
    owner: Owner | None

    @property
    def agent(self) -> str:
        """Return the agent's user as the engine spells it."""
        return f"{self.inside[0]}:{self.inside[1]}"


def users_for(engine: Facts, operator: Owner) -> Users:
    """Return the users for an engine and an operator. Raises: SandboxError where they cannot meet."""
    uid, gid = operator
    if engine.is_rootless:
        return Users(inside=(0, 0), owner=None)
    if engine.remap is not None:
        if uid != 0:
            message = (
                "the engine remaps users (userns-remap), and only root can hand files to them; "
                "run taskq as root, or use a rootless engine"
            )
            raise SandboxError(message, code="users_remapped")
        return Users(inside=(AGENT, AGENT), owner=(engine.remap[0] + AGENT, engine.remap[1] + AGENT))
    if uid == 0:
        return Users(inside=(AGENT, AGENT), owner=(AGENT, AGENT))
    return Users(inside=(uid, gid), owner=None)
