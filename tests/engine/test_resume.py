"""A failed attempt that goes on: `retry --resume`, the claim after it, and what a crash in between leaves."""

import shutil
from collections.abc import Callable
from dataclasses import replace

import pytest

from orchestration.core.attempts import AttemptSpec
from orchestration.core.errors import BusyError, UsageError
from orchestration.core.facts import Usage
from orchestration.core.models import Task
from orchestration.core.ports import AgentJob, AgentResult
from orchestration.core.status import Status
from orchestration.engine.lease import hold
from orchestration.engine.operate import Operator
from orchestration.pipeline.stage import StopSwitch
from tests.engine.conftest import Engine
from tests.engine.fakes import DONE, FAILED, STOPPED, FakeSandbox, a_revision

SESSION = "ses_1"
USED = Usage(input_tokens=10)


@pytest.fixture
def operator(engine: Engine) -> Operator:
    return Operator(store=engine.store, repository=engine.repository, records=engine.records, clock=engine.clock)


def fails(**fields: object) -> Callable[[FakeSandbox, AgentJob], AgentResult]:
    return lambda _sandbox, _job: replace(FAILED, session=SESSION, usage=USED, **fields)  # type: ignore[arg-type]  # any


def succeeds(_sandbox: FakeSandbox, job: AgentJob) -> AgentResult:
    return replace(DONE, session=job.session, usage=USED)


def run(engine: Engine, *, switch: StopSwitch | None = None) -> Task:
    return engine.worker.run(engine.claim(), queue="q", switch=switch or StopSwitch())


def fail(engine: Engine) -> Task:
    """Return a task whose agent failed in the middle of a session."""
    engine.add("T-1")
    engine.agent.work = fails()
    failed = run(engine)
    engine.agent.work = succeeds
    engine.agent.asked.clear()
    (engine.records.folders("T-1", 1).workspace / "half-done").touch()
    return failed


def spec_of(engine: Engine) -> AttemptSpec:
    spec = engine.records.load_spec("T-1", 1)
    assert spec is not None
    return spec


def test_a_failed_task_knows_its_session_and_what_was_used(engine: Engine) -> None:
    failed = fail(engine)
    assert failed.run is not None
    assert (failed.status, failed.run.session, failed.run.is_resumed, failed.usage) == (
        Status.FAILED,
        SESSION,
        False,
        USED,
    )


def test_a_resumed_attempt_goes_on_in_its_folders_and_session_under_a_new_token(
    engine: Engine, operator: Operator
) -> None:
    failed = fail(engine)
    todo = operator.retry("T-1", resume=True)
    assert (todo.status, todo.reason, todo.error, todo.attempt) == (Status.TODO, "to be resumed", None, 1)
    prepared: list[AttemptSpec] = []
    engine.workspace.on_prepare = prepared.append
    ended = run(engine)
    assert failed.run is not None
    assert ended.run is not None
    assert (ended.status, ended.attempt, ended.charged) == (Status.REVIEW, 1, 2)
    assert (ended.run.session, ended.run.is_resumed) == (SESSION, True)
    assert ended.run.token > failed.run.token
    assert [(job.session, job.spec.session) for job in engine.agent.asked] == [(SESSION, SESSION)]
    assert prepared == []
    assert (engine.records.folders("T-1", 1).workspace / "half-done").exists()
    result = engine.records.load_result("T-1", 1)
    assert result is not None
    assert (result.token, result.failure) == (ended.run.token, None)


def test_without_the_wish_a_retry_starts_afresh(engine: Engine, operator: Operator) -> None:
    fail(engine)
    assert operator.retry("T-1").run is None
    ended = run(engine)
    assert ended.run is not None
    assert (ended.attempt, ended.run.is_resumed) == (2, False)
    assert [job.session for job in engine.agent.asked] == [None, None]


