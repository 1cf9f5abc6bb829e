"""The store against a dictionary: whatever is done to a queue, to its journal's end and to its index, in any order.

Responsible for: histories that hypothesis makes up, with several open stores, cuts at any byte, restored copies and
an index that is deleted or belongs to another time. Prints its seeds; one that fails is run again by its number.
"""

import shutil
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from orchestration.core.errors import UsageError
from orchestration.core.models import Task
from orchestration.core.naming import TaskId
from orchestration.core.snapshot import Snapshot
from orchestration.core.status import TRANSITIONS, Status
from orchestration.store import fsck
from orchestration.store.compaction import compact
from orchestration.store.layout import create_queue
from tests.store.proof.eager import eager_store

SEED = 20261121
START = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
IDS = st.sampled_from(["a", "B", "b", "c.d", "e-f", "G_1"])
WHO = st.integers(0, 2)
BULKY = 5_000
"""Such a text is more than what these stores leave to be read behind their index."""
SETTINGS = settings(
    max_examples=10,
    stateful_step_count=30,
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)


class Known(NamedTuple):
    """What a task must be like."""

    id: str
    status: Status
    rev: int
    title: str | None
    length: int
    after: tuple[str, ...]


class Moment(NamedTuple):
    """What was true when the journal had this size: the tasks there, and the last revisions of those removed."""

    size: int
    tasks: dict[str, Known]
    gone: dict[str, int]


class Clock:
    def __init__(self) -> None:
        self.current = START

    def now(self) -> datetime:
        """Go on, and now and then jump back, as clocks of machines do."""
        self.current += timedelta(seconds=-3600 if self.current.second == 40 else 1)
        return self.current

    def monotonic(self) -> float:
        return 0.0


def known(task: Task) -> Known:
    return Known(str(task.id), task.status, task.rev, task.title, len(task.text or ""), task.after)


def first_todo(snapshot: Snapshot) -> Task | None:
    return next((task for task in snapshot.tasks.values() if task.status is Status.TODO), None)


