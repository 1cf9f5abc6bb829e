"""What a result does to a task: every status it can be in, every way in which an attempt can end."""

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestration.core.attempts import AttemptResult
from orchestration.core.facts import Failure, Usage
from orchestration.core.models import Task
from orchestration.core.naming import TaskId
from orchestration.core.status import RUNNING, TRANSITIONS, Status
from orchestration.engine.worker import settled
from orchestration.store.rules import check_transition
from tests.engine.fakes import START, a_revision, a_run, a_task

FAILURE = Failure(stage="build", code="agent_failed", message="it failed")
LATE = START.replace(hour=5)


def a_result(**fields: object) -> AttemptResult:
    values: dict[str, object] = {"task": TaskId("T-1"), "attempt": 1, "token": 2, "finished_at": LATE, **fields}
    return AttemptResult(**values)  # type: ignore[arg-type]  # a builder takes any field


def in_status(status: Status, **fields: object) -> Task:
    return a_task(status=status, attempt=1, run=a_run(), **fields)


@pytest.mark.parametrize(
    ("status", "result", "reason", "becomes", "why"),
    [
        (Status.BUILDING, a_result(), None, Status.REVIEW, None),
        (Status.VERIFYING, a_result(), None, Status.REVIEW, None),
        (Status.PLANNING, a_result(failure=FAILURE), None, Status.FAILED, "agent_failed"),
        (Status.BUILDING, a_result(failure=FAILURE), None, Status.FAILED, "agent_failed"),
        (Status.VERIFYING, a_result(failure=FAILURE), None, Status.FAILED, "agent_failed"),
        (Status.PLANNING, a_result(stopped="interrupted"), None, Status.TODO, "interrupted"),
        (Status.BUILDING, a_result(stopped="interrupted"), None, Status.TODO, "interrupted"),
        (Status.BUILDING, a_result(stopped="interrupted", failure=FAILURE), None, Status.TODO, "interrupted"),
        (Status.PLANNING, a_result(), "runner is gone", Status.TODO, "runner is gone"),
        (Status.BUILDING, a_result(failure=FAILURE), "runner is gone", Status.TODO, "runner is gone"),
        (Status.CANCELLED, a_result(), None, Status.CANCELLED, None),
        (Status.CANCELLED, a_result(stopped="cancelled", failure=FAILURE), None, Status.CANCELLED, None),
    ],
)
def test_a_result_settles_a_task(
    status: Status, result: AttemptResult, reason: str | None, becomes: Status, why: str | None
) -> None:
    after = settled(in_status(status), result, reason=reason)
    assert (after.status, after.reason) == (becomes, why)


def test_work_that_came_out_is_recorded_however_the_attempt_ended() -> None:
    usage = Usage(input_tokens=3)
    for status, failure, stopped in product(
        [*RUNNING, Status.CANCELLED], [None, FAILURE], [None, "interrupted", "cancelled"]
    ):
        if status is Status.PLANNING and failure is None and stopped is None:
            continue  # nothing succeeds before it was built
        result = a_result(revision=a_revision(), usage=usage, failure=failure, stopped=stopped)
        after = settled(in_status(status), result)
        assert (after.revision, after.usage) == (a_revision(), usage)


def test_an_attempt_that_brought_nothing_leaves_what_an_earlier_one_brought() -> None:
    before = in_status(Status.BUILDING, revision=a_revision(), usage=Usage(input_tokens=1))
    after = settled(before, a_result(failure=FAILURE))
    assert (after.revision, after.usage) == (before.revision, before.usage)


def test_only_an_attempt_that_ended_by_itself_is_charged_and_keeps_its_run() -> None:
    ended = settled(in_status(Status.BUILDING, charged=1), a_result(failure=FAILURE))
    assert (ended.charged, ended.error, ended.run) == (2, FAILURE, a_run())
    stopped = settled(in_status(Status.BUILDING, charged=1), a_result(stopped="interrupted"))
    assert (stopped.charged, stopped.error, stopped.run) == (1, None, None)


@settings(max_examples=200, deadline=None)
@given(
    status=st.sampled_from(Status),
    failure=st.none() | st.just(FAILURE),
    stopped=st.sampled_from([None, "interrupted", "cancelled"]),
    reason=st.none() | st.just("runner is gone"),
    revision=st.none() | st.just(a_revision()),
)
def test_whatever_the_result_the_task_ends_where_the_table_lets_it(
    status: Status, failure: Failure | None, stopped: str | None, reason: str | None, revision: object
) -> None:
    before = in_status(status)
    result = a_result(failure=failure, stopped=stopped, revision=revision)
    after = settled(before, result, reason=reason)
    assert not after.is_running
    assert after.status is status or after.status in TRANSITIONS[status]
    check_transition(before, after)
    assert after._replace(status=status, updated_at=START, reason=None, run=before.run, charged=0).id == before.id
