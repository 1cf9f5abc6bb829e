from dataclasses import replace
from datetime import timedelta

import pytest

from orchestration.core.errors import (
    BusyError,
    IllegalTransitionError,
    RepositoryError,
    TaskNotFoundError,
    UsageError,
)
from orchestration.core.models import Task
from orchestration.core.status import Status
from orchestration.engine.ahead import clear_ahead, set_ahead
from orchestration.engine.lease import hold, is_held
from orchestration.engine.operate import Operator
from tests.engine.conftest import Engine
from tests.engine.fakes import FAILED, START, a_revision, a_run


@pytest.fixture
def operator(engine: Engine) -> Operator:
    return Operator(store=engine.store, repository=engine.repository, records=engine.records, clock=engine.clock)


def in_review(engine: Engine, **fields: object) -> Task:
    (task,) = engine.add("T-1", status=Status.REVIEW, revision=a_revision(), attempt=1, run=a_run(), **fields)
    return task


def test_an_approved_task_is_done_and_a_landed_one_says_how(engine: Engine, operator: Operator) -> None:
    in_review(engine)
    done = operator.approve("t-1", land="ff")
    assert done.landed is not None
    assert (done.status, done.landed.commit) == (Status.DONE, a_revision().commit)
    assert engine.repository.landed == [a_revision().commit]


def test_an_approval_without_landing_touches_no_repository(engine: Engine, operator: Operator) -> None:
    in_review(engine)
    done = operator.approve("T-1", land="none")
    assert (done.status, done.landed, engine.repository.landed) == (Status.DONE, None, [])


def test_an_approval_is_of_the_revision_that_was_looked_at(engine: Engine, operator: Operator) -> None:
    in_review(engine)

    def change() -> None:
        newer = a_revision("3" * 40)
        engine.store.change("T-1", lambda task: task._replace(revision=newer), by="somebody")

    engine.repository.on_land = change
    with pytest.raises(BusyError, match="has changed since"):
        operator.approve("T-1", land="ff")
    assert engine.task().status is Status.REVIEW


def test_a_landing_that_is_refused_leaves_the_task_in_review(engine: Engine, operator: Operator) -> None:
    in_review(engine)

    def refuse() -> None:
        raise RepositoryError("no fast-forward")

    engine.repository.on_land = refuse
    with pytest.raises(RepositoryError):
        operator.approve("T-1", land="ff")
    assert engine.task().status is Status.REVIEW


def test_nothing_is_approved_while_its_sandbox_may_be_ahead(engine: Engine, operator: Operator) -> None:
    in_review(engine)
    folders = engine.records.folders("T-1", 1)
    folders.root.mkdir(parents=True)
    set_ahead(folders, at=START)
    with pytest.raises(BusyError, match="collect it with: taskq collect T-1") as caught:
        operator.approve("T-1", land="ff")
    assert (caught.value.code, engine.task().status, engine.repository.landed) == ("uncollected", Status.REVIEW, [])
    clear_ahead(folders)
    assert operator.approve("T-1", land="ff").status is Status.DONE


def test_nothing_is_approved_while_somebody_is_in_its_sandbox(engine: Engine, operator: Operator) -> None:
    in_review(engine)
    folders = engine.records.folders("T-1", 1)
    folders.root.mkdir(parents=True)
    with hold(folders.lease), pytest.raises(BusyError, match="leave that review first"):
        operator.approve("T-1", land="ff")
    assert (engine.task().status, engine.repository.landed) == (Status.REVIEW, [])
    assert operator.approve("T-1", land="ff").status is Status.DONE


def test_nobody_gets_into_a_sandbox_while_its_work_is_approved(engine: Engine, operator: Operator) -> None:
    in_review(engine)
    folders = engine.records.folders("T-1", 1)
    folders.root.mkdir(parents=True)
    held: list[bool] = []
    engine.repository.on_land = lambda: held.append(is_held(folders.lease))
    operator.approve("T-1", land="ff")
    assert held == [True]


def test_a_branch_on_which_a_person_committed_is_not_approved_around(engine: Engine, operator: Operator) -> None:
    in_review(engine, branch="task/t-1")
    engine.repository.tips["refs/heads/task/t-1"] = "9" * 40
    with pytest.raises(BusyError, match="branch task/t-1 is at 999999999999") as caught:
        operator.approve("T-1", land="ff")
    assert (caught.value.code, engine.repository.landed) == ("branch_ahead", [])
    engine.repository.tips["refs/heads/task/t-1"] = a_revision().commit
    assert operator.approve("T-1", land="ff").status is Status.DONE


@pytest.mark.parametrize(("kept", "is_refused"), [("9" * 40, True), (None, False), ("8" * 40, False)])
def test_of_a_revision_that_was_not_published_only_a_person_s_commits_are_in_the_way(
    engine: Engine, operator: Operator, kept: str | None, *, is_refused: bool
) -> None:
    """The branch is where it was before, or where a person put it: then its tip is what had to be kept."""
    engine.add("T-1", status=Status.REVIEW, revision=replace(a_revision(), published=False), branch="task/t-1")
    engine.repository.tips["refs/heads/task/t-1"] = "9" * 40
    engine.repository.kept = kept
    if is_refused:
        with pytest.raises(BusyError, match="merge the branch yourself"):
            operator.approve("T-1", land="none")
    else:
        assert operator.approve("T-1", land="none").status is Status.DONE


