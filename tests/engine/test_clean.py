from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from orchestration.core.attempts import AttemptResult
from orchestration.core.errors import BusyError, GitError
from orchestration.core.facts import Failure
from orchestration.core.models import Task
from orchestration.core.status import Status
from orchestration.engine.ahead import clear_ahead, set_ahead
from orchestration.engine.clean import Cleaner, error_reports, selection
from orchestration.engine.lease import hold
from orchestration.engine.worker import first_spec
from tests.engine.conftest import Engine
from tests.engine.fakes import START, a_revision, a_run, a_task, only


@dataclass
class FakeDisposal:
    """A repository's worktree and branch, each there or not; *trouble* is raised instead of removing the worktree."""

    worktree: bool = True
    branch: bool = True
    is_merged: bool = True
    trouble: Exception | None = None
    on_remove: Callable[[], None] = field(default=lambda: None)

    def remove_worktree(self, task: Task) -> bool:
        self.on_remove()
        if self.trouble is not None:
            raise self.trouble
        there, self.worktree = self.worktree, False
        return there

    def remove_branch(self, task: Task) -> bool:
        there = self.branch and self.is_merged
        self.branch = self.branch and not self.is_merged
        return there


@pytest.fixture
def disposal() -> FakeDisposal:
    return FakeDisposal()


@pytest.fixture
def cleaner(engine: Engine, disposal: FakeDisposal) -> Cleaner:
    provider: Any = only("fake", engine.provider)
    return Cleaner(
        store=engine.store,
        disposal=disposal,
        records=engine.records,
        provider=provider,
        queue_folder=engine.queue_folder,
        clock=engine.clock,
    )


def ended(engine: Engine, *, status: Status = Status.DONE, collected: bool = True, attempts: int = 1) -> Task:
    """Return a task that is over, with the folders of its attempts."""
    (task,) = engine.add(
        "T-1",
        status=status,
        attempt=attempts,
        run=a_run(attempt=attempts),
        revision=a_revision(),
        worktree_path="/w/T-1",
        branch="task/t-1",
    )
    for attempt in range(1, attempts + 1):
        folders = engine.records.folders("T-1", attempt)
        folders.workspace.mkdir(parents=True)
        engine.records.save_spec(replace(first_spec(task, queue="q"), attempt=attempt))
        result = AttemptResult(
            task=task.id,
            attempt=attempt,
            token=2,
            finished_at=START,
            collected=collected,
            failure=Failure(stage="build", code="agent_failed", message="it failed"),
        )
        engine.records.save_result(result, task)
    return task


def test_worktree_branch_attempts_and_reports_go_and_then_the_facts(engine: Engine, cleaner: Cleaner) -> None:
    report = cleaner.clean(ended(engine, attempts=2))
    assert (report.kept, report.problem) == ([], None)
    assert [word.partition(" ")[0] for word in report.removed] == [
        "worktree", "branch", "attempt", "attempt", "report",
    ]  # fmt: skip
    task = engine.task()
    assert (task.run, task.worktree_path, task.branch, task.error) == (None, None, None, None)
    assert task.revision == a_revision()
    assert not engine.records.folders("T-1", 1).root.exists()
    assert not list((engine.queue_folder / "errors").iterdir())


def test_to_clean_again_changes_nothing(engine: Engine, cleaner: Cleaner) -> None:
    cleaner.clean(ended(engine))
    seq = engine.store.read().seq
    report = cleaner.clean(engine.task())
    assert (report.removed, report.kept, report.problem) == ([], [], None)
    assert engine.store.read().seq == seq


def test_a_worktree_with_changes_stays_with_its_branch_and_the_reason(
    engine: Engine, cleaner: Cleaner, disposal: FakeDisposal
) -> None:
    disposal.trouble = BusyError("/w/T-1 holds changes that are kept nowhere else")
    report = cleaner.clean(ended(engine))
    assert report.kept == ["worktree /w/T-1: /w/T-1 holds changes that are kept nowhere else"]
    task = engine.task()
    assert (task.worktree_path, task.branch, task.run) == ("/w/T-1", "task/t-1", None)
    assert disposal.branch


def test_a_branch_that_is_not_landed_stays(engine: Engine, cleaner: Cleaner, disposal: FakeDisposal) -> None:
    disposal.is_merged = False
    report = cleaner.clean(ended(engine))
    assert report.kept == ["branch task/t-1: its work is not in main"]
    assert (engine.task().branch, engine.task().worktree_path) == ("task/t-1", None)


def test_keep_worktree_leaves_worktree_and_branch(engine: Engine, cleaner: Cleaner, disposal: FakeDisposal) -> None:
    cleaner.clean(ended(engine), keep_worktree=True)
    assert (disposal.worktree, disposal.branch) == (True, True)
    assert (engine.task().branch, engine.task().worktree_path) == ("task/t-1", "/w/T-1")


def test_work_that_was_not_collected_is_never_deleted(engine: Engine, cleaner: Cleaner) -> None:
    folders = engine.records.folders("T-1", 1)
    for _ in range(2):
        task = engine.store.read().find("T-1") or ended(engine, collected=False)
        report = cleaner.clean(task)
        assert report.kept == [f"attempt 1: {folders.root} holds work that could not be collected"]
        assert folders.workspace.is_dir()


