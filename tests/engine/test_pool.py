import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from orchestration.core.errors import CorruptStateError
from orchestration.core.models import Task
from orchestration.core.ports import AgentJob, AgentResult
from orchestration.core.status import Status
from orchestration.engine import pool as pools
from orchestration.engine.pool import Pool, RunSummary
from tests.engine.conftest import Engine
from tests.engine.fakes import DONE, FAILED, START, STOPPED, FakeSandbox
from tests.journeys.waiting import wait_until

Background = Callable[[Pool], Callable[[], RunSummary]]


@dataclass
class Workshop:
    """Agents that work until their task's gate is opened; says who is at work and how many there ever were at once."""

    at_work: set[str] = field(default_factory=set)
    most: int = 0
    started: list[str] = field(default_factory=list)
    gates: dict[str, threading.Event] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def gate(self, identifier: str) -> threading.Event:
        with self._lock:
            return self.gates.setdefault(identifier, threading.Event())

    def work(self, sandbox: FakeSandbox, job: AgentJob) -> AgentResult:
        identifier = str(job.spec.task)
        gate = self.gate(identifier)
        with self._lock:
            self.at_work.add(identifier)
            self.started.append(identifier)
            self.most = max(self.most, len(self.at_work))
        try:
            wait_until(lambda: gate.is_set() or sandbox.stopped.is_set(), what=f"{identifier} may end")
        finally:
            with self._lock:
                self.at_work.discard(identifier)
        return STOPPED if sandbox.stopped.is_set() else DONE

    def await_workers(self, *identifiers: str) -> None:
        wait_until(lambda: self.at_work == set(identifiers), what=f"{identifiers} are at work")


@pytest.fixture
def workshop(engine: Engine) -> Workshop:
    made = Workshop()
    engine.agent.work = made.work
    return made


def statuses(engine: Engine) -> dict[str, Status]:
    return {str(task.id): task.status for task in engine.store.read().tasks.values()}


def test_no_more_than_max_parallel_run_at_once_and_a_free_slot_is_filled_at_once(
    engine: Engine, workshop: Workshop, in_background: Background
) -> None:
    engine.add("a", "b", "c", "d")
    wait = in_background(engine.pool(max_parallel=2))
    workshop.await_workers("a", "b")
    workshop.gate("b").set()
    workshop.await_workers("a", "c")  # no batch: b's slot is c's while a still works
    workshop.gate("c").set()
    workshop.await_workers("a", "d")
    for name in "ad":
        workshop.gate(name).set()
    summary = wait()
    assert workshop.most == 2
    assert {str(task.id) for task in summary.settled} == set("abcd")
    assert set(statuses(engine).values()) == {Status.REVIEW}


@pytest.mark.parametrize("max_parallel", [1, 3])
def test_every_task_runs_exactly_once(engine: Engine, max_parallel: int) -> None:
    names = [f"t{number}" for number in range(8)]
    engine.add(*names)
    summary = engine.pool(max_parallel=max_parallel).run()
    assert sorted(task.id for task in summary.settled) == names
    assert all(task.attempt == 1 for task in summary.settled)
    assert not summary.interrupted


def test_a_task_that_is_added_while_others_run_is_taken_too(
    engine: Engine, workshop: Workshop, in_background: Background
) -> None:
    engine.add("a")
    wait = in_background(engine.pool(max_parallel=2))
    workshop.await_workers("a")
    engine.add("b")
    workshop.await_workers("a", "b")
    for name in "ab":
        workshop.gate(name).set()
    assert len(wait().settled) == 2


def test_winding_down_lets_what_runs_end_and_claims_no_more(
    engine: Engine, workshop: Workshop, in_background: Background
) -> None:
    engine.add("a", "b")
    pool = engine.pool(max_parallel=1)
    wait = in_background(pool)
    workshop.await_workers("a")
    pool.wind_down()
    workshop.gate("a").set()
    summary = wait()
    assert summary.interrupted
    assert statuses(engine) == {"a": Status.REVIEW, "b": Status.TODO}


