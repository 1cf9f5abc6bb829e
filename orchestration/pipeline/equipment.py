"""What an attempt is given besides its folders: its agent, and what that needs from outside the sandbox."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from orchestration.core.attempts import AttemptSpec
from orchestration.core.ports import Agent
from orchestration.pipeline.parts import Parts


@dataclass(frozen=True, slots=True, kw_only=True)
class Equipment:
    """The agent of one attempt, with *spec* opened to the hosts that it needs, and *secrets*: names with values."""

    agent: Agent
    spec: AttemptSpec
    secrets: tuple[tuple[str, bytes], ...] = field(default=(), repr=False)


def equip(parts: Parts, spec: AttemptSpec) -> Equipment:
    """Return a fresh agent for the attempt, and what it needs. Raises: UsageError."""
    agent = parts.agent(spec.agent)
    needs = agent.needs(spec)
    spec = replace(
        spec,
        allow=_joined(spec.allow, needs.allow),
        allow_private=_joined(spec.allow_private, needs.allow_private),
    )
    return Equipment(agent=agent, spec=spec, secrets=needs.secrets)


def _joined(ours: Iterable[str], theirs: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*ours, *theirs)))
