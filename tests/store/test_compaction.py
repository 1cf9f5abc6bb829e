"""Compaction changes nothing but the journal's size: every answer is as before, for everyone, whenever it happens."""

import json
import subprocess
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import rule

from orchestration.core.errors import BusyError, CorruptStateError
from orchestration.core.models import Task
from orchestration.core.status import Status
from orchestration.store import compaction, fsck
from orchestration.store.compaction import compact
from orchestration.store.entry import Entry
from orchestration.store.layout import QueueFolder, create_queue
from orchestration.store.ledger import Ledger
from orchestration.store.line import LINE_BYTES, BadRecordError, decode_line, encode_line
from orchestration.store.tasks import JournalTaskStore
from tests.store.indexed import ANEW, IDS, LAGGING, NEVER, Clock, answers, built, opened, start
from tests.store.test_index_histories import IndexMachine

OpenStore = Callable[..., JournalTaskStore]
Builder = Callable[..., Task]
LONG = "long text \u00e9" * 40_000


def said_of(entry: Entry) -> Mapping[str, object]:
    """Return what counts of a task, wherever its lines are."""
    state = entry.state()
    if entry.removed:
        attempt = entry.fields().get("attempt")
        return {"id": entry.id, "rev": entry.rev, "attempt": attempt if type(attempt) is int else None}
    try:
        fields = {"v": 1, **entry.fields()}
        fields.pop("id", None)
        after: object = entry.after()
    except BadRecordError:
        fields, after = {}, "cannot be read"
    counted = (state.status, state.sandbox, state.urgency, state.not_before)
    return {"id": entry.id, "rev": entry.rev, "fields": fields, "after": after, "state": counted}


def folded(content: bytes) -> Ledger:
    ledger = Ledger()
    ledger.absorb(content)
    return ledger


def meaning(content: bytes) -> dict[str, object]:
    """Return all that a journal says, but for where."""
    ledger = folded(content)
    entries = sorted(ledger.touched.values(), key=lambda entry: entry.place)
    return {
        "tasks": [said_of(entry) for entry in entries],
        "queue": ledger.queue,
        "seq": ledger.seq,
        "damage": [damage.why for damage in ledger.damage],
    }


def single_lines(content: bytes) -> set[bytes]:
    """Return the lines that are all that is said of their task, and those that are about none.

    Left out are those without a seq whose meaning depends on the lines around them.
    """
    single = [records[0] for entry in folded(content).touched.values() if len(records := entry._changes) == 1]
    others = [line for line in content.split(b"\n") if b'"kind":"note"' in line.replace(b" ", b"")]
    lines = {record.raw for record in single if record.seq is not None} | set(others)
    return {line for line in lines if b'"seq"' in line or b'"more"' not in line}


class CompactedMachine(IndexMachine):
    """What the index's machine does, with lines by hand, texts that are blobs, and compactions amid all of it."""

    by_hand = 0

    def write_by_hand(self, line: Mapping[str, object]) -> None:
        with self.queue.journal.open("ab") as journal:
            journal.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")

    @rule(name=IDS, rev=st.none() | st.integers(1, 9), priority=st.integers(-2, 2))
    def add_a_plain_record(self, name: str, rev: int | None, priority: int) -> None:
        if name.lower() not in {task.id.lower() for task in self.present()}:
            plain = {"id": name, "repo": "/r", "base": "main", "status": "todo", "title": "", "text": "\u00e9"}
            times = {"created_at": "2026-11-21T01:00:00Z", "updated_at": "2026-11-21T01:00:00Z"}
            self.write_by_hand({**plain, **times, "priority": priority, **({} if rev is None else {"rev": rev})})

    @rule(name=IDS, fields=st.sampled_from([{"title": ""}, {"title": "by hand"}, {"x": {"y": [1]}}, {"removed": True}]))
    def change_by_hand(self, name: str, fields: dict[str, object]) -> None:
        if name.lower() in {task.id.lower() for task in self.present()}:
            self.write_by_hand({"id": name, **fields})

    @rule(kind=st.sampled_from(["note", "queue"]), more=st.integers(0, 1))
    def write_what_this_version_does_not_know(self, kind: str, more: int) -> None:
        self.by_hand += 1
        seq = self.stores[0].read().seq + 1
        self.write_by_hand({"seq": seq, "kind": kind, "number": self.by_hand})
        if more:
            self.write_by_hand({"kind": kind, "more": 1, "number": self.by_hand})
            self.write_by_hand({"kind": kind})

    @rule(name=IDS, who=st.integers(0, 3))
    def lengthen(self, name: str, who: int) -> None:
        if name in {task.id for task in self.present()}:
            self.stores[who].change(name, lambda task: task._replace(text=LONG), by="test")

    @rule()
    def compact(self) -> None:
        before, told = self.queue.journal.read_bytes(), answers(opened(self.queue, NEVER).read())
        report = compact(self.queue.root, self.clock)
        after = self.queue.journal.read_bytes()
        if report.history is None:
            assert after == before
            return
        event("became shorter")
        assert report.history.read_bytes() == before
        assert (report.before, report.after) == (len(before), len(after))
        assert len(after) < len(before)
        assert meaning(after) == meaning(before)
        assert answers(opened(self.queue, NEVER).read()) == told
        assert single_lines(before) <= set(after.split(b"\n"))
        assert compact(self.queue.root, self.clock).history is None
        assert fsck.check(self.queue.root).is_sound