def test_what_a_resumed_attempt_used_is_added_to_what_it_had_used(engine: Engine, operator: Operator) -> None:
    fail(engine)
    operator.retry("T-1", resume=True)
    assert run(engine).usage == Usage(input_tokens=20)


def test_it_may_be_resumed_again(engine: Engine, operator: Operator) -> None:
    fail(engine)
    engine.agent.work = fails()
    operator.retry("T-1", resume=True)
    assert run(engine).status is Status.FAILED
    operator.retry("T-1", resume=True)
    assert run(engine).attempt == 1


def test_the_next_collected_ref_gets_the_next_number(engine: Engine, operator: Operator) -> None:
    fail(engine)
    assert spec_of(engine).collect == 1
    operator.retry("T-1", resume=True)
    run(engine)
    assert spec_of(engine).collect == 2


def test_a_plan_that_failed_is_made_again_in_the_same_session(engine: Engine, operator: Operator) -> None:
    engine.add("T-1")
    engine.agent.planning = fails()
    run(engine)
    engine.agent.planning = succeeds
    engine.agent.work = succeeds
    engine.agent.asked.clear()
    operator.retry("T-1", resume=True)
    assert run(engine).status is Status.REVIEW
    assert [job.session for job in engine.agent.asked] == [SESSION, SESSION]


def test_logs_go_on_after_a_line_that_says_so(engine: Engine, operator: Operator) -> None:
    fail(engine)
    log = engine.records.folders("T-1", 1).logs / "build.log"
    log.write_bytes(b"before")
    operator.retry("T-1", resume=True)
    run(engine)
    assert log.read_bytes().startswith(b"before\n[taskq: resumed at 2026-11-21 ")


@pytest.mark.parametrize("folder", ["workspace", "git", "config", "data"])
def test_an_attempt_without_one_of_its_folders_is_not_resumed(engine: Engine, operator: Operator, folder: str) -> None:
    failed = fail(engine)
    shutil.rmtree(getattr(engine.records.folders("T-1", 1), folder))
    with pytest.raises(UsageError, match=f"its {folder} folder is gone; start afresh with: taskq retry T-1") as caught:
        operator.retry("T-1", resume=True)
    assert (caught.value.code, engine.task()) == ("not_resumable", failed)


def test_one_whose_borrowed_objects_are_gone_is_not_resumed(engine: Engine, operator: Operator) -> None:
    fail(engine)
    engine.records.folders("T-1", 1).base.symlink_to(engine.folder / "nowhere")
    with pytest.raises(UsageError, match="objects that its workspace borrows"):
        operator.retry("T-1", resume=True)


def test_one_that_vanishes_before_the_claim_fails_with_the_reason(engine: Engine, operator: Operator) -> None:
    fail(engine)
    operator.retry("T-1", resume=True)
    shutil.rmtree(engine.records.folders("T-1", 1).workspace)
    ended = run(engine)
    assert ended.error is not None
    assert (ended.status, ended.error.code) == (Status.FAILED, "not_resumable")
    assert engine.agent.asked == []


def test_one_without_a_session_is_not_resumed(engine: Engine, operator: Operator) -> None:
    engine.add("T-1")
    engine.agent.work = lambda _sandbox, _job: FAILED
    run(engine)
    with pytest.raises(UsageError, match="its agent told of no session"):
        operator.retry("T-1", resume=True)
    assert operator.retry("T-1").status is Status.TODO


def test_one_whose_folders_were_taken_away_is_not_resumed(engine: Engine, operator: Operator) -> None:
    fail(engine)
    engine.store.change("T-1", lambda task: task._replace(run=None), by="cleanup")
    with pytest.raises(UsageError, match="its folders were taken away"):
        operator.retry("T-1", resume=True)


def test_one_whose_work_could_not_be_collected_is_not_resumed_and_its_place_is_told(
    engine: Engine, operator: Operator
) -> None:
    failed = fail(engine)
    result = engine.records.load_result("T-1", 1)
    assert result is not None
    engine.records.save_result(replace(result, collected=False), failed)
    with pytest.raises(UsageError, match=f"stays in {engine.records.folders('T-1', 1).root}"):
        operator.retry("T-1", resume=True)


