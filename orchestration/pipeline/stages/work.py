"""Plan and build: the agent works, and its output streams to the attempt's logs."""

from collections.abc import Callable
from dataclasses import replace

from orchestration.core.ports import Agent, AgentJob, Output
from orchestration.pipeline.failure import from_agent
from orchestration.pipeline.log import StageLog
from orchestration.pipeline.room import Room
from orchestration.pipeline.stage import Attempt

Watch = Callable[[Attempt, str], Output]
"""Returns where a stage's output is shown while it comes."""


def plan(attempt: Attempt, *, agent: Agent, room: Room, watch: Watch) -> Attempt:
    """Return the attempt with its plan, when the agent can plan."""
    with _log(attempt, "plan", watch=watch) as log:
        job = AgentJob(spec=attempt.spec, folders=attempt.folders, timeout=attempt.spec.limits.plan)
        result = agent.plan(room.sandbox, job, log.write)
        if result is None:
            return attempt
        return replace(
            attempt,
            plan=result.plan,
            session=result.session or attempt.session,
            failure=from_agent(result, stage="plan", log=log),
        )


def build(attempt: Attempt, *, agent: Agent, room: Room, watch: Watch) -> Attempt:
    """Return the attempt with what was observed of the agent's work."""
    with _log(attempt, "build", watch=watch) as log:
        job = AgentJob(spec=attempt.spec, folders=attempt.folders, timeout=attempt.spec.limits.build, plan=attempt.plan)
        result = agent.build(room.sandbox, job, log.write)
        return replace(
            attempt,
            session=result.session or attempt.session,
            usage=result.usage,
            failure=from_agent(result, stage="build", log=log),
        )


def _log(attempt: Attempt, stage: str, *, watch: Watch) -> StageLog:
    path = attempt.folders.logs / f"{stage}.log"
    return StageLog(path, limit=attempt.spec.limits.output, watch=watch(attempt, stage))