def test_winding_down_twice_stops_what_runs_and_requeues_it(
    engine: Engine, workshop: Workshop, in_background: Background
) -> None:
    engine.add("a", "b", "c")
    pool = engine.pool(max_parallel=2)
    wait = in_background(pool)
    workshop.await_workers("a", "b")
    pool.wind_down()
    pool.wind_down()
    summary = wait()
    assert {task.reason for task in summary.settled} == {"interrupted"}
    assert set(statuses(engine).values()) == {Status.TODO}
    assert workshop.started.count("c") == 0


def test_winding_down_ends_a_poller_that_waits(engine: Engine, in_background: Background) -> None:
    from datetime import timedelta

    pool = Pool(worker=engine.worker, max_parallel=1, poll=timedelta(hours=1))
    wait = in_background(pool)
    pool.wind_down()
    assert wait() == RunSummary(interrupted=True)


def test_a_signal_may_call_wind_down_wherever_the_loop_is(engine: Engine, workshop: Workshop) -> None:
    """A handler runs between any two steps of the loop; here it runs at every call and return in it."""
    engine.add("a")
    pool = engine.pool(max_parallel=1)
    calls = 0

    def interrupt(_frame: object, _event: str, _argument: object) -> None:
        nonlocal calls
        if workshop.at_work:
            sys.setprofile(None)
            pool.wind_down()
            calls += 1
            sys.setprofile(interrupt)

    def run() -> None:
        sys.setprofile(interrupt)
        try:
            pool.run()
        finally:
            sys.setprofile(None)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive(), "the loop waits for itself"
    assert calls > 10


def test_a_cancelled_task_is_stopped_within_a_look_and_the_others_go_on(
    engine: Engine, workshop: Workshop, in_background: Background, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.add("a", "b")
    wait = in_background(engine.pool(max_parallel=2))
    workshop.await_workers("a", "b")
    engine.store.change("a", lambda task: task.advance(Status.CANCELLED, at=START), by="cancel")
    wait_until(lambda: workshop.at_work == {"b"}, what="a is stopped", seconds=3 * pools.LOOK.total_seconds())
    workshop.gate("b").set()
    wait()
    assert statuses(engine) == {"a": Status.CANCELLED, "b": Status.REVIEW}


def test_a_worker_whose_settlement_breaks_is_in_doubt_and_the_others_go_on(engine: Engine) -> None:
    engine.add("bad", "good")
    engine.agent.work = lambda _sandbox, job: FAILED if job.spec.task == "bad" else DONE

    def fail(_task: Task) -> None:
        raise OSError("the disk is gone")

    engine.after_failure = fail
    summary = engine.pool(max_parallel=1).run()
    assert summary.in_doubt == (("bad", "the disk is gone"),)
    assert [task.id for task in summary.settled] == ["good"]
    assert summary.failed == 1


def test_a_journal_that_takes_no_claim_ends_the_run_when_what_runs_has_ended(
    engine: Engine, workshop: Workshop, in_background: Background
) -> None:
    engine.add("a", "b", "c")
    pool = engine.pool(max_parallel=2)
    journal = engine.queue_folder / "tasks.jsonl"
    wait = in_background(pool)
    workshop.await_workers("a", "b")
    sound = journal.read_bytes()
    journal.write_bytes(b"no journal\n" + sound)
    workshop.gate("a").set()
    wait_until(lambda: engine.records.load_result("a", 1) is not None, what="a has ended")
    wait_until(lambda: pool._trouble is not None, what="the pool has tried to claim")
    workshop.gate("b").set()
    with pytest.raises(CorruptStateError):
        wait()
    assert workshop.started.count("c") == 0
    journal.write_bytes(sound)
    assert {task.status for task in engine.recover()} == {Status.REVIEW}


def test_a_journal_that_takes_no_claim_leaves_stopping_to_the_operator(
    engine: Engine, workshop: Workshop, in_background: Background
) -> None:
    engine.add("a", "b")
    pool = engine.pool(max_parallel=2)
    wait = in_background(pool)
    workshop.await_workers("a", "b")
    (engine.queue_folder / "tasks.jsonl").write_bytes(b"no journal\n")
    pool.wind_down()
    pool.wind_down()
    assert {identifier for identifier, _ in wait().in_doubt} == {"a", "b"}
