"""What agents have in common that need nothing of the operator's, do not plan and have no session to join."""

from collections.abc import Mapping
from contextlib import AbstractContextManager

from orchestration.core.attempts import AttemptSpec
from orchestration.core.ports import AgentJob, AgentNeeds, AgentResult, AgentServer, Output, Sandbox


class PlainAgent:
    """The part of `core.ports.Agent` that is nothing for such an agent."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        """Take the operator's variables, as every agent does; this one uses none of them."""

    def needs(self, _spec: AttemptSpec) -> AgentNeeds:
        """Return that nothing is needed."""
        return AgentNeeds()

    def plan(self, _sandbox: Sandbox, _job: AgentJob, _output: Output) -> AgentResult | None:
        """Return None: there is no plan."""
        return None

    def serve(self, _sandbox: Sandbox, _job: AgentJob, _output: Output) -> AbstractContextManager[AgentServer] | None:
        """Return None: there is no session."""
        return None
