"""Tasks whose runner is gone: what they left is collected, and they go back to todo with the reason.

Guarantees: a task is touched only when its lease is free, its runner is known to be dead, and nothing of its sandbox
runs any more; where that cannot be found out now (the engine is down), the next run finds the task as it is.
"""

from collections.abc import Callable
from dataclasses import dataclass

from orchestration.core.attempts import AttemptResult, AttemptSpec
from orchestration.core.errors import BusyError, CorruptStateError, TaskNotFoundError, TaskqError
from orchestration.core.facts import Runner
from orchestration.core.models import Task
from orchestration.core.status import RUNNING
from orchestration.engine.lease import is_held
from orchestration.engine.worker import Worker
from orchestration.pipeline.stage import StopSwitch
from orchestration.support.logs import get_logger

log = get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """Finds and settles abandoned tasks; *is_alive* says whether a runner lives, or None when it cannot know."""

    worker: Worker
    is_alive: Callable[[Runner], bool | None]

    def abandoned(self) -> tuple[Task, ...]:
        """Return the running tasks that nobody holds."""
        return tuple(task for task in self.worker.store.read().select(RUNNING) if self._is_abandoned(task))

    def reconcile(self) -> tuple[Task, ...]:
        """Settle every abandoned task; return them as they are now."""
        recovered: list[Task] = []
        for task in self.abandoned():
            try:
                now = self._recover(task)
                recovered += [] if now is None else [now]
            except (BusyError, TaskNotFoundError) as error:
                log.info("task.recovered_elsewhere", task=task.id, reason=str(error))
        return tuple(recovered)

    def _is_abandoned(self, task: Task) -> bool:
        if task.run is None:
            return True
        lease = self.worker.parts.records.folders(task.id, task.run.attempt).lease
        return self.is_alive(task.run.runner) is False and not is_held(lease)

    def _recover(self, task: Task) -> Task | None:
        """Return the task as settled; None when it has to stay as it is for now."""
        if task.run is None:
            return self._requeue(task, "it was running under no runner that is known")
        reason = f"runner {task.run.runner.host}:{task.run.runner.pid} is gone"
        result = self._result(task.id, task.run.attempt)
        if result is not None and result.token == task.run.token:
            return self.worker.settle(task, result)
        try:
            spec = self.worker.parts.records.load_spec(task.id, task.run.attempt)
        except CorruptStateError as error:
            return self._requeue(task, f"{reason}, and what it left stays in {task.run.folder}: {error}")
        if spec is None or spec.token != task.run.token:
            return self._requeue(task, reason)
        if not self._reap(spec):
            return None
        try:
            result = self.worker.salvage(task, spec, switch=StopSwitch())
        except BusyError:
            raise
        except TaskqError as error:
            return self._requeue(task, f"{reason}, and what it left stays in {task.run.folder}: {error}")
        if result.failure is not None:
            reason = f"{reason}, and what it left stays in {task.run.folder}: {result.failure.message}"
        return self.worker.settle(task, result, reason=reason)

    def _result(self, identifier: str, attempt: int) -> AttemptResult | None:
        """Return the result that the runner left; one that cannot be read is none."""
        try:
            return self.worker.parts.records.load_result(identifier, attempt)
        except CorruptStateError as error:
            log.warning("result.unreadable", task=identifier, attempt=attempt, error=str(error))
            return None

    def _reap(self, spec: AttemptSpec) -> bool:
        """End what still runs of the attempt; False when that cannot be known now, and the task is left as it is."""
        try:
            ended = self.worker.parts.provider(spec.sandbox).reap(spec.labels)
        except TaskqError as error:
            log.warning("sandbox.reap_failed", task=spec.task, attempt=spec.attempt, error=str(error))
            return False
        log.info("sandbox.reaped", task=spec.task, attempt=spec.attempt, ended=ended)
        return True

    def _requeue(self, task: Task, reason: str) -> Task:
        return self.worker.requeue(task, reason)
