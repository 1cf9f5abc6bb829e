from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestration.core.facts import Failure, Revision
from orchestration.core.models import Task
from orchestration.core.naming import TaskId
from orchestration.core.snapshot import Snapshot
from orchestration.core.status import Status
from orchestration.engine.archive import OVER, archivable, left_behind
from orchestration.store.artifacts import AttemptFiles

NOW = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
OLD = NOW - timedelta(days=31)


def built(identifier: str, status: Status = Status.DONE, updated_at: datetime = OLD, **fields: object) -> Task:
    values = {"repo": "/srv/repo", "base": "main", "created_at": OLD, "updated_at": updated_at, "status": status}
    return Task(id=TaskId(identifier), **{**values, **fields})  # type: ignore[arg-type]  # a builder takes any field


def chosen(*tasks: Task) -> tuple[list[str], dict[str, str]]:
    snapshot = Snapshot(queue=None, seq=0, tasks={task.id: task for task in tasks})
    found, kept = archivable(snapshot, before=NOW - timedelta(days=30), leftover=lambda _task: None)
    return [str(task.id) for task in found], kept


def test_only_what_is_over_and_old_is_chosen() -> None:
    tasks = [built(status, status) for status in Status]
    assert chosen(*tasks, built("young", updated_at=NOW)) == (["done", "cancelled"], {})


@pytest.mark.parametrize("status", [status for status in Status if status not in OVER])
def test_what_an_unfinished_task_waits_for_is_kept(status: Status) -> None:
    child = built("child", status, after=("Parent",))
    assert chosen(built("parent"), child) == ([], {"parent": "child waits for it"})


def test_what_only_finished_tasks_waited_for_is_chosen() -> None:
    assert chosen(built("parent"), built("child", Status.CANCELLED, after=("parent",))) == (["parent", "child"], {})


@pytest.fixture
def records(tmp_path: Path) -> AttemptFiles:
    return AttemptFiles(attempts=tmp_path / "attempts", reports=tmp_path / "errors")


def test_a_task_with_nothing_left_may_go(records: AttemptFiles) -> None:
    assert left_behind(built("a", attempt=2, branch="task/a", worktree_path="/srv/a"), records) is None


def test_an_attempt_that_is_there_keeps_its_task(records: AttemptFiles) -> None:
    records.folders("a", 2).root.mkdir(parents=True)
    assert left_behind(built("a", attempt=3), records) == "attempt 2 is still there; run: taskq cleanup a"


def test_facts_that_cleanup_has_not_cleared_keep_their_task(records: AttemptFiles) -> None:
    revision = Revision(
        commit="c" * 40,
        base_commit="b" * 40,
        ref="refs/taskq/q/attempt/a/1.1",
        attempt=1,
        collect=1,
        collected_at=OLD,
        source="agent",
    )
    assert "its worktree" in str(left_behind(built("a", revision=revision, worktree_path="/srv/a"), records))
    assert left_behind(built("a", revision=revision), records) is None
    failure = Failure(stage="build", code="failed", message="no")
    assert "not cleaned up" in str(left_behind(built("a", error=failure), records))
