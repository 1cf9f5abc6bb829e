import errno
from collections.abc import Callable
from dataclasses import replace

import pytest

from orchestration.core.errors import BusyError, SandboxError
from orchestration.core.events import RunEvent, StageEnded
from orchestration.core.facts import Failure
from orchestration.core.models import Task
from orchestration.core.status import Status
from orchestration.pipeline.processor import process
from orchestration.pipeline.stage import Attempt, Stage, StopSwitch
from tests.engine.fakes import FakeSandbox, SteppingClock

FAILURE = Failure(stage="one", code="agent_failed", message="it failed")
Run = Callable[..., Attempt]


@pytest.fixture
def events() -> list[RunEvent]:
    return []


@pytest.fixture
def run(attempt: Attempt, switch: StopSwitch, events: list[RunEvent]) -> Run:
    """Return a function that runs stages of these names; *deeds* says what a stage does, else it succeeds."""

    def enter(attempt: Attempt, status: Status) -> Task:
        return attempt.task._replace(status=status)

    def start(
        *names: str, enter: Callable[[Attempt, Status], Task] = enter, **deeds: Callable[[Attempt], Attempt]
    ) -> Attempt:
        recipe = tuple(
            Stage(
                name=name,
                run=deeds.get(name, lambda attempt: attempt),
                status=Status.BUILDING if name == "build" else None,
                always=name.startswith("always"),
            )
            for name in names
        )
        return process(attempt, recipe, enter=enter, switch=switch, observe=events.append, clock=SteppingClock())

    return start


def fail(attempt: Attempt) -> Attempt:
    return replace(attempt, failure=FAILURE)


def throw(error: Exception) -> Callable[[Attempt], Attempt]:
    def stage(_attempt: Attempt) -> Attempt:
        raise error

    return stage


def ran(events: list[RunEvent]) -> list[str]:
    return [event.stage for event in events if isinstance(event, StageEnded)]


def test_stages_run_in_order_and_each_is_timed(run: Run, events: list[RunEvent]) -> None:
    ended = run("one", "build", "always")
    assert ran(events) == list(ended.timings) == ["one", "build", "always"]
    assert all(elapsed.total_seconds() == 1 for elapsed in ended.timings.values())
    assert (ended.failure, ended.stopped, ended.task.status) == (None, None, Status.BUILDING)


def test_after_a_failure_only_the_stages_that_always_run_do(run: Run, events: list[RunEvent]) -> None:
    ended = run("one", "two", "always-collect", "three", "always-teardown", one=fail)
    assert ran(events) == ["one", "always-collect", "always-teardown"]
    assert ended.failure == FAILURE
    assert [event.succeeded for event in events if isinstance(event, StageEnded)] == [False, False, False]


def test_the_first_failure_is_the_one_that_is_kept(run: Run) -> None:
    ended = run("one", "always", one=fail, always=throw(SandboxError("worse")))
    assert ended.failure == FAILURE


def test_a_foreseen_error_becomes_a_failure_with_its_stage_and_code(run: Run) -> None:
    ended = run("one", "two", "always", two=throw(SandboxError("no sandbox", code="gone")))
    assert ended.failure == Failure(stage="two", code="gone", message="no sandbox")


def test_an_unforeseen_error_is_a_bug_with_its_trace_and_the_rest_goes_on(run: Run, events: list[RunEvent]) -> None:
    ended = run("one", "always", one=throw(KeyError("surprise")))
    assert ended.failure is not None
    assert (ended.failure.code, ended.failure.stage) == ("bug", "one")
    assert "KeyError: 'surprise'" in ended.failure.message
    assert "Traceback" in ended.failure.stderr_tail
    assert ran(events) == ["one", "always"]


def test_a_full_disk_is_no_bug(run: Run) -> None:
    ended = run("one", one=throw(OSError(errno.ENOSPC, "No space left on device", "/a/b")))
    assert ended.failure is not None
    assert ended.failure.code == "storage"
    assert ended.failure.message == "cannot write /a/b: the disk is full; free some space and try again"


def test_a_task_that_is_no_longer_ours_is_not_worked_on(run: Run) -> None:
    worked: list[Attempt] = []

    def refuse(_attempt: Attempt, _status: Status) -> Task:
        raise BusyError("no longer ours", code="fenced")

    ended = run("build", "always", enter=refuse, build=lambda attempt: worked.append(attempt) or attempt)
    assert worked == []
    assert ended.failure is not None
    assert ended.failure.code == "fenced"


def test_a_switch_thrown_before_lets_nothing_begin_but_what_always_runs(
    run: Run, switch: StopSwitch, events: list[RunEvent]
) -> None:
    switch.throw("cancelled")
    ended = run("one", "build", "always")
    assert (ran(events), ended.stopped, ended.failure) == (["always"], "cancelled", None)


def test_a_switch_thrown_during_a_stage_that_fails_of_it_has_cut_the_attempt(run: Run, switch: StopSwitch) -> None:
    def stop(attempt: Attempt) -> Attempt:
        switch.throw("interrupted")
        return fail(attempt)

    assert run("one", "two", "always", one=stop).stopped == "interrupted"


def test_a_switch_thrown_after_the_work_has_cut_nothing(run: Run, switch: StopSwitch) -> None:
    def stop(attempt: Attempt) -> Attempt:
        switch.throw("interrupted")
        return attempt

    assert run("one", "build", "always", build=stop).stopped is None
    assert run("one", "always", always=stop).stopped == "interrupted"  # thrown by the run before: nothing may begin


def test_a_switch_thrown_after_a_failure_does_not_excuse_it(run: Run, switch: StopSwitch) -> None:
    def stop(attempt: Attempt) -> Attempt:
        switch.throw("interrupted")
        return attempt

    ended = run("one", "always", "two", one=fail, always=stop)
    assert (ended.failure, ended.stopped) == (FAILURE, None)


def test_a_switch_stops_its_sandbox_whether_thrown_before_or_after_and_keeps_its_first_reason() -> None:
    early, late = StopSwitch(), StopSwitch()
    first, second = FakeSandbox(), FakeSandbox()
    early.throw("cancelled")
    early.throw("interrupted")
    early.attach(first)
    late.attach(second)
    assert not second.stopped.is_set()
    late.throw("interrupted")
    assert first.stopped.is_set()
    assert second.stopped.is_set()
    assert (early.reason, late.reason) == ("cancelled", "interrupted")
