"""A rolling pool of workers: a slot that is free is filled at once, without waiting for a batch.

Guarantees: every task that was claimed is settled, or said to be in doubt; nothing is claimed after `wind_down`.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from queue import Empty, SimpleQueue
from typing import Final

from orchestration.core.errors import TaskqError
from orchestration.core.events import TaskClaimed
from orchestration.core.models import Task
from orchestration.core.naming import TaskId
from orchestration.core.snapshot import Snapshot
from orchestration.core.status import Status
from orchestration.engine.choose import next_task
from orchestration.engine.worker import Worker, is_claim_of
from orchestration.pipeline.stage import StopSwitch
from orchestration.support.logs import get_logger

log = get_logger()

LOOK: Final = timedelta(seconds=0.5)
"""How often a runner looks at the journal for what was done to its running tasks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """What a run did: how often each status was reached, and whose settlement is in doubt and why."""

    settled: tuple[Task, ...] = ()
    in_doubt: tuple[tuple[TaskId, str], ...] = ()
    interrupted: bool = False

    @property
    def failed(self) -> int:
        """How many attempts failed."""
        return sum(task.status is Status.FAILED for task in self.settled) + len(self.in_doubt)


@dataclass(slots=True)
class _Flight:
    task: Task
    switch: StopSwitch
    future: Future[Task]


@dataclass(slots=True)
class Pool:
    """Runs what is ready, at most *max_parallel* at a time; `run` is called once, from the main thread."""

    worker: Worker
    max_parallel: int
    poll: timedelta | None = None
    choose: Callable[[Snapshot], Task | None] | None = None
    """Which task to claim; the default is the most urgent that may start."""
    when_idle: Callable[[], object] = lambda: None
    """Is called when nothing runs and nothing can be claimed, before it waits to look again."""
    _wakes: SimpleQueue[None] = field(default_factory=SimpleQueue)
    """Not an event: a signal handler may put while this thread waits, and would wait for an event's lock for ever."""
    _winding_down: bool = False
    _stopping: bool = False
    _flights: dict[TaskId, _Flight] = field(default_factory=dict)
    _settled: list[Task] = field(default_factory=list)
    _in_doubt: list[tuple[TaskId, str]] = field(default_factory=list)
    _trouble: TaskqError | None = None
    """What kept us from claiming; nothing more is claimed then."""

    def wind_down(self) -> None:
        """Claim nothing more; a second call ends what runs now. Safe to call from a signal handler."""
        self._stopping = self._winding_down
        self._winding_down = True
        self._wakes.put(None)

    @property
    def is_winding_down(self) -> bool:
        """Whether nothing is to be begun any more."""
        return self._winding_down

    def run(self) -> RunSummary:
        """Run until nothing is ready (with *poll*: until wound down), then return what was done.

        Raises: what claiming raised, when everything that was claimed before has ended.
        """
        with ThreadPoolExecutor(self.max_parallel, thread_name_prefix="attempt") as threads:
            while True:
                self._land_finished()
                self._fill(threads)
                if not self._flights:
                    if self._claims_no_more or self.poll is None:
                        break
                    self.when_idle()
                self._wait()
                self._pass_on_stops()
        if self._trouble is not None:
            raise self._trouble
        return RunSummary(settled=tuple(self._settled), in_doubt=tuple(self._in_doubt), interrupted=self._winding_down)

    def _wait(self) -> None:
        """Sleep until a worker ends, a signal comes, or it is time to look again."""
        pause = LOOK if self._flights or self.poll is None else self.poll
        with suppress(Empty):
            self._wakes.get(timeout=pause.total_seconds())
            while True:
                self._wakes.get_nowait()

    @property
    def _claims_no_more(self) -> bool:
        return self._winding_down or self._trouble is not None

    def _fill(self, threads: ThreadPoolExecutor) -> None:
        clock = self.worker.parts.clock
        choose = self.choose or (lambda snapshot: next_task(snapshot, now=clock.now()))
        while len(self._flights) < self.max_parallel and not self._claims_no_more:
            try:
                task = self.worker.claim(choose)
            except TaskqError as error:
                self._trouble = error
                return
            if task is None:
                return
            self.worker.parts.observe(TaskClaimed(task=task, at=clock.now()))
            self._launch(task, threads)

    def _launch(self, task: Task, threads: ThreadPoolExecutor) -> None:
        switch = StopSwitch()
        future = threads.submit(self._fly, task, switch)
        future.add_done_callback(lambda _done: self._wakes.put(None))
        self._flights[task.id] = _Flight(task, switch, future)

    def _fly(self, task: Task, switch: StopSwitch) -> Task:
        return self.worker.run(task, queue=self.worker.store.read().queue or "", switch=switch)

    def _land_finished(self) -> None:
        for flight in [flight for flight in self._flights.values() if flight.future.done()]:
            del self._flights[flight.task.id]
            try:
                self._settled.append(flight.future.result())
            except Exception as error:  # whatever it was, the others go on
                log.exception("attempt.in_doubt", task=flight.task.id, attempt=flight.task.attempt)
                self._in_doubt.append((flight.task.id, str(error)))

    def _pass_on_stops(self) -> None:
        """Stop what the operator ended: all of it after a second signal, and what was cancelled meanwhile."""
        if not self._flights:
            return
        if self._stopping:
            for flight in self._flights.values():
                flight.switch.throw("interrupted")
            return
        try:
            snapshot = self.worker.store.read()
            found = [(flight, snapshot.find(flight.task.id)) for flight in self._flights.values()]
        except TaskqError as error:  # it is looked at again soon
            log.warning("journal.unreadable", error=str(error))
            return
        for flight, current in found:
            if current is None or not is_claim_of(flight.task, current):
                flight.switch.throw("cancelled")
