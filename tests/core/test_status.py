from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestration.core.errors import IllegalTransitionError
from orchestration.core.models import Task
from orchestration.core.naming import task_id
from orchestration.core.status import RUNNING, TRANSITIONS, Status

NOW = datetime(2026, 1, 1, tzinfo=UTC)

DESIGNED = {
    ("todo", "planning"), ("todo", "cancelled"),
    ("planning", "building"), ("planning", "failed"), ("planning", "cancelled"), ("planning", "todo"),
    ("building", "verifying"), ("building", "review"), ("building", "failed"), ("building", "cancelled"),
    ("building", "todo"),
    ("verifying", "building"), ("verifying", "review"), ("verifying", "done"), ("verifying", "failed"),
    ("verifying", "cancelled"), ("verifying", "todo"),
    ("review", "done"), ("review", "todo"), ("review", "cancelled"),
    ("failed", "todo"), ("failed", "cancelled"),
    ("done", "review"),
}  # fmt: skip


def a_task(status: Status) -> Task:
    return Task(id=task_id("t-1"), repo="/r", base="main", status=status, created_at=NOW, updated_at=NOW)


def test_the_table_is_the_designed_one() -> None:
    assert {(str(here), str(there)) for here, row in TRANSITIONS.items() for there in row} == DESIGNED


def test_every_status_has_a_row() -> None:
    assert set(TRANSITIONS) == set(Status)


def test_running_statuses_can_always_be_left_to_todo_failed_and_cancelled() -> None:
    assert all({Status.TODO, Status.FAILED, Status.CANCELLED} <= TRANSITIONS[status] for status in RUNNING)


@given(st.sampled_from(Status), st.sampled_from(Status))
def test_advance_follows_the_table_and_nothing_else(here: Status, there: Status) -> None:
    task = a_task(here)
    if there in TRANSITIONS[here]:
        assert task.advance(there, at=NOW).status is there
    else:
        with pytest.raises(IllegalTransitionError, match=f"t-1 is {here} and cannot become {there}"):
            task.advance(there, at=NOW)


def test_advance_replaces_the_reason() -> None:
    parked = a_task(Status.PLANNING).advance(Status.TODO, at=NOW, reason="interrupted")
    assert (parked.reason, parked.advance(Status.PLANNING, at=NOW).reason) == ("interrupted", None)
