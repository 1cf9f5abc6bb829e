"""Plan and build: the agent works, and its output streams to the attempt's logs."""

from dataclasses import replace

from orchestration.core.ports import Agent, AgentJob
from orchestration.pipeline.failure import from_agent
from orchestration.pipeline.room import Room
from orchestration.pipeline.stage import Attempt, OpenLog


def plan(attempt: Attempt, *, agent: Agent, room: Room, log_of: OpenLog) -> Attempt:
    """Return the attempt with its plan, when the agent can plan."""
    with log_of(attempt, "plan") as log:
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


def build(attempt: Attempt, *, agent: Agent, room: Room, log_of: OpenLog) -> Attempt:
    """Return the attempt with what was observed of the agent's work."""
    with log_of(attempt, "build") as log:
        job = AgentJob(spec=attempt.spec, folders=attempt.folders, timeout=attempt.spec.limits.build, plan=attempt.plan)
        result = agent.build(room.sandbox, job, log.write)
        return replace(
            attempt,
            session=result.session or attempt.session,
            usage=result.usage,
            failure=from_agent(result, stage="build", log=log),
        )
