"""What an agent's exit means: a problem in words and its stable code, or that there is none."""

import signal
from typing import Final

from orchestration.core.ports import AgentResult, Exit
from orchestration.support.quantities import spell_duration

FAILED: Final = "agent_failed"
KILLED: Final = "agent_killed"
TIMEOUT: Final = "agent_timeout"
STOPPED: Final = "agent_stopped"


def judge(exit_: Exit, command: str, *, failure: str | None = None) -> AgentResult:
    """Return the result of an agent that ended so; *failure* is what a non-zero exit code means for this agent."""
    problem, code = _problem(exit_, failure)
    return AgentResult(exit=exit_, command=command, problem=problem, code=code)


def _problem(exit_: Exit, failure: str | None) -> tuple[str, str] | tuple[None, None]:
    if exit_.stopped:
        return "the agent was stopped on request", STOPPED
    if exit_.timed_out:
        return f"the agent was still working after {spell_duration(exit_.elapsed)} and was stopped", TIMEOUT
    if exit_.signal is not None:
        return f"the agent was killed by signal {_spell(exit_.signal)}", KILLED
    if exit_.code == 0:
        return None, None
    if exit_.code is None:
        return "nobody saw how the agent ended", FAILED
    return failure or f"the agent ended with exit code {exit_.code}", FAILED


def _spell(number: int) -> str:
    try:
        return f"{number} ({signal.Signals(number).name})"
    except ValueError:
        return str(number)