def test_what_a_review_left_is_never_deleted_and_its_reason_says_how_to_collect_it(
    engine: Engine, cleaner: Cleaner
) -> None:
    task = ended(engine)
    folders = engine.records.folders("T-1", 1)
    set_ahead(folders, at=START)
    report = cleaner.clean(task)
    assert report.kept == [f"attempt 1: {folders.root} holds what a review left; collect it with: taskq collect T-1"]
    assert folders.workspace.is_dir()
    clear_ahead(folders)
    assert cleaner.clean(engine.task()).removed == ["attempt 1"]


def test_sandboxes_of_reviews_that_nobody_holds_are_ended(engine: Engine, cleaner: Cleaner) -> None:
    task = ended(engine, status=Status.REVIEW)
    folders = engine.records.folders("T-1", 1)
    cleaner.end_abandoned_visits([task])
    assert engine.provider.reaped == []
    set_ahead(folders, at=START)
    with hold(folders.lease):
        cleaner.end_abandoned_visits([task])
    assert engine.provider.reaped == []
    cleaner.end_abandoned_visits([task])
    assert [dict(labels) for labels in engine.provider.reaped] == [{"taskq.queue": "q", "taskq.task": "T-1"}]
    assert folders.ahead.exists()


def test_work_of_a_crashed_attempt_without_a_result_is_never_deleted(engine: Engine, cleaner: Cleaner) -> None:
    task = ended(engine)
    engine.records.folders("T-1", 1).result.unlink()
    assert "holds work" in cleaner.clean(task).kept[0]
    assert engine.records.folders("T-1", 1).workspace.is_dir()


@pytest.mark.parametrize("name", ["result.json", "spec.json"])
def test_an_attempt_whose_records_cannot_be_read_is_left_alone(engine: Engine, cleaner: Cleaner, name: str) -> None:
    task = ended(engine)
    folders = engine.records.folders("T-1", 1)
    folders.result.unlink()
    (folders.root / name).write_bytes(b"{")
    report = cleaner.clean(task)
    assert report.problem is not None
    assert name in report.problem
    assert folders.workspace.is_dir()


def test_an_attempt_in_which_no_agent_ever_worked_goes(engine: Engine, cleaner: Cleaner) -> None:
    (task,) = engine.add("T-1", status=Status.CANCELLED, attempt=1)
    folders = engine.records.folders("T-1", 1)
    folders.workspace.mkdir(parents=True)
    assert cleaner.clean(task).removed == ["attempt 1"]
    assert not folders.root.exists()


def test_what_is_still_held_is_not_cleaned(engine: Engine, cleaner: Cleaner, disposal: FakeDisposal) -> None:
    task = ended(engine, status=Status.CANCELLED)
    with hold(engine.records.folders("T-1", 1).lease):
        report = cleaner.clean(task)
    assert "is still held" in (report.problem or "")
    assert disposal.worktree
    assert engine.task() == task


def test_the_facts_stay_when_something_should_have_gone_and_did_not(
    engine: Engine, cleaner: Cleaner, disposal: FakeDisposal
) -> None:
    disposal.trouble = GitError("git is broken")
    task = ended(engine)
    assert cleaner.clean(task).problem == "git is broken"
    assert engine.task() == task


def test_a_task_that_was_changed_meanwhile_keeps_its_facts(
    engine: Engine, cleaner: Cleaner, disposal: FakeDisposal
) -> None:
    task = ended(engine, status=Status.FAILED)
    disposal.on_remove = lambda: (
        engine.store.change("T-1", lambda current: current.advance(Status.TODO, at=START), by="retry") and None
    )
    assert "has become todo meanwhile" in (cleaner.clean(task).problem or "")
    assert engine.task().branch == "task/t-1"


def test_cleaning_after_a_failure_keeps_the_error_and_its_report(engine: Engine, cleaner: Cleaner) -> None:
    task = ended(engine, status=Status.FAILED)
    cleaner.clean_failed(task)
    assert len(error_reports(engine.queue_folder, "T-1")) == 1
    assert engine.task().run is None


def test_reports_are_a_task_s_own_however_alike_the_ids_are(tmp_path: Path) -> None:
    time = "20261121T030000000000Z"
    mine = f"T-1-{time}.md"
    others = [
        f"T-1-2-{time}.md", f"T-10-{time}.md", f"T-1-{time}-{time}.md", f"t-1-{time}.md", f"xT-1-{time}.md",
        "T-1-notes.md", "T-1-7.md", f"T-1-{time}.txt", f"T.1-{time}.md",
    ]  # fmt: skip
    (tmp_path / "errors").mkdir()
    for name in (mine, *others):
        (tmp_path / "errors" / name).touch()
    assert [path.name for path in error_reports(tmp_path, "T-1")] == [mine]
    assert [path.name for path in error_reports(tmp_path, "T.1")] == [f"T.1-{time}.md"]
    assert error_reports(tmp_path / "none", "T-1") == []


def test_the_reports_that_are_written_are_the_ones_that_are_found(engine: Engine) -> None:
    ended(engine)
    assert len(error_reports(engine.queue_folder, "T-1")) == 1


def test_only_what_is_over_is_selected() -> None:
    tasks = [a_task(str(status), status=status) for status in Status]
    assert [task.id for task in selection(tasks)] == ["done", "cancelled"]
    assert [task.id for task in selection(tasks, only="done")] == ["done"]
    assert [task.id for task in selection(tasks, only="cancelled")] == ["cancelled"]
