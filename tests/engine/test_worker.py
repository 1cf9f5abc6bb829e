from collections.abc import Callable
from dataclasses import replace

import pytest

from orchestration.core.attempts import AttemptResult
from orchestration.core.errors import BusyError, CorruptStateError
from orchestration.core.events import RunEvent, StageStarted, TaskSettled
from orchestration.core.models import Task
from orchestration.core.naming import TaskId
from orchestration.core.ports import AgentJob, AgentResult
from orchestration.core.status import Status
from orchestration.engine.lease import hold, is_held
from orchestration.pipeline.stage import StopSwitch
from tests.engine.conftest import Engine
from tests.engine.fakes import DONE, FAILED, START, STOPPED, FakeSandbox, a_revision


def run(engine: Engine, task: Task, switch: StopSwitch | None = None) -> Task:
    return engine.worker.run(task, queue="q", switch=switch or StopSwitch())


def a_result(token: int) -> AttemptResult:
    return AttemptResult(task=TaskId("T-1"), attempt=1, token=token, finished_at=START, revision=a_revision())


def after(result: AgentResult, deed: Callable[[], object]) -> Callable[[FakeSandbox, AgentJob], AgentResult]:
    """Return an agent's work that does *deed* and ends with *result*."""

    def work(_sandbox: FakeSandbox, _job: AgentJob) -> AgentResult:
        deed()
        return result

    return work


def test_a_claimed_task_goes_through_its_stages_to_review(engine: Engine) -> None:
    engine.add("T-1")
    settled = run(engine, engine.claim())
    assert (settled.status, settled.attempt, settled.charged, settled.revision) == (Status.REVIEW, 1, 1, a_revision())
    stages = [(event.stage, event.task.status) for event in engine.events if isinstance(event, StageStarted)]
    assert [stage for stage, _ in stages] == ["setup", "plan", "build", "collect", "teardown"]
    assert isinstance(engine.events[-1], TaskSettled)
    assert engine.provider.closed == len(engine.provider.opened) == 1
    assert not is_held(engine.records.folders("T-1", 1).lease)


def test_the_lease_is_held_while_the_agent_works_and_its_result_is_on_disk_before_the_journal_is_told(
    engine: Engine,
) -> None:
    engine.add("T-1")
    lease = engine.records.folders("T-1", 1).lease
    seen: list[bool] = []
    engine.agent.work = after(FAILED, lambda: seen.append(is_held(lease)))
    settled = run(engine, engine.claim())
    result = engine.records.load_result("T-1", 1)
    assert seen == [True]
    assert result is not None
    assert (result.failure, settled.error) == (settled.error, result.failure)


def test_each_claim_has_a_token_of_its_own_and_a_new_attempt_number(engine: Engine) -> None:
    engine.add("T-1")
    first = engine.claim()
    engine.worker.requeue(first, "again")
    second = engine.claim()
    assert first.run is not None
    assert second.run is not None
    assert (first.attempt, second.attempt) == (1, 2)
    assert second.run.token > first.run.token
    assert second.run.token == second.rev


def test_a_result_under_an_old_token_never_changes_the_task(engine: Engine) -> None:
    engine.add("T-1")
    first = engine.claim()
    engine.worker.requeue(first, "again")
    engine.claim()
    before = engine.task()
    assert first.run is not None
    with pytest.raises(BusyError, match="claimed again"):
        engine.worker.settle(first, a_result(first.run.token))
    assert engine.task() == before


def test_the_same_result_under_the_right_token_does(engine: Engine) -> None:
    engine.add("T-1")
    task = engine.claim()
    assert task.run is not None
    engine.store.change("T-1", lambda current: current.advance(Status.BUILDING, at=START), by="test")
    assert engine.worker.settle(task, a_result(task.run.token)).status is Status.REVIEW


def test_an_attempt_that_lost_its_claim_never_starts_its_agent_and_leaves_the_task_alone(engine: Engine) -> None:
    engine.add("T-1")
    worked: list[bool] = []
    engine.agent.work = after(DONE, lambda: worked.append(True))
    task = engine.claim()
    engine.store.change("T-1", lambda current: current.advance(Status.CANCELLED, at=START), by="test")
    run(engine, task)
    assert engine.task().status is Status.CANCELLED
    assert worked == []


def test_a_lease_that_somebody_holds_fails_the_attempt_and_not_the_runner(engine: Engine) -> None:
    engine.add("T-1")
    task = engine.claim()
    folders = engine.records.folders("T-1", 1)
    folders.root.mkdir(parents=True)
    with hold(folders.lease):
        settled = run(engine, task)
    assert settled.error is not None
    assert (settled.status, settled.error.code) == (Status.FAILED, "busy")


def test_an_agent_that_is_stopped_goes_back_to_todo_uncharged_with_its_work(engine: Engine) -> None:
    engine.add("T-1")
    switch = StopSwitch()
    engine.agent.work = after(STOPPED, lambda: switch.throw("interrupted"))
    settled = run(engine, engine.claim(), switch)
    assert (settled.status, settled.reason, settled.charged) == (Status.TODO, "interrupted", 0)
    assert settled.revision == a_revision()


def test_a_stop_that_comes_when_the_agent_is_done_does_not_throw_its_work_away(engine: Engine) -> None:
    engine.add("T-1")
    switch = StopSwitch()

    def stop_at_collect(event: RunEvent) -> None:
        if isinstance(event, StageStarted) and event.stage == "collect":
            switch.throw("interrupted")

    worker = replace(engine.worker, parts=replace(engine.parts, observe=stop_at_collect))
    assert worker.run(engine.claim(), queue="q", switch=switch).status is Status.REVIEW


def test_what_was_collected_is_recorded_although_its_folder_takes_no_result(engine: Engine) -> None:
    engine.add("T-1")
    place = engine.records.folders("T-1", 1).result
    engine.agent.work = after(DONE, lambda: (place / "in-the-way").mkdir(parents=True))
    settled = run(engine, engine.claim())
    assert (settled.status, settled.revision) == (Status.REVIEW, a_revision())
    assert place.is_dir()


def test_cleanup_after_a_failure_sees_the_settled_task(engine: Engine) -> None:
    engine.add("T-1")
    engine.agent.work = lambda _sandbox, _job: FAILED
    seen: list[Task] = []
    engine.after_failure = seen.append
    settled = run(engine, engine.claim())
    assert seen == [settled]


def test_a_journal_that_takes_no_result_leaves_it_on_disk_for_the_next_run(engine: Engine) -> None:
    engine.add("T-1")
    journal = engine.queue_folder / "tasks.jsonl"
    sound = journal.read_bytes()
    task = engine.claim()

    def damage() -> None:
        nonlocal sound
        sound = journal.read_bytes()
        journal.write_bytes(b"no journal\n" + sound)

    engine.agent.work = after(FAILED, damage)
    with pytest.raises(CorruptStateError):
        run(engine, task)
    journal.write_bytes(sound)
    (settled,) = engine.recover()
    assert (settled.status, settled.reason) == (Status.FAILED, "agent_failed")
