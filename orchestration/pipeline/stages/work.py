"""Plan and build: the agent works, and what it says streams to the attempt's logs."""

from dataclasses import replace
from datetime import timedelta

from orchestration.core.facts import Usage
from orchestration.core.ports import Agent, AgentJob, AgentResult
from orchestration.pipeline import claims
from orchestration.pipeline.failure import from_agent
from orchestration.pipeline.log import StageLog
from orchestration.pipeline.record import EventRecord
from orchestration.pipeline.room import Room
from orchestration.pipeline.stage import Attempt, OpenLog, OpenRecord


def plan(attempt: Attempt, *, agent: Agent, room: Room, log_of: OpenLog, record_of: OpenRecord) -> Attempt:
    """Return the attempt with its plan, when the agent can plan and has not planned before."""
    if attempt.planned:
        return attempt
    with log_of(attempt, "plan") as log, record_of(attempt, "plan") as record:
        result = agent.plan(room.sandbox, _job(attempt, attempt.spec.limits.plan, record), log.write)
        if result is None:
            return attempt
        return replace(_with(attempt, result, stage="plan", log=log), plan=result.plan)


def build(attempt: Attempt, *, agent: Agent, room: Room, log_of: OpenLog, record_of: OpenRecord) -> Attempt:
    """Return the attempt with what was observed of the agent's work."""
    with log_of(attempt, "build") as log, record_of(attempt, "build") as record:
        result = agent.build(room.sandbox, _job(attempt, attempt.spec.limits.build, record), log.write)
        return _with(attempt, result, stage="build", log=log)


def _job(attempt: Attempt, timeout: timedelta, record: EventRecord) -> AgentJob:
    return AgentJob(
        spec=attempt.spec,
        folders=attempt.folders,
        timeout=timeout,
        plan=attempt.plan,
        session=attempt.session,
        record=record,
    )


def _with(attempt: Attempt, result: AgentResult, *, stage: str, log: StageLog) -> Attempt:
    return replace(
        attempt,
        session=claims.session(result.session) or attempt.session,
        usage=_sum(attempt.usage, claims.usage(result.usage)),
        failure=from_agent(result, stage=stage, log=log),
    )


def _sum(before: Usage | None, now: Usage | None) -> Usage | None:
    if before is None or now is None:
        return now if before is None else before
    return before + now
