"""Any history through stores with and without an index: they say the same, whatever each has looked at before."""

import shutil
import tempfile
from contextlib import suppress
from datetime import timedelta
from functools import partial
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from orchestration.core.errors import DuplicateTaskError, UsageError
from orchestration.core.models import Task
from orchestration.core.snapshot import Snapshot
from orchestration.core.status import TRANSITIONS, Status
from orchestration.store.layout import create_queue
from orchestration.store.reader import Effort
from orchestration.store.tasks import JournalTaskStore
from tests.store.indexed import ANEW, EXTENDED, IDS, LAGGING, NEVER, START, Clock, answers, built, opened, start


class IndexMachine(RuleBasedStateMachine):
    """Changes one queue through stores that keep their indexes in different ways; all of them say the same."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.queue = create_queue(self.folder / "queue")
        self.clock = Clock()
        self.stores = [opened(self.queue, effort, self.clock) for effort in (NEVER, LAGGING, EXTENDED, ANEW)]

        self.stores[0].add([built("a"), built("B"), built("c.d", after=("a",)), built("e-f", after=("B",))], by="test")

    def present(self) -> list[Task]:
        return list(self.stores[0].read().tasks.values())

    @rule(
        names=st.lists(IDS, min_size=1, max_size=3, unique_by=str.lower),
        after=st.lists(IDS, max_size=2),
        priority=st.integers(-2, 2),
        later=st.none() | st.integers(-2, 2),
        sandbox=st.sampled_from([None, "docker", "local"]),
        who=st.integers(0, 3),
    )
    def add(
        self, names: list[str], after: list[str], priority: int, later: int | None, sandbox: str | None, who: int
    ) -> None:
        fields = {
            "after": tuple(name for name in after if name in {task.id for task in self.present()}),
            "priority": priority,
            "not_before": None if later is None else START + timedelta(hours=later),
            "sandbox": sandbox,
            "created_at": START + timedelta(hours=len(names) * priority),
        }
        with suppress(DuplicateTaskError, UsageError):
            self.stores[who].add([built(name, **fields) for name in names], by="test")

    @rule(which=st.integers(0, 5), to=st.integers(0, 5), who=st.integers(0, 3))
    def move(self, which: int, to: int, who: int) -> None:
        tasks = [task for task in self.present() if TRANSITIONS[task.status]]
        if tasks:
            task = tasks[which % len(tasks)]
            legal = sorted(TRANSITIONS[task.status])
            self.stores[who].change(task.id, lambda task: task.advance(legal[to % len(legal)], at=START), by="test")

    @rule(name=IDS, who=st.integers(0, 3))
    def finish(self, name: str, who: int) -> None:
        with suppress(UsageError):
            for to in (Status.PLANNING, Status.BUILDING, Status.REVIEW, Status.DONE):
                self.stores[who].change(name, lambda task, to=to: task.advance(to, at=START), by="test")

    @rule(
        name=IDS,
        field=st.sampled_from(
            [("priority", 7), ("not_before", START), ("not_before", None), ("after", ()), ("after", ("h",))]
        ),
        who=st.integers(0, 3),
    )
    def edit(self, name: str, field: tuple[str, object], who: int) -> None:
        with suppress(UsageError):
            self.stores[who].change(name, lambda task: task._replace(**{field[0]: field[1]}), by="test")

    @rule(name=IDS, who=st.integers(0, 3))
    def remove(self, name: str, who: int) -> None:
        with suppress(UsageError):
            self.stores[who].remove(name, lambda _task: None, by="test")

    @rule(who=st.integers(0, 3))
    def claim(self, who: int) -> None:
        self.stores[who].claim(lambda snapshot: next(iter(snapshot.urgent(START)), None), start, by="test")

    @rule()
    def lose_the_index(self) -> None:
        shutil.rmtree(self.queue.index_file.parent, ignore_errors=True)

    @rule(who=st.integers(0, 3))
    def begin_anew(self, who: int) -> None:
        self.stores[who] = opened(self.queue, (NEVER, LAGGING, EXTENDED, ANEW)[who], self.clock)

    @invariant()
    def all_say_the_same(self) -> None:
        told = [answers(store.read()) for store in self.stores]
        tasks = {task.id: task for task in self.stores[0].read().tasks.values()}
        reference = answers(Snapshot(queue=None, seq=0, tasks=tasks))
        for each in told:
            assert each == reference

    def teardown(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


TestIndexMachine = IndexMachine.TestCase
TestIndexMachine.settings = settings(
    max_examples=12, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


WAY = (Status.PLANNING, Status.BUILDING, Status.REVIEW, Status.DONE)
DEEDS = st.tuples(
    st.integers(0, 2), st.sampled_from(["add", "add two", "start", "done", "back", "remove", "claim", "find"]), IDS
)


@settings(max_examples=30, deadline=None)
@given(st.lists(DEEDS, max_size=25), st.sampled_from([NEVER, LAGGING, EXTENDED]))
def test_what_writers_took_in_without_a_look_is_read_right_when_somebody_looks(
    deeds: list[tuple[int, str, str]], effort: Effort
) -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        queue = create_queue(folder / "queue")
        clock = Clock()
        opened(queue, NEVER, clock).add([built("a"), built("h", after=("a",)), built("G_1")], by="test")
        stores = [opened(queue, effort, clock) for _ in range(3)]
        claims: list[tuple[str, int]] = []
        for number, (who, deed, name) in enumerate(deeds):
            with suppress(DuplicateTaskError, UsageError):
                do(stores[who], deed, name, number, claims)
        assert len(set(claims)) == len(claims)
        right = answers(opened(queue, NEVER).read())
        assert [answers(store.read()) for store in stores] == [right] * 3
    finally:
        shutil.rmtree(folder)


def do(store: JournalTaskStore, deed: str, name: str, number: int, claims: list[tuple[str, int]]) -> None:
    def to(*statuses: Status) -> None:
        for status in statuses:
            store.change(name, partial(Task.advance, to=status, at=START), by="test")

    match deed:
        case "add":
            store.add([built(f"new-{number}", priority=number % 3)], by="test")
        case "add two":
            store.add([built(f"one-{number}"), built(f"two-{number}", after=(name,))], by="test")
        case "start":
            to(Status.PLANNING)
        case "done" | "back":
            to(*((Status.PLANNING, Status.TODO) if deed == "back" else WAY))
        case "remove":
            store.remove(name, lambda _task: None, by="test")
        case "find":
            store.read().find(name)
        case _:
            claimed = store.claim(lambda snapshot: next(iter(snapshot.urgent(START)), None), start, by="test")
            if claimed is not None:
                claims.append((claimed.id, claimed.rev))