class AnyHistory(RuleBasedStateMachine):
    """Three stores that are open on one queue, and a dictionary keyed by id, case ignored."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.queue = create_queue(self.folder / "queue")
        self.clock = Clock()
        self.stores = [eager_store(self.queue.root, self.clock) for _ in range(3)]
        self.tasks: dict[str, Known] = {}
        self.gone: dict[str, int] = {}
        self.moments = [Moment(0, {}, {})]
        self.floor = 0

    def note(self) -> None:
        self.moments.append(Moment(self.queue.journal.stat().st_size, dict(self.tasks), dict(self.gone)))

    def back_to(self, size: int) -> None:
        while self.moments[-1].size > size:
            self.moments.pop()
        self.tasks, self.gone = dict(self.moments[-1].tasks), dict(self.moments[-1].gone)

    def must_refuse(self, batch: dict[str, list[str]]) -> bool:
        keys = {identifier.lower() for identifier in batch}
        waits = {key: task.after for key, task in self.tasks.items()}
        waits |= {identifier.lower(): tuple(after) for identifier, after in batch.items()}
        unknown = any(name.lower() not in waits for after in batch.values() for name in after)
        return len(keys) < len(batch) or bool(keys & self.tasks.keys()) or unknown or in_a_circle(keys, waits)

    @rule(batch=st.dictionaries(IDS, st.lists(IDS, max_size=2, unique=True), min_size=1, max_size=4), who=WHO)
    def add(self, batch: dict[str, list[str]], who: int) -> None:
        tasks = [
            Task(
                id=TaskId(identifier),
                repo="/srv/repo",
                base="main",
                status=Status.TODO,
                text="x",
                after=tuple(after),
                created_at=START,
                updated_at=START,
            )
            for identifier, after in batch.items()
        ]
        refused = self.must_refuse(batch)
        try:
            added = self.stores[who].add(tasks, by="test")
        except UsageError:
            assert refused
            return
        assert not refused
        for task in added:
            key = task.id.lower()
            assert task.rev == self.gone.get(key, 0) + 1
            self.tasks[key] = known(task)
        self.note()

    @rule(identifier=IDS, to=st.sampled_from(Status), who=WHO)
    def move(self, identifier: str, to: Status, who: int) -> None:
        task = self.tasks.get(identifier.lower())
        try:
            self.stores[who].change(identifier, lambda found: found.advance(to, at=START), by="test")
        except UsageError:
            assert task is None or to not in TRANSITIONS[task.status]
            return
        assert task is not None
        self.tasks[identifier.lower()] = task._replace(status=to, rev=task.rev + 1)
        self.note()

    @rule(identifier=IDS, title=st.sampled_from(["one", "\u2028two\u0085", '","crc":"']), who=WHO)
    def name(self, identifier: str, title: str, who: int) -> None:
        task = self.tasks.get(identifier.lower())
        if task is not None and task.title != title:
            self.stores[who].change(identifier, lambda found: found._replace(title=title), by="test")
            self.tasks[identifier.lower()] = task._replace(title=title, rev=task.rev + 1)
            self.note()

    @rule(identifier=IDS, more=st.integers(0, 2), who=WHO)
    def bulk_up(self, identifier: str, more: int, who: int) -> None:
        """Make the journal long, so that an index is worth its while."""
        task = self.tasks.get(identifier.lower())
        length = BULKY + more
        if task is not None and task.length != length:
            self.stores[who].change(identifier, lambda found: found._replace(text="x" * length), by="test")
            self.tasks[identifier.lower()] = task._replace(length=length, rev=task.rev + 1)
            self.note()

    @rule(who=WHO)
    def claim(self, who: int) -> None:
        due = next((key for key, task in self.tasks.items() if task.status is Status.TODO), None)
        found = self.stores[who].claim(first_todo, lambda task: task.advance(Status.PLANNING, at=START), by="test")
        if due is None:
            assert found is None
            return
        assert found is not None
        self.tasks[due] = self.tasks[due]._replace(status=Status.PLANNING, rev=self.tasks[due].rev + 1)
        assert known(found) == self.tasks[due]
        self.note()

    @rule(identifier=IDS, who=WHO)
    def remove(self, identifier: str, who: int) -> None:
        try:
            self.stores[who].remove(identifier, lambda _task: None, by="test")
        except UsageError:
            assert identifier.lower() not in self.tasks
            return
        self.gone[identifier.lower()] = self.tasks.pop(identifier.lower()).rev + 1
        self.note()

    @precondition(lambda self: self.moments[-1].size > self.floor)
    @rule(place=st.integers(0, 2**20), is_near_the_end=st.booleans())
    def cut(self, place: int, is_near_the_end: bool) -> None:  # noqa: FBT001 - hypothesis gives it
        """Lose the end of the journal from any byte on, as a power cut loses what was never synced."""
        size = self.moments[-1].size
        room = size - self.floor
        kept = size - place % min(room, 2000) if is_near_the_end else self.floor + place % room
        with self.queue.journal.open("r+b") as journal:
            journal.truncate(kept)
        self.back_to(kept)

    @precondition(lambda self: len(self.moments) > 1)
    @rule(back=st.integers(1, 10))
    def restore(self, back: int) -> None:
        """Put an earlier copy in the place of the journal, as `git checkout` and backups do."""
        kept = self.moments[max(0, len(self.moments) - 1 - back)].size
        copy = self.folder / "copy"
        copy.write_bytes(self.queue.journal.read_bytes()[:kept])
        copy.replace(self.queue.journal)
        self.back_to(kept)

    @rule(junk=st.binary(min_size=1, max_size=30).filter(lambda junk: b"\n" not in junk) | st.just(b"\0" * 512))
    def tear(self, junk: bytes) -> None:
        """Leave bytes of an append that never ended; only an append to a whole journal can."""
        if self.queue.journal.exists() and self.queue.journal.stat().st_size == self.moments[-1].size:
            with self.queue.journal.open("ab") as journal:
                journal.write(junk)

    @rule()
    def compact(self) -> None:
        """Write the journal anew; no cut and no copy goes back behind that."""
        if compact(self.queue.root, self.clock).history is not None:
            self.moments = []
            self.note()
            self.floor = self.moments[0].size

    @rule()
    def forget_the_index(self) -> None:
        shutil.rmtree(self.queue.root / "index", ignore_errors=True)

    @rule()
    def keep_the_index(self) -> None:
        shutil.rmtree(self.folder / "kept", ignore_errors=True)
        if (self.queue.root / "index").exists():
            shutil.copytree(self.queue.root / "index", self.folder / "kept")

    @rule()
    def bring_an_old_index_back(self) -> None:
        if (self.folder / "kept").exists():
            shutil.rmtree(self.queue.root / "index", ignore_errors=True)
            shutil.copytree(self.folder / "kept", self.queue.root / "index")

    @rule(who=WHO)
    def reopen(self, who: int) -> None:
        self.stores[who] = eager_store(self.queue.root, self.clock)

    @rule()
    def repair(self) -> None:
        fsck.repair(self.queue.root, self.clock)
        if self.queue.journal.exists():
            assert self.queue.journal.stat().st_size == self.moments[-1].size

    @invariant()
    def every_store_agrees_with_the_dictionary(self) -> None:
        for store in (*self.stores, eager_store(self.queue.root, self.clock)):
            snapshot = store.read()
            assert [known(task) for task in snapshot.tasks.values()] == list(self.tasks.values())
            assert snapshot.damage == ()

    def teardown(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def in_a_circle(keys: set[str], waits: dict[str, tuple[str, ...]]) -> bool:
    """Say whether one of *keys* waits for itself, directly or not."""

    def reached(key: str) -> set[str]:
        found: set[str] = set()
        ahead = [name.lower() for name in waits.get(key, ())]
        while ahead:
            name = ahead.pop()
            if name not in found:
                found.add(name)
                ahead += [other.lower() for other in waits.get(name, ())]
        return found

    return any(key in reached(key) for key in {*keys, *(name for key in keys for name in reached(key))})


def explore(duration: timedelta, *, first: int = SEED) -> int:
    """Run histories until the time is over; return how many seeds were used."""
    end = time.monotonic() + duration.total_seconds()
    number = first
    while time.monotonic() < end:
        sys.stdout.write(f"seed {number}\n")
        run_state_machine_as_test(seed(number)(type("AnyHistory", (AnyHistory,), {})), settings=SETTINGS)
        number += 1
    return number - first


def test_a_few_histories_agree_with_the_dictionary() -> None:
    assert explore(timedelta(seconds=2)) >= 1


@pytest.mark.full
def test_half_a_minute_of_histories_agrees_with_the_dictionary() -> None:
    assert explore(timedelta(seconds=30), first=SEED + 1000) > 1


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_ten_minutes_of_histories_agree_with_the_dictionary() -> None:
    assert explore(timedelta(minutes=10), first=SEED + 10_000) > 10
