"""What an agent did, in the same words for every agent: what normalised events hold. Frozen values.

A normalised event is for people and programs that read along; whether the agent succeeded is judged by its adapter.
"""

from dataclasses import dataclass
from typing import Literal

from orchestration.core.facts import Usage

EventKind = Literal["session", "text", "reasoning", "tool", "step", "error"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentEvent:
    """One thing that an agent did. Every text is the agent's own: untrusted, and perhaps long.

    *text* is what was said (``text``, ``reasoning``), what a tool was asked or answered in one line (``tool``), the
    session's id (``session``), why a step ended (``step``) or what went wrong (``error``). *usage* is a step's own.
    """

    kind: EventKind
    text: str = ""
    tool: str | None = None
    state: Literal["completed", "error"] | None = None
    usage: Usage | None = None
