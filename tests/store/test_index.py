"""The index changes nothing but time: with and without it, made anew, extended, gone or wrong, answers are the same."""

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from orchestration.core.errors import CorruptStateError, DuplicateTaskError, UsageError
from orchestration.core.models import Task
from orchestration.core.naming import TaskId
from orchestration.core.snapshot import Snapshot
from orchestration.core.status import TRANSITIONS, Status
from orchestration.store.layout import QueueFolder, create_queue
from orchestration.store.ledger import Ledger
from orchestration.store.line import decode_line, encode_line
from orchestration.store.reader import Effort, JournalReader
from orchestration.store.scan import scan
from orchestration.store.tasks import JournalTaskStore

START = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
NEVER = Effort(batch=1 << 40)
ANEW = Effort(batch=0, warm=0, extending=1 << 40)
EXTENDED = Effort(batch=0, warm=0, extending=0)
LAGGING = Effort(batch=2500, warm=1 << 40, extending=0)
"""Keeps some lines in memory that its index does not know."""
IDS = st.sampled_from(["a", "B", "c.d", "e-f", "G_1", "h"])


class Clock:
    def __init__(self) -> None:
        self.current = START

    def now(self) -> datetime:
        self.current += timedelta(seconds=1)
        return self.current

    def monotonic(self) -> float:
        return 0.0


def opened(queue: QueueFolder, effort: Effort, clock: Clock | None = None) -> JournalTaskStore:
    clock = clock or Clock()
    return JournalTaskStore(queue.root, clock, reader=JournalReader(queue, clock, effort=effort))


def built(identifier: str, **fields: object) -> Task:
    values = {"repo": "/srv/repo", "base": "main", "status": Status.TODO, "created_at": START, "updated_at": START}
    return Task(id=TaskId(identifier), **{**values, **fields})  # type: ignore[arg-type]  # a builder takes any field


def start(task: Task) -> Task:
    return task.advance(Status.PLANNING, at=START)


def answers(snapshot: Snapshot, now: datetime = START) -> dict[str, object]:
    """Return what a reader is told, in a form that can be compared; of what waits, whether it is left out is free."""
    tasks = list(snapshot.tasks.values())
    done = {task.id.lower() for task in tasks if task.status is Status.DONE}

    def may_start(task: Task) -> bool:
        return (task.not_before is None or task.not_before <= now) and {name.lower() for name in task.after} <= done

    return {
        "tasks": tasks,
        "counts": dict(snapshot.counts()),
        "find": [snapshot.find(name) for name in ("a", "b", "C.D", "nobody")],
        "todo": list(snapshot.select([Status.TODO])),
        "over": list(snapshot.select([Status.DONE, Status.CANCELLED])),
        "urgent": [task.id for task in snapshot.urgent(now) if may_start(task)],
        "awaiting": [[task.id for task in snapshot.awaiting(name)] for name in ("a", "b", "h")],
        "ids": [sorted(snapshot.ids(prefix)) for prefix in ("", "g", "C.")],
    }


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
    max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


@st.composite
def journals(draw: st.DrawFn) -> bytes:
    """Return lines as taskq writes them, as others do, and as nobody should."""
    lines = []
    names = st.sampled_from(["a", "B", "..", "c.lock", "x" * 64, "-d"])
    values = st.sampled_from(
        [
            *({"status": "todo", "repo": "/r"}, {"status": "done"}, {"status": 7}, {"priority": 3}, {"after": ["B"]}),
            *({"created_at": "2026-01-01T00:00:00Z"}, {"created_at": "never"}, {"not_before": "2026-01-01T00:00:00Z"}),
            *({"removed": True}, {"priority": "high"}, {"after": "B"}, {"sandbox": ""}, {"more": 1}, {"more": 2}, {}),
        ]
    )
    for seq in range(1, draw(st.integers(1, 12)) + 1):
        members: dict[str, object] = {"seq": seq, "kind": "task", "id": draw(names), "rev": draw(st.integers(1, 4))}
        members |= {"at": "2026-11-21T03:00:00.000000Z", "by": "x"}
        if draw(st.booleans()):
            members["v"] = 1
        for more in draw(st.lists(values, max_size=3)):
            members |= more
        if draw(st.integers(0, 9)) == 0:
            del members["seq"]
        if draw(st.integers(0, 12)) == 0:
            members = {"seq": seq, "kind": "queue", "id": "abcdefgh", "compacted": draw(st.booleans())}
        line = encode_line(members)
        if draw(st.integers(0, 9)) == 0:
            line = draw(st.sampled_from([b"\n", b"junk\n", line[:-20] + b'"}\n', line.replace(b'"crc"', b'"crd"')]))
        lines.append(line)
    return b"".join(lines) + draw(st.sampled_from([b"", b"{", b"\0\0"]))


