"""What OpenCode is asked, in words. Pure."""

from typing import Final

from orchestration.core.ports import AgentJob

_ALONE: Final = (
    "Nobody can answer questions meanwhile: where something is open, decide, and say in the end what you decided."
)
_PLAN: Final = (
    "Make a plan for this task, and change nothing yet. Look at the repository first. "
    "Answer with the plan: what you will change, where, and how you will check it. "
)
_BUILD: Final = "Now carry out your plan to its end, and check your work. "
_ANEW: Final = "Do this task to its end, and check your work. "
_ON: Final = (
    "You worked on this task before and were interrupted. See what is done already, go on from there to the end, "
    "and check your work. "
)


def plan(job: AgentJob) -> str:
    """Return what the planning agent is asked."""
    return f"{job.spec.text}\n\n---\n{_PLAN}{_ALONE}"


def build(job: AgentJob) -> str:
    """Return what the building agent is asked: to carry out its plan, to go on, or to do the task."""
    if job.spec.session is not None:
        return f"{_ON}{_ALONE}\n\nThe task:\n{job.spec.text}"
    if job.session is not None:
        return f"{_BUILD}{_ALONE}"
    return f"{job.spec.text}\n\n---\n{_ANEW}{_ALONE}"