def test_a_repository_that_cannot_be_looked_at_is_not_approved_blindly(
    engine: Engine, operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_review(engine)

    def refuse(*_arguments: object) -> None:
        raise RepositoryError("no repository", code="no_repository")

    monkeypatch.setattr(engine.repository, "inspect", refuse)
    with pytest.raises(RepositoryError):
        operator.approve("T-1", land="none")
    assert engine.task().status is Status.REVIEW


def test_what_changed_nothing_can_be_approved_but_not_landed(engine: Engine, operator: Operator) -> None:
    engine.add("T-1", status=Status.REVIEW)
    with pytest.raises(UsageError, match="nothing to land"):
        operator.approve("T-1", land="ff")
    assert operator.approve("T-1", land="none").status is Status.DONE


@pytest.mark.parametrize("status", [status for status in Status if status not in {Status.REVIEW, Status.VERIFYING}])
def test_only_what_is_in_review_can_be_approved(engine: Engine, operator: Operator, status: Status) -> None:
    engine.add("T-1", status=status, revision=a_revision())
    with pytest.raises(IllegalTransitionError, match=f"task T-1 is {status} and cannot become done"):
        operator.approve("T-1", land="ff")
    assert engine.repository.landed == []


def test_a_retried_task_is_todo_without_its_error_and_keeps_its_branch(engine: Engine, operator: Operator) -> None:
    engine.add("T-1", branch="task/t-1", worktree_path="/w")
    engine.agent.work = lambda _sandbox, _job: FAILED
    engine.pool().run()
    again = operator.retry("T-1")
    assert (again.status, again.error, again.run, again.attempt) == (Status.TODO, None, None, 1)
    assert (again.branch, again.worktree_path, again.revision) == ("task/t-1", "/w", a_revision())


@pytest.mark.parametrize("status", [status for status in Status if status is not Status.FAILED])
def test_only_a_failed_task_can_be_retried(engine: Engine, operator: Operator, status: Status) -> None:
    engine.add("T-1", status=status, run=a_run())
    before = engine.task()
    with pytest.raises(UsageError, match=f"task T-1 is {status}, and only failed tasks can be retried; .+"):
        operator.retry("T-1")
    assert engine.task() == before


@pytest.mark.parametrize("status", [status for status in Status if status is not Status.DONE])
def test_whatever_is_not_done_can_be_cancelled_and_again_is_no_change(
    engine: Engine, operator: Operator, status: Status
) -> None:
    engine.add("T-1", status=status)
    first = operator.cancel("T-1")
    seq = engine.store.read().seq
    assert first.status is Status.CANCELLED
    assert operator.cancel("T-1") == first
    assert engine.store.read().seq == seq


def test_what_is_done_stays_done(engine: Engine, operator: Operator) -> None:
    engine.add("T-1", status=Status.DONE)
    with pytest.raises(IllegalTransitionError, match="stays done"):
        operator.cancel("T-1")


@pytest.mark.parametrize("status", [Status.PLANNING, Status.BUILDING, Status.VERIFYING])
def test_a_task_that_runs_cannot_be_removed(engine: Engine, operator: Operator, status: Status) -> None:
    engine.add("T-1", status=status)
    with pytest.raises(UsageError, match="cancel it first") as caught:
        operator.remove("T-1")
    assert caught.value.code == "running"
    assert engine.task().status is status


def test_a_task_that_others_wait_for_cannot_be_removed_and_they_are_named(engine: Engine, operator: Operator) -> None:
    engine.add("T-1", "T-2")
    engine.add("child", after=("t-1",))
    engine.add("settled", after=("T-1",), status=Status.CANCELLED)
    with pytest.raises(UsageError, match="waited for by child; remove or cancel") as caught:
        operator.remove("T-1")
    assert caught.value.code == "awaited"
    operator.cancel("child")
    assert operator.remove("T-1").id == "T-1"
    assert engine.store.read().find("T-1") is None


def test_an_id_that_is_not_there_is_told_with_near_ones(engine: Engine, operator: Operator) -> None:
    engine.add("fix-parser")
    with pytest.raises(TaskNotFoundError, match="did you mean fix-parser"):
        operator.task("fix-parsr")
    with pytest.raises(TaskNotFoundError, match="taskq status"):
        operator.task("zzz")


def test_waiting_for_the_end_of_a_task_ends_with_its_lease_or_with_patience(engine: Engine, operator: Operator) -> None:
    (task,) = engine.add("T-1", status=Status.CANCELLED, attempt=1, run=a_run())
    assert operator.has_stopped(task)
    folders = engine.records.folders("T-1", 1)
    folders.root.mkdir(parents=True)
    with hold(folders.lease):
        assert not operator.has_stopped(task)
        pauses: list[float] = []
        assert not operator.wait_until_stopped(task, timeout=timedelta(seconds=5), pause=pauses.append)
        assert pauses
    assert operator.wait_until_stopped(task, timeout=timedelta(0), pause=pauses.append)


def test_a_task_that_never_ran_has_stopped(engine: Engine, operator: Operator) -> None:
    (task,) = engine.add("T-1", created_at=START)
    assert operator.has_stopped(task)