TestCompactedMachine = CompactedMachine.TestCase
TestCompactedMachine.settings = settings(
    max_examples=15, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)


@st.composite
def histories(draw: st.DrawFn) -> bytes:
    """Return lines that taskq could have written, or somebody with a text editor, and none that is damaged."""
    known: dict[str, bool] = {}
    lines = [encode_line({"seq": 1, "kind": "queue", "id": "abcdefgh", "at": "x", "by": "y", "new": 7})]
    values = st.sampled_from(
        [
            *({"status": "done"}, {"status": 7}, {"status": ""}, {"priority": 3}, {"after": ["B"]}, {"title": ""}),
            *({"created_at": "never"}, {"not_before": "2026-01-01T00:00:00Z"}, {"sandbox": ""}, {"repo": None}, {}),
            *({"attempt": 3}, {"attempt": "3"}, {"x": {"deep": [None]}}, {"more": 2}, {"v": 1}, {"at": 5}),
            *({"text": "t" * (LINE_BYTES // 2)}, {"notes": "n" * (LINE_BYTES // 2)}),
        ]
    )
    for seq in range(2, draw(st.integers(2, 14)) + 2):
        name = draw(st.sampled_from(["a", "A", "B", "b.c"]))
        is_new = not known.get(name.lower(), False)
        members: dict[str, Any] = {"seq": seq, "kind": "task", "id": name, "rev": draw(st.integers(1, 5))}
        members |= {"at": "2026-11-21T03:00:00.000000Z", "by": "x"}
        if is_new:
            members |= {"v": 1, "repo": "/r", "base": "main", "status": "todo", "created_at": "2026-01-01T00:00:00Z"}
        for more in draw(st.lists(values, max_size=2)):
            members |= more
        is_removed = not is_new and draw(st.integers(0, 3)) == 0
        if is_removed:
            members["removed"] = True
        for member in draw(
            st.sets(st.sampled_from(["seq", "rev", "kind", "v"]), max_size=2) if draw(st.booleans()) else st.just(set())
        ):
            members.pop(member, None)
        if is_new and "v" not in members:
            members |= {"repo": "/r", "status": "todo"}
        if is_new and not {"seq", "rev", "kind"} <= members.keys():
            members |= {"repo": "/r", "status": "todo"}
        with suppress(Exception):
            lines.append(encode_line(members))
            known[name.lower()] = not is_removed
        if draw(st.integers(0, 5)) == 0:
            lines.append(draw(st.sampled_from([b"\n", b'{"kind":"note"}\n', encode_line({"seq": seq, "kind": "new"})])))
    lines.append(b'{"kind":"note"}\n')  # so that nothing waits
    return b"".join(lines)


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(content=histories())
def test_a_compacted_journal_means_what_it_meant(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    queue = create_queue(tmp_path_factory.mktemp("any") / "queue")
    queue.journal.write_bytes(content)
    before = meaning(content)
    if before["damage"]:
        with pytest.raises(CorruptStateError, match="nothing was compacted"):
            compact(queue.root, Clock())
        event("damaged")
        assert queue.journal.read_bytes() == content
        return
    report = compact(queue.root, Clock(), at_least=0)
    assert report.history is not None
    assert report.history.read_bytes() == content
    after = queue.journal.read_bytes()
    assert meaning(after) == before
    compact(queue.root, Clock(), at_least=0)
    assert meaning(queue.journal.read_bytes()) == before


def left_in(queue: QueueFolder) -> list[str]:
    return [path.name for path in (*queue.root.glob(".*.tmp"), *queue.history.iterdir())]


def make_history(store: JournalTaskStore, *, tasks: int = 6) -> None:
    """Make a journal that is mostly past."""
    store.add([built(f"t{number}", attempt=number) for number in range(tasks)], by="test")
    for title in ("one", "two", "three"):
        for number in range(tasks - 1):
            store.change(f"t{number}", lambda task, title=title: task._replace(title=title), by="test")
    store.remove("t1", lambda _task: None, by="test")


def test_seq_rev_and_attempt_go_on_after_it(queue: QueueFolder, store: JournalTaskStore, clock: Clock) -> None:
    make_history(store)
    seq = store.read().seq
    assert compact(queue.root, clock).history is not None
    assert store.read().seq == seq
    assert store.change("t0", start, by="test").rev == 5
    (again,) = store.add([built("T1")], by="test")
    assert (again.rev, again.attempt) == (6, 1)
    assert decode_line(queue.journal.read_bytes().splitlines()[-1])["seq"] == seq + 2


def test_what_others_have_open_goes_on(queue: QueueFolder, clock: Clock) -> None:
    stores = [opened(queue, effort) for effort in (NEVER, LAGGING, ANEW)]
    make_history(stores[0], tasks=40)
    told = [answers(store.read()) for store in stores]
    assert compact(queue.root, clock).history is not None
    assert [answers(store.read()) for store in stores] == told
    for number, store in enumerate(stores):
        assert store.change(f"t{number + 20}", start, by="test").status is Status.PLANNING
    assert answers(stores[0].read()) == answers(stores[1].read()) == answers(stores[2].read())


def test_a_reader_in_the_middle_of_a_long_queue_misses_nothing_and_sees_nothing_twice(
    queue: QueueFolder, clock: Clock
) -> None:
    """Places in the file change under it; without a look at which file it is, it would leave out hundreds."""
    store = opened(queue, NEVER)
    store.add([built(f"t{number}") for number in range(1200)], by="test")
    for number in range(400):
        store.change(f"t{number}", lambda task: task._replace(title="x" * 300), by="test")
    store.remove("t250", lambda _task: None, by="test")
    reading = iter(opened(queue, ANEW).read().tasks.values())
    seen = [next(reading).id for _ in range(300)]
    store.remove("t520", lambda _task: None, by="test")
    store.add([built("t520")], by="test")
    assert compact(queue.root, clock).history is not None
    seen += [task.id for task in reading]
    due = [f"t{number}" for number in range(1200) if number not in {250, 520}]
    assert [name for name in seen if name != "t520"] == due


def test_the_old_file_keeps_its_end_that_was_never_acknowledged(
    queue: QueueFolder, store: JournalTaskStore, clock: Clock
) -> None:
    make_history(store)
    with queue.journal.open("ab") as journal:
        journal.write(b'{"seq":99,"kin')
    before = queue.journal.read_bytes()
    report = compact(queue.root, clock)
    assert report.history is not None
    assert report.history.read_bytes() == before
    assert queue.journal.read_bytes().endswith(b'"}\n')
    assert fsck.check(queue.root).torn == 0


def test_a_line_that_would_be_too_long_leaves_its_lines_as_they_are(
    queue: QueueFolder, store: JournalTaskStore, clock: Clock
) -> None:
    store.add([built("long", labels=("x" * 60,)), built("other")], by="test")
    with queue.journal.open("ab") as journal:  # members that this version does not know are no blobs
        for seq, member in ((4, "first"), (5, "second")):
            line = {"seq": seq, "kind": "task", "id": "long", "rev": seq - 2, "at": "x", "by": "y"}
            journal.write(encode_line({**line, member: member[0] * (LINE_BYTES * 2 // 3)}))
    store.change("long", lambda task: task._replace(title="a title"), by="test")
    for title in ("one", "two", "three"):
        store.change("other", lambda task, title=title: task._replace(title=title), by="test")
    before = queue.journal.read_bytes()
    assert compact(queue.root, clock).history is not None
    after = queue.journal.read_bytes()
    assert meaning(after) == meaning(before)
    of_long = [line for line in before.splitlines() if b'"id":"long"' in line]
    assert len(of_long) == 4
    assert [line for line in after.splitlines() if b'"id":"long"' in line] == of_long
    assert sum(b'"id":"other"' in line for line in after.splitlines()) == 1


def test_nothing_is_gained_leaves_everything_alone(queue: QueueFolder, store: JournalTaskStore, clock: Clock) -> None:
    assert compact(queue.root, clock).before == 0
    store.add([built("a"), built("b")], by="test")
    before = queue.journal.stat()
    report = compact(queue.root, clock)
    assert (report.before, report.after, report.tasks, report.history) == (before.st_size, before.st_size, 2, None)
    assert queue.journal.stat() == before
    assert left_in(queue) == []


def test_its_index_is_there_at_once(queue: QueueFolder, clock: Clock) -> None:
    store = JournalTaskStore(queue.root, clock)
    store.add([built(f"t{number}", text="x" * 1000) for number in range(400)], by="test")
    for number in range(400):
        store.change(f"t{number}", start, by="test")
    told = answers(store.read())
    assert compact(queue.root, clock).history is not None
    made = queue.index_file.stat().st_ino
    assert answers(JournalTaskStore(queue.root, clock).read()) == told
    assert queue.index_file.stat().st_ino == made


def test_it_is_worth_a_look_only_when_the_journal_is_long_and_mostly_past(
    queue: QueueFolder, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction, "LEAST_SIZE", 300_000)
    store = JournalTaskStore(queue.root, clock)
    assert not compaction.is_worth_a_look(queue.root)
    store.add([built(f"t{number}", text="x" * 1000) for number in range(300)], by="test")
    store.read().counts()
    assert queue.index_file.exists()
    assert not compaction.is_worth_a_look(queue.root)
    for length in range(3):
        for number in range(300):
            store.change(f"t{number}", lambda task, n=length: task._replace(text="x" * (1000 + n)), by="test")
    JournalTaskStore(queue.root, clock).read().counts()
    assert compaction.is_worth_a_look(queue.root)
    compaction.note_that_it_was_not_worth_it(queue.root)
    assert not compaction.is_worth_a_look(queue.root)
    (queue.index_file.parent / "compaction").unlink()
    assert compact(queue.root, clock, at_least=compaction.WORTH).history is not None
    assert not compaction.is_worth_a_look(queue.root)


def test_a_journal_that_is_not_twice_as_large_as_it_would_be_is_left_alone_when_that_is_asked(
    queue: QueueFolder, store: JournalTaskStore, clock: Clock
) -> None:
    store.add([built("a", text="x" * 5000)], by="test")
    for title in ("one", "two"):
        store.change("a", lambda task, title=title: task._replace(title=title), by="test")
    assert compact(queue.root, clock, at_least=compaction.WORTH).history is None
    assert compact(queue.root, clock).history is not None


@pytest.mark.parametrize("line", [0, 1])
def test_one_of_the_two_first_lines_may_be_damaged_and_nothing_is_lost_by_a_repair(
    line: int, queue: QueueFolder, store: JournalTaskStore, clock: Clock, open_store: OpenStore
) -> None:
    make_history(store)
    assert compact(queue.root, clock).history is not None
    before = meaning(queue.journal.read_bytes())
    lines = queue.journal.read_bytes().splitlines(keepends=True)
    lines[line] = lines[line].replace(b'"compacted":true', b'"compacted":tru\xe5')
    queue.journal.write_bytes(b"".join(lines))
    assert [damage.line for damage in open_store().read().damage] == [line + 1]
    assert fsck.repair(queue.root, clock).is_sound
    assert meaning(queue.journal.read_bytes()) == before
    (again,) = open_store().add([built("t1")], by="test")
    assert (again.rev, again.attempt) == (6, 1)


def test_real_processes_that_add_and_claim_lose_nothing_while_the_journal_is_compacted_again_and_again(
    queue: QueueFolder, clock: Clock, worker_command: Callable[..., list[str]]
) -> None:
    store = JournalTaskStore(queue.root, clock)
    make_history(store, tasks=30)
    removed = {"t1"}
    workers = [
        subprocess.Popen(
            worker_command(what, queue.root, name, 60), stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
        )
        for what, name in (("add", "w1"), ("add", "w2"), ("claim", "w3"))
    ]
    try:
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "ready\n"
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.write("go\n")
            worker.stdin.flush()
        compactions = 0
        while any(worker.poll() is None for worker in workers):
            with suppress(BusyError):
                compactions += compact(queue.root, clock, at_least=0).history is not None
        told = [worker.communicate()[0].splitlines() for worker in workers]
        assert [worker.returncode for worker in workers] == [0, 0, 0]
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()
    assert compactions > 3
    added, claimed = {*told[0], *told[1]}, told[2]
    tasks = JournalTaskStore(queue.root, clock).read().tasks
    assert len(claimed) == len(set(claimed))
    assert {*tasks} == added | {f"t{number}" for number in range(30)} - removed
    assert len(added) == 120
    assert all(tasks[name].status is Status.PLANNING for name in claimed)
    assert fsck.check(queue.root).is_sound