@settings(max_examples=300, deadline=None)
@given(journals())
def test_a_scan_makes_of_any_lines_what_the_ledger_makes_of_them(content: bytes) -> None:
    ledger = Ledger()
    ledger.absorb(content)
    with tempfile.TemporaryFile() as journal:
        journal.write(content)
        journal.flush()
        extent = scan(journal.fileno())
        tasks = list(extent.tasks)
    if extent.end < ledger.offset:  # bad lines at the very end: a scan leaves those to whoever reads the tail
        assert b"\n" not in content[extent.end : ledger.offset - 1] or ledger.damage
        return
    assert (extent.end, extent.lines, extent.seq, extent.compacted, extent.queue, list(extent.damage)) == (
        ledger.offset,
        ledger.lines,
        ledger.seq,
        ledger.compacted,
        ledger.queue,
        ledger.damage,
    )
    entries = sorted(ledger.touched.values(), key=lambda entry: entry.place)
    assert [state for state, _ in tasks] == [entry.state() for entry in entries]


WAY = (Status.PLANNING, Status.BUILDING, Status.REVIEW, Status.DONE)
DEEDS = st.tuples(
    st.integers(0, 2), st.sampled_from(["add", "add two", "start", "done", "back", "remove", "claim", "find"]), IDS
)


@settings(max_examples=60, deadline=None)
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


def make_queue(queue: QueueFolder, count: int = 40) -> None:
    store = opened(queue, NEVER)
    store.add([built(f"t{number}", priority=number % 3) for number in range(count)], by="test")
    store.change("t3", start, by="test")


def use_index(queue: QueueFolder) -> dict[str, object]:
    """Return what a new process says that uses the index if it may."""
    return answers(opened(queue, LAGGING).read())


def with_sqlite(change: str) -> Callable[[QueueFolder], None]:
    def harm(queue: QueueFolder) -> None:
        with sqlite3.connect(queue.index_file) as connection:
            connection.executescript(change)
        connection.close()

    return harm


def overwrite(content: bytes, offset: int = 0) -> Callable[[QueueFolder], None]:
    def harm(queue: QueueFolder) -> None:
        with queue.index_file.open("r+b") as file:
            file.seek(offset)
            file.write(content)

    return harm


@pytest.mark.parametrize(
    "harm",
    [
        lambda queue: queue.index_file.unlink(),
        lambda queue: shutil.rmtree(queue.index_file.parent),
        lambda queue: queue.index_file.write_bytes(b""),
        lambda queue: os.truncate(queue.index_file, 5000),
        overwrite(b"no database at all, and long enough to be one"),
        overwrite(b"\xff" * 2048, offset=4096),
        with_sqlite("UPDATE head SET clean = 0"),
        with_sqlite("UPDATE head SET boot = 'an earlier one'"),
        with_sqlite("UPDATE head SET format = 0"),
        with_sqlite("UPDATE head SET inode = inode + 1"),
        with_sqlite("UPDATE head SET guard = guard + 1"),
        with_sqlite("UPDATE head SET damage = 'no list'"),
        with_sqlite("DROP TABLE counted"),
        with_sqlite("UPDATE task SET spans = x'000000000000000001000000'"),
        with_sqlite("UPDATE task SET spans = (SELECT spans FROM task WHERE id = 't1')"),
    ],
    ids=[
        "the file is gone",
        "the folder is gone",
        "it is empty",
        "it is cut short",
        "it is something else",
        "a page is overwritten",
        "it was left in the middle",
        "the machine was started since",
        "it is of another version",
        "it is of another file",
        "the journal ended in other bytes",
        "its damage is none",
        "a table is gone",
        "it points to nowhere",
        "it points to another task",
    ],
)
def test_an_index_that_is_wrong_changes_no_answer(harm: Callable[[QueueFolder], None], queue: QueueFolder) -> None:
    make_queue(queue)
    right = answers(opened(queue, NEVER).read())
    assert use_index(queue) == right
    assert queue.index_file.exists()
    harm(queue)
    assert use_index(queue) == right
    assert opened(queue, LAGGING).add([built("next")], by="test")[0].rev == 1
    with pytest.raises(DuplicateTaskError):
        opened(queue, LAGGING).add([built("T1")], by="test")