def test_one_that_somebody_holds_is_not_resumed_now(engine: Engine, operator: Operator) -> None:
    fail(engine)
    with hold(engine.records.folders("T-1", 1).lease), pytest.raises(BusyError, match="still held"):
        operator.retry("T-1", resume=True)
    assert operator.retry("T-1", resume=True).status is Status.TODO


def test_what_a_person_changed_since_is_not_run_over(engine: Engine, operator: Operator) -> None:
    fail(engine)
    operator.retry("T-1", resume=True)
    engine.repository.kept = "9" * 40
    ended = run(engine)
    assert ended.error is not None
    assert (ended.error.code, engine.agent.asked) == ("dirty_worktree", [])


def test_a_result_under_the_token_before_never_settles_a_resumed_attempt(engine: Engine, operator: Operator) -> None:
    failed = fail(engine)
    old = engine.records.load_result("T-1", 1)
    operator.retry("T-1", resume=True)
    engine.claim()
    assert old is not None
    with pytest.raises(BusyError, match="claimed again"):
        engine.worker.settle(failed, old)


def test_while_it_works_nothing_says_that_its_work_is_collected(engine: Engine, operator: Operator) -> None:
    fail(engine)
    operator.retry("T-1", resume=True)
    seen: list[object] = []

    def look(sandbox: FakeSandbox, job: AgentJob) -> AgentResult:
        seen.append(engine.records.load_result("T-1", 1))
        return succeeds(sandbox, job)

    engine.agent.work = look
    run(engine)
    assert seen == [None]


def test_what_still_ran_of_it_is_ended_before_its_folders_are_used_again(engine: Engine, operator: Operator) -> None:
    fail(engine)
    operator.retry("T-1", resume=True)
    assert engine.provider.reaped == []
    run(engine)
    assert [labels["taskq.task"] for labels in engine.provider.reaped] == ["T-1"]


def test_an_interruption_does_not_undo_the_wish(engine: Engine, operator: Operator) -> None:
    fail(engine)
    operator.retry("T-1", resume=True)
    switch = StopSwitch()

    def stop(_sandbox: FakeSandbox, _job: AgentJob) -> AgentResult:
        switch.throw("interrupted")
        return STOPPED

    engine.agent.work = stop
    todo = run(engine, switch=switch)
    assert (todo.status, todo.reason, todo.charged) == (Status.TODO, "interrupted", 1)
    engine.agent.work = succeeds
    ended = run(engine)
    assert (ended.status, ended.attempt) == (Status.REVIEW, 1)


def test_a_runner_that_dies_before_the_sandbox_opens_leaves_the_wish_too(engine: Engine, operator: Operator) -> None:
    fail(engine)
    operator.retry("T-1", resume=True)
    engine.claim()
    (todo,) = engine.recover()
    assert (todo.status, todo.reason) == (Status.TODO, "runner here:1 is gone")
    assert run(engine).attempt == 1


def test_what_a_runner_that_died_in_the_middle_left_is_collected_and_the_attempt_goes_on(
    engine: Engine, operator: Operator
) -> None:
    fail(engine)
    operator.retry("T-1", resume=True)
    task = engine.claim()
    assert task.run is not None
    engine.store.change("T-1", lambda current: current.advance(Status.BUILDING, at=engine.clock.now()), by="run")
    engine.records.folders("T-1", 1).result.unlink()
    engine.records.save_spec(replace(spec_of(engine), token=task.run.token))
    (todo,) = engine.recover()
    assert (todo.status, todo.revision) == (Status.TODO, a_revision())
    ended = run(engine)
    assert ended.run is not None
    assert (ended.status, ended.attempt, ended.run.session) == (Status.REVIEW, 1, SESSION)
