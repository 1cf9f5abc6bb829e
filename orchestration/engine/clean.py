"""What cleanup takes away, and what it keeps.

Guarantees: nothing goes that is not under a ref of ours; what stays is said with the reason; each fact of the task is
cleared only after what it names is gone; safe to kill and repeat.
Not responsible for: which tasks to clean; `selection` is pure.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from orchestration.core.errors import BusyError, RepositoryError, TaskqError
from orchestration.core.models import Task
from orchestration.core.ports import AttemptRecords, Clock, Disposal, SandboxProvider, TaskStore
from orchestration.core.status import Status
from orchestration.engine.ahead import is_ahead, undisturbed
from orchestration.engine.lease import is_held
from orchestration.support.logs import get_logger
from orchestration.support.trees import remove_tree

log = get_logger()


@dataclass(slots=True, kw_only=True)
class CleanReport:
    """What was done for one task. *problem* is set when something that should have gone is still there."""

    task: str
    removed: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    problem: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleaner:
    """Takes away what taskq made for tasks that are over."""

    store: TaskStore
    disposal: Disposal
    records: AttemptRecords
    provider: Callable[[str], SandboxProvider]
    queue_folder: Path
    clock: Clock

    def clean(self, task: Task, *, keep_worktree: bool = False, keep_error: bool = False) -> CleanReport:
        """Take away the task's worktree, landed branch, attempt folders, and unless *keep_error* its error reports."""
        report = CleanReport(task=task.id)
        try:
            self._end_leftovers(task)
            worktree_gone = not keep_worktree and self._worktree(task, report)
            branch_gone = worktree_gone and self._branch(task, report)
            for attempt in range(1, task.attempt + 1):
                self._attempt(task, attempt, report)
            if not keep_error:
                self._reports(task, report)
            self._forget(task, worktree=worktree_gone, branch=branch_gone, error=not keep_error)
        except TaskqError as error:
            report.problem = str(error)
        return report

    def clean_failed(self, task: Task) -> None:
        """Take away what a failed attempt left but its error; what stays is in the log."""
        report = self.clean(task, keep_error=True)
        log.info("attempt.cleaned", task=task.id, removed=report.removed, kept=report.kept, problem=report.problem)

    def end_abandoned_visits(self, tasks: Iterable[Task]) -> None:
        """End what runs of reviews whose process is gone; what they left stays, to be collected."""
        for task in tasks:
            folders = self.records.folders(task.id, task.attempt)
            if not is_ahead(folders):
                continue
            try:
                with undisturbed(task, folders):
                    self._reap(task, task.attempt)
            except BusyError:
                continue
            except TaskqError as error:
                log.warning("sandbox.reap_failed", task=task.id, attempt=task.attempt, error=str(error))

    def _end_leftovers(self, task: Task) -> None:
        """End what runs under the task's labels. Raises: BusyError while a runner holds it."""
        if task.run is None:
            return
        if is_held(self.records.folders(task.id, task.run.attempt).lease):
            raise BusyError(f"attempt {task.run.attempt} of {task.id} is still held; try again when it has ended")
        self._reap(task, task.run.attempt)

    def _reap(self, task: Task, attempt: int) -> None:
        spec = self.records.load_spec(task.id, attempt)
        if spec is not None:
            of_any_attempt = {name: value for name, value in spec.labels.items() if name != "taskq.attempt"}
            self.provider(spec.sandbox).reap(of_any_attempt)

    def _worktree(self, task: Task, report: CleanReport) -> bool:
        """Remove the worktree; False when it stays."""
        if task.worktree_path is None or task.revision is None:
            return True
        try:
            if self.disposal.remove_worktree(task):
                report.removed.append(f"worktree {task.worktree_path}")
        except (BusyError, RepositoryError) as error:
            report.kept.append(f"worktree {task.worktree_path}: {error}")
            return False
        return True

    def _branch(self, task: Task, report: CleanReport) -> bool:
        """Remove the branch when its work is in the base; False when it stays."""
        if task.branch is None or task.revision is None:
            return False
        if self.disposal.remove_branch(task):
            report.removed.append(f"branch {task.branch}")
            return True
        report.kept.append(f"branch {task.branch}: its work is not in {task.base}")
        return False

    def _attempt(self, task: Task, attempt: int, report: CleanReport) -> None:
        folders = self.records.folders(task.id, attempt)
        if is_ahead(folders):
            report.kept.append(
                f"attempt {attempt}: {folders.root} holds what a review left; collect it with: taskq collect {task.id}"
            )
        elif folders.workspace.exists() and not self._is_collected(task, attempt):
            report.kept.append(f"attempt {attempt}: {folders.root} holds work that could not be collected")
        elif remove_tree(folders.root):
            report.removed.append(f"attempt {attempt}")

    def _is_collected(self, task: Task, attempt: int) -> bool:
        """Return whether nothing of an agent's is in the folders only; without a description no agent got that far."""
        result = self.records.load_result(task.id, attempt)
        if result is None:
            return self.records.load_spec(task.id, attempt) is None
        return result.collected

    def _reports(self, task: Task, report: CleanReport) -> None:
        for path in error_reports(self.queue_folder, task.id):
            path.unlink(missing_ok=True)
            report.removed.append(f"report {path.name}")

    def _forget(self, task: Task, *, worktree: bool, branch: bool, error: bool) -> None:
        """Clear the facts that name what is gone."""

        def forget(current: Task) -> Task:
            if current.status is not task.status:
                raise BusyError(f"task {task.id} has become {current.status} meanwhile")
            return current._replace(
                run=None,
                error=None if error else current.error,
                worktree_path=None if worktree else current.worktree_path,
                branch=None if branch else current.branch,
            )

        self.store.change(task.id, forget, by="cleanup")


def error_reports(queue_folder: Path, identifier: str) -> list[Path]:
    """Return the task's error reports, ``<id>-<time>.md``, and no other's, however alike the ids are."""
    name = re.compile(rf"{re.escape(identifier)}-\d{{8}}T\d{{12}}Z\.md", re.ASCII)
    return sorted(path for path in (queue_folder / "errors").glob("*.md") if name.fullmatch(path.name))


def selection(tasks: Iterable[Task], *, only: Literal["done", "cancelled"] | None = None) -> tuple[Task, ...]:
    """Return the tasks that cleanup is for: what is over, or of that only the named status."""
    wanted = {Status.DONE, Status.CANCELLED} if only is None else {Status(only)}
    return tuple(task for task in tasks if task.status in wanted)
