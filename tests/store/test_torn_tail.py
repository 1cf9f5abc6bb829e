"""A journal of twenty lines, cut and bent at every byte: what is left is a prefix, told damage, or a refusal."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestration.core.errors import CorruptStateError
from orchestration.core.models import Task
from orchestration.core.status import Status
from orchestration.store import fsck
from orchestration.store.layout import QueueFolder
from orchestration.store.ledger import Ledger
from orchestration.store.tasks import JournalTaskStore

OpenStore = Callable[..., JournalTaskStore]
States = list[dict[str, tuple[str, int]]]


def state_of(store: JournalTaskStore) -> dict[str, tuple[str, int]]:
    return {str(task.id): (str(task.status), task.rev) for task in store.read().tasks.values()}


@pytest.fixture
def history(store: JournalTaskStore, queue: QueueFolder, a_task: Callable[..., Task]) -> States:
    """Make twenty lines and note the state after each append."""
    states = [state_of(store)]

    def note() -> None:
        states.append(state_of(store))

    def move(identifier: str, to: Status) -> None:
        store.change(identifier, lambda task: task.advance(to, at=task.created_at), by="test")
        note()

    def add(*identifiers: str) -> None:
        store.add([a_task(identifier) for identifier in identifiers], by="test")
        note()

    for identifier in ("t0", "t1", "t2"):
        add(identifier)
    for status in (Status.PLANNING, Status.BUILDING, Status.REVIEW):
        for identifier in ("t0", "t1", "t2"):
            move(identifier, status)
    move("t0", Status.DONE)
    move("t1", Status.TODO)
    store.remove("t2", lambda _task: None, by="test")
    note()
    add("b1", "b2")
    add("t2")
    move("b1", Status.CANCELLED)
    assert len(queue.journal.read_bytes().splitlines()) == 20
    return states


def test_cut_at_any_byte_a_reader_sees_the_state_of_whole_appends(
    history: States, queue: QueueFolder, open_store: OpenStore
) -> None:
    content = queue.journal.read_bytes()
    seen = []
    for size in range(0, len(content) + 29, 29):
        queue.journal.write_bytes(content[:size])
        snapshot = open_store().read()
        assert snapshot.damage == ()
        seen.append({str(task.id): (str(task.status), task.rev) for task in snapshot.tasks.values()})
    assert [state for state in history if state not in seen] == []
    assert all(state in history for state in seen)
    assert [history.index(state) for state in seen] == sorted(history.index(state) for state in seen)


def appended_sizes(content: bytes) -> list[int]:
    """Return the size of the journal after each append."""
    sizes, size = [], 0
    for line in content.splitlines(keepends=True):
        size += len(line)
        if "more" not in json.loads(line):
            sizes.append(size)
    return sizes


def test_cut_at_any_byte_exactly_the_whole_appends_are_folded(history: States, queue: QueueFolder) -> None:
    content = queue.journal.read_bytes()
    sizes = [0, *appended_sizes(content)]
    for cut in range(len(content) + 1):
        index = Ledger()
        tail = index.absorb(content[:cut])
        assert index.offset == max(size for size in sizes if size <= cut)
        assert tail.content == content[index.offset : cut]
        assert index.damage == []


def test_a_writer_sets_a_torn_tail_aside_and_goes_on(
    history: States, queue: QueueFolder, open_store: OpenStore, a_task: Callable[..., Task], tmp_path: Path
) -> None:
    content = queue.journal.read_bytes()
    sizes = [0, *appended_sizes(content)]
    for cut in range(1, len(content), 97):
        whole = max(size for size in sizes if size <= cut)
        shutil.rmtree(queue.history, ignore_errors=True)
        queue.journal.write_bytes(content[:cut])
        store = open_store()
        store.add([a_task("next")], by="test")
        kept = [path.read_bytes() for path in queue.history.iterdir()] if queue.history.exists() else []
        assert kept == ([content[whole:cut]] if cut > whole else [])
        assert queue.journal.read_bytes()[:whole] == content[:whole]
        assert "next" in open_store().read().tasks
        assert fsck.check(queue.root).is_sound


@pytest.mark.parametrize("junk", [b"\0" * 4096, b'{"seq":', b"\0" * 100 + b'"x"}\n', b'{"id":"a"}garbage\n', b"\xff"])
def test_junk_at_the_end_is_set_aside_whole(
    junk: bytes, store: JournalTaskStore, queue: QueueFolder, open_store: OpenStore, a_task: Callable[..., Task]
) -> None:
    store.add([a_task("a")], by="test")
    with queue.journal.open("ab") as journal:
        journal.write(junk)
    open_store().add([a_task("b")], by="test")
    assert [path.read_bytes() for path in queue.history.iterdir()] == [junk]
    assert list(open_store().read().tasks) == ["a", "b"]


def test_a_bad_last_line_is_told_by_readers(
    store: JournalTaskStore, queue: QueueFolder, open_store: OpenStore, a_task: Callable[..., Task]
) -> None:
    store.add([a_task("a")], by="test")
    with queue.journal.open("ab") as journal:
        journal.write(b'{"id":"b","status":"todo","crc":"00000000"}\n')
    snapshot = open_store().read()
    assert [(damage.line, damage.why) for damage in snapshot.damage] == [(3, "bad checksum")]
    assert list(snapshot.tasks) == ["a"]


def judge(content: bytes, whole: dict[str, int], prefixes: list[dict[str, int]]) -> str:
    """Say how a bent journal is taken; fail when that is as something that never was."""
    index = Ledger()
    tail = index.absorb(content)
    folded = {entry.id: entry.rev for entry in index.touched.values() if not entry.removed}
    if index.damage:
        return "refused"
    if tail.content:
        assert folded in prefixes
        return "prefix"
    assert folded == whole
    return "whole"


@pytest.mark.parametrize("step", [5, pytest.param(1, marks=pytest.mark.full)])
def test_any_one_byte_bent_gives_a_prefix_or_a_refusal_and_never_a_wrong_state(
    history: States, queue: QueueFolder, step: int
) -> None:
    content = queue.journal.read_bytes()
    prefixes = [{name: rev for name, (_, rev) in state.items()} for state in history]
    verdicts = {}
    for place in range(0, len(content), step):
        bent = bytearray(content)
        bent[place] ^= 0x01
        verdicts[place] = judge(bytes(bent), prefixes[-1], prefixes)
    last_line = content.rstrip(b"\n").rfind(b"\n")  # with the newline before it: bent, it makes one line of two
    assert {verdict for place, verdict in verdicts.items() if place < last_line} <= {"refused", "whole"}
    # Only the name of the checksum itself can bend unseen: the line then has none, and says what it said.
    assert list(verdicts.values()).count("whole") <= 3 * content.count(b"\n")
    assert "prefix" in {verdict for place, verdict in verdicts.items() if place >= last_line}


@pytest.mark.parametrize("mask", [0x01, 0x80, 0xFF])
def test_a_bent_line_in_the_middle_hides_no_other_line_and_stops_writers(
    mask: int, history: States, queue: QueueFolder, open_store: OpenStore, a_task: Callable[..., Task]
) -> None:
    content = bytearray(queue.journal.read_bytes())
    third = content.find(b'"id":"t1"')
    content[third + 60] ^= mask
    queue.journal.write_bytes(bytes(content))
    store = open_store()
    snapshot = store.read()
    assert snapshot.damage[0].line == 3
    assert set(snapshot.tasks) == set(history[-1]) - {"t1"}
    with pytest.raises(CorruptStateError, match=r"line 3 .*fsck --repair"):
        store.add([a_task("next")], by="test")
    assert queue.journal.read_bytes() == bytes(content)


def test_two_bad_lines_at_the_end_are_no_torn_tail(
    store: JournalTaskStore, queue: QueueFolder, open_store: OpenStore, a_task: Callable[..., Task]
) -> None:
    store.add([a_task("a")], by="test")
    with queue.journal.open("ab") as journal:
        journal.write(b"junk\njunk\n")
    with pytest.raises(CorruptStateError, match="line 3"):
        open_store().add([a_task("b")], by="test")
