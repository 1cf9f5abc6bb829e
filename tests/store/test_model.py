"""The store against a dictionary: random changes, cuts at any byte, other processes; nothing said is ever lost."""

import shutil
import tempfile
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from orchestration.core.errors import DuplicateTaskError, UsageError
from orchestration.core.models import Task
from orchestration.core.naming import TaskId
from orchestration.core.status import TRANSITIONS, Status
from orchestration.store import fsck
from orchestration.store.codec import decode_task, encode_task
from orchestration.store.layout import create_queue
from orchestration.store.line import BadRecordError, decode_line, encode_line
from orchestration.store.tasks import JournalTaskStore

START = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
ODD = ["\u2028", "\u0085", "\x0b\x0c\x1c\n", '","crc":"', "\U0001f600", "\0"]
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40) | st.sampled_from(ODD)
IDS = st.sampled_from(["a", "B", "c.d", "e-f", "G_1"])


class Clock:
    def __init__(self) -> None:
        self.current = START

    def now(self) -> datetime:
        """Go on, and now and then jump back, as clocks of machines do."""
        self.current += timedelta(seconds=-3600 if self.current.second == 40 else 1)
        return self.current

    def monotonic(self) -> float:
        return 0.0


def built(identifier: str, text: str) -> Task:
    return Task(
        id=TaskId(identifier),
        repo="/srv/repo",
        base="main",
        status=Status.TODO,
        text=text or None,
        created_at=START,
        updated_at=START,
    )


class QueueMachine(RuleBasedStateMachine):
    """Does to a queue what people and crashes do, and keeps a dictionary of what must be there."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.queue = create_queue(self.folder / "queue")
        self.clock = Clock()
        self.stores = [JournalTaskStore(self.queue.root, self.clock) for _ in range(2)]
        self.model: dict[str, tuple[Status, str | None]] = {}
        self.earlier: list[tuple[int, dict[str, tuple[Status, str | None]]]] = [(0, {})]

    def note(self) -> None:
        self.earlier.append((self.queue.journal.stat().st_size, dict(self.model)))

    @rule(batch=st.dictionaries(IDS, TEXTS, min_size=1, max_size=3), who=st.integers(0, 1))
    def add(self, batch: dict[str, str], who: int) -> None:
        tasks = [built(identifier, text) for identifier, text in batch.items()]
        try:
            self.stores[who].add(tasks, by="test")
        except DuplicateTaskError:
            assert batch.keys() & self.model.keys()
            return
        self.model.update({task.id: (task.status, task.text) for task in tasks})
        self.note()

    @rule(identifier=IDS, to=st.sampled_from(Status), who=st.integers(0, 1))
    def move(self, identifier: str, to: Status, who: int) -> None:
        try:
            self.stores[who].change(identifier, lambda task: task.advance(to, at=START), by="test")
        except UsageError:
            assert identifier not in self.model or to not in TRANSITIONS[self.model[identifier][0]]
            return
        self.model[identifier] = (to, self.model[identifier][1])
        self.note()

    @rule(identifier=IDS, text=TEXTS, who=st.integers(0, 1))
    def rewrite(self, identifier: str, text: str, who: int) -> None:
        if identifier in self.model and self.model[identifier][1] != (text or None):
            self.stores[who].change(identifier, lambda task: task._replace(text=text or None), by="test")
            self.model[identifier] = (self.model[identifier][0], text or None)
            self.note()

    @rule(identifier=IDS, who=st.integers(0, 1))
    def remove(self, identifier: str, who: int) -> None:
        if identifier in self.model:
            self.stores[who].remove(identifier, lambda _task: None, by="test")
            del self.model[identifier]
            self.note()

    @rule(back=st.integers(0, 2000))
    def cut(self, back: int) -> None:
        """Lose some bytes at the end, as a power cut does to bytes that were never synced."""
        size = self.earlier[-1][0]
        kept = max(0, size - back)
        if size:
            with self.queue.journal.open("r+b") as journal:
                journal.truncate(kept)
        while self.earlier[-1][0] > kept:
            self.earlier.pop()
        self.model = dict(self.earlier[-1][1])

    @rule(junk=st.binary(min_size=1, max_size=30).filter(lambda junk: b"\n" not in junk) | st.just(b"\0" * 512))
    def tear(self, junk: bytes) -> None:
        """Leave bytes of an append that never ended; only an append to a whole journal can."""
        if self.queue.journal.exists() and self.queue.journal.stat().st_size == self.earlier[-1][0]:
            with self.queue.journal.open("ab") as journal:
                journal.write(junk)

    @rule()
    def reopen(self) -> None:
        self.stores[0] = JournalTaskStore(self.queue.root, self.clock)

    @rule()
    def repair(self) -> None:
        fsck.repair(self.queue.root, self.clock)
        if self.queue.journal.exists():
            assert self.queue.journal.stat().st_size == self.earlier[-1][0]

    @invariant()
    def every_store_agrees_with_the_dictionary(self) -> None:
        for store in self.stores:
            tasks = store.read().tasks
            assert {task.id: (task.status, task.text) for task in tasks.values()} == self.model

    def teardown(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


TestQueueMachine = QueueMachine.TestCase
TestQueueMachine.settings = settings(
    max_examples=25, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)


@settings(max_examples=150, deadline=None)
@given(text=TEXTS, title=TEXTS)
def test_any_text_comes_back_through_a_line(text: str, title: str) -> None:
    task = built("a", text)._replace(title=title)
    line = encode_line({"seq": 1, **encode_task(task)})
    assert line.count(b"\n") == 1
    assert line.isascii()
    assert decode_task(decode_line(line)) == task


FLOATS = st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63) + 1, 2**63 - 1) | FLOATS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=10,
)


@settings(max_examples=150, deadline=None)
@given(value=VALUES)
def test_any_plain_value_comes_back_through_a_line(value: object) -> None:
    assert decode_line(encode_line({"value": value})) == {"value": value}


@settings(max_examples=300, deadline=None)
@given(junk=st.binary(max_size=80))
def test_junk_is_a_bad_record_and_nothing_worse(junk: bytes) -> None:
    with suppress(BadRecordError):
        assert isinstance(decode_line(junk), dict)