def test_a_journal_that_was_put_in_the_place_of_another_is_read_as_it_is(queue: QueueFolder, tmp_path: Path) -> None:
    make_queue(queue)
    use_index(queue)
    other = create_queue(tmp_path / "other")
    opened(other, NEVER).add([built(f"t{number}", title="other") for number in range(45)], by="test")
    shutil.copyfile(other.journal, queue.journal)  # over the old bytes, in the same file, and longer
    assert use_index(queue) == answers(opened(queue, NEVER).read())
    other.journal.replace(queue.journal)
    assert use_index(queue) == answers(opened(queue, NEVER).read())


def test_a_journal_that_was_put_back_with_an_older_line_far_from_its_end_is_read_as_it_is(queue: QueueFolder) -> None:
    make_queue(queue)
    use_index(queue)
    lines = queue.journal.read_bytes().splitlines(keepends=True)
    restored = queue.journal.with_name("restored")
    restored.write_bytes(
        b"".join([*lines[:2], encode_line({**decode_line(lines[2]), "title": "as it was"}), *lines[3:]])
    )
    restored.replace(queue.journal)
    assert use_index(queue) == answers(opened(queue, NEVER).read())


def test_a_journal_that_was_cut_back_is_read_as_it_is(queue: QueueFolder) -> None:
    make_queue(queue)
    use_index(queue)
    lines = queue.journal.read_bytes().splitlines(keepends=True)
    queue.journal.write_bytes(b"".join(lines[:41]))  # the whole batch, without the change
    reader = opened(queue, LAGGING)
    assert answers(reader.read()) == answers(opened(queue, NEVER).read())
    assert reader.read().tasks["t3"].status is Status.TODO


def test_damage_is_told_by_the_index_as_by_the_journal_and_stops_writers(queue: QueueFolder) -> None:
    make_queue(queue)
    content = bytearray(queue.journal.read_bytes())
    place = content.index(b'"id":"t7"')
    content[place + 60] ^= 1
    queue.journal.write_bytes(content)
    with queue.journal.open("ab") as journal:
        journal.write(b'{"seq":900,"id":"t1","title":"by hand"}\n')
    told = [opened(queue, effort).read().damage for effort in (NEVER, LAGGING, LAGGING)]
    assert told[0] == told[1] == told[2] != ()
    with pytest.raises(CorruptStateError, match="damaged at line 9"):
        opened(queue, LAGGING).add([built("next")], by="test")


def test_a_line_that_was_edited_after_it_was_indexed_is_found_when_its_task_is_looked_at(queue: QueueFolder) -> None:
    make_queue(queue, count=60)
    use_index(queue)
    content = queue.journal.read_bytes().replace(b'"id":"t5","rev":1,', b'"id":"t5","rev":2,')
    with queue.journal.open("r+b") as journal:
        journal.write(content)
    store = opened(queue, LAGGING)
    assert store.read().find("t5") is None
    assert [damage.why for damage in store.read().damage] == ["bad checksum"]


def test_a_reader_that_has_the_index_open_goes_on_when_it_is_deleted_or_replaced(queue: QueueFolder) -> None:
    make_queue(queue)
    store = opened(queue, LAGGING)
    right = answers(store.read())
    shutil.rmtree(queue.index_file.parent)
    assert answers(store.read()) == right
    opened(queue, ANEW).read().counts()
    assert queue.index_file.exists()
    assert answers(store.read()) == right
    opened(queue, EXTENDED).change("t4", start, by="test")
    assert store.read().tasks["t4"].status is Status.PLANNING


def test_a_folder_that_takes_no_index_costs_only_time(queue: QueueFolder) -> None:
    make_queue(queue)
    queue.index_file.parent.write_bytes(b"no folder")
    assert use_index(queue) == answers(opened(queue, NEVER).read())
    assert opened(queue, LAGGING).add([built("next")], by="test")


def test_short_queues_have_no_index_and_long_ones_do(queue: QueueFolder) -> None:
    store = JournalTaskStore(queue.root, Clock())
    store.add([built("short")], by="test")
    store.read().counts()
    assert not queue.index_file.exists()
    store.add([built(f"t{number}", text="x" * 1000) for number in range(300)], by="test")
    JournalTaskStore(queue.root, Clock()).read().counts()
    assert queue.index_file.exists()
    assert queue.index_file.stat().st_mode & 0o077 == 0
