"""Plan and build, with an agent that does what it is told."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from orchestration.core.agent_events import AgentEvent
from orchestration.core.facts import Usage
from orchestration.core.ports import AgentJob, AgentResult, Exit
from orchestration.pipeline.record import EventRecord
from orchestration.pipeline.room import Room
from orchestration.pipeline.stage import Attempt, OpenLog
from orchestration.pipeline.stages.work import build, plan
from tests.engine.fakes import DONE, FAILED, START, FakeAgent, FakeSandbox, SteppingClock

Run = Callable[..., Attempt]


@pytest.fixture
def agent() -> FakeAgent:
    return FakeAgent()


@pytest.fixture
def work(attempt: Attempt, agent: FakeAgent, room: Room, log_of: OpenLog) -> Run:
    """Return a function that runs the stages of these names."""

    def record_of(attempt: Attempt, stage: str) -> EventRecord:
        return EventRecord(attempt.folders.logs, stage, limit=1000, clock=SteppingClock())

    def run(*stages: Any, **changes: Any) -> Attempt:
        current = replace(attempt, **changes)
        for stage in stages:
            current = stage(current, agent=agent, room=room, log_of=log_of, record_of=record_of)
        return current

    room.enter(attempt.spec)
    return run


def told(**fields: Any) -> Callable[[FakeSandbox, AgentJob], AgentResult]:
    """Return work that ends well and tells this of itself."""
    return lambda _sandbox, _job: replace(DONE, **fields)


def test_a_plan_and_its_session_are_handed_on_to_the_build(work: Run, agent: FakeAgent) -> None:
    agent.planning = told(plan="first this, then that", session="ses_1")
    ended = work(plan, build)
    planning, building = agent.asked
    assert (planning.session, building.session, building.plan) == (None, "ses_1", "first this, then that")
    assert (ended.session, ended.failure) == ("ses_1", None)


def test_what_plan_and_build_used_is_added_up_also_when_the_build_failed(work: Run, agent: FakeAgent) -> None:
    agent.planning = told(usage=Usage(input_tokens=10, cost_usd=0.5))
    agent.work = lambda _sandbox, _job: replace(FAILED, usage=Usage(input_tokens=5, output_tokens=1))
    ended = work(plan, build)
    assert ended.usage == Usage(input_tokens=15, output_tokens=1, cost_usd=0.5)
    assert ended.failure is not None


def test_an_agent_that_tells_of_no_usage_leaves_it_unknown(work: Run) -> None:
    assert work(plan, build).usage is None


@pytest.mark.parametrize("usage", [Usage(input_tokens=10**400), Usage(input_tokens=-1), Usage(cost_usd=float("inf"))])
def test_a_usage_that_cannot_be_is_unknown(work: Run, agent: FakeAgent, usage: Usage) -> None:
    agent.work = told(usage=usage)
    assert work(build).usage == Usage()


def test_a_session_that_cannot_be_one_is_none(work: Run, agent: FakeAgent) -> None:
    agent.work = told(session="ses 1\n" * 1000)
    assert work(build).session is None


def test_when_a_provider_may_be_asked_again_is_told_with_the_failure(work: Run, agent: FakeAgent) -> None:
    agent.work = lambda _sandbox, _job: replace(FAILED, code="provider_limit", retry_at=START)
    failure = work(build).failure
    assert failure is not None
    assert (failure.code, failure.retry_at) == ("provider_limit", START)


def test_an_exit_of_which_nothing_is_known_has_no_code(work: Run, agent: FakeAgent) -> None:
    agent.work = lambda _sandbox, _job: replace(FAILED, exit=Exit(code=None))
    failure = work(build).failure
    assert failure is not None
    assert failure.exit_code is None


def test_what_an_agent_tells_is_recorded_by_stage(work: Run, agent: FakeAgent, attempt: Attempt) -> None:
    def tell(_sandbox: FakeSandbox, job: AgentJob) -> AgentResult:
        job.record.raw(b'{"type":"text"}')
        job.record.event(AgentEvent(kind="text", text="said"))
        return DONE

    agent.work = tell
    work(plan, build)
    logs = attempt.folders.logs
    assert sorted(path.name for path in logs.glob("*.jsonl")) == ["build.events.jsonl", "build.raw.jsonl"]
    assert json.loads((logs / "build.events.jsonl").read_bytes())["text"] == "said"


def test_an_attempt_that_planned_before_does_not_plan_again(work: Run, agent: FakeAgent) -> None:
    agent.planning = told(session="another")
    ended = work(plan, build, planned=True, session="ses_1")
    (building,) = agent.asked
    assert (building.session, ended.session) == ("ses_1", "ses_1")
