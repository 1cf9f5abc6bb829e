"""The index changes nothing but time: with and without it, made anew, extended, gone or wrong, answers are the same."""

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestration.core.errors import CorruptStateError, DuplicateTaskError
from orchestration.core.status import Status
from orchestration.store.layout import QueueFolder, create_queue
from orchestration.store.ledger import Ledger
from orchestration.store.line import decode_line, encode_line
from orchestration.store.reader import JournalReader
from orchestration.store.scan import scan
from orchestration.store.tasks import JournalTaskStore
from tests.store.indexed import ANEW, EXTENDED, LAGGING, NEVER, Clock, answers, built, opened, start


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


def test_a_reader_that_makes_an_index_says_how_far_it_is_and_when_it_is_done(queue: QueueFolder) -> None:
    make_queue(queue)
    told: list[int | None] = []
    reader = JournalReader(queue, Clock(), effort=ANEW, tell=told.append)
    assert JournalTaskStore(queue.root, Clock(), reader=reader).read().seq == 42
    assert told == [42, None]


def test_short_queues_have_no_index_and_long_ones_do(queue: QueueFolder) -> None:
    store = JournalTaskStore(queue.root, Clock())
    store.add([built("short")], by="test")
    store.read().counts()
    assert not queue.index_file.exists()
    store.add([built(f"t{number}", text="x" * 1000) for number in range(300)], by="test")
    JournalTaskStore(queue.root, Clock()).read().counts()
    assert queue.index_file.exists()
    assert queue.index_file.stat().st_mode & 0o077 == 0
