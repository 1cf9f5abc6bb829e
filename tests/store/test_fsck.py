from collections.abc import Callable
from pathlib import Path

import pytest

from orchestration.core.errors import StorageError
from orchestration.core.models import Task
from orchestration.core.ports import Clock
from orchestration.core.status import Status
from orchestration.store import fsck
from orchestration.store.layout import QueueFolder, create_queue
from orchestration.store.line import encode_line
from orchestration.store.tasks import JournalTaskStore

OpenStore = Callable[..., JournalTaskStore]
Builder = Callable[..., Task]


@pytest.fixture
def damaged(queue: QueueFolder, store: JournalTaskStore, a_task: Builder) -> bytes:
    """Damage the line of one task of three, and its change with it; return the journal's bytes."""
    for name in ("a", "b", "c"):
        store.add([a_task(name)], by="test")
    store.change("b", lambda task: task.advance(Status.CANCELLED, at=task.created_at), by="test")
    content = queue.journal.read_bytes().replace(b'"do b"', b'"do X"')
    queue.journal.write_bytes(content)
    return content


def bytes_in(folder: Path, prefix: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted(folder.glob(f"{prefix}*"))]


def test_a_sound_queue_is_said_to_be_sound_and_repair_leaves_it_alone(
    queue: QueueFolder, store: JournalTaskStore, a_task: Builder, clock: Clock
) -> None:
    store.add([a_task("a"), a_task("b")], by="test")
    store.remove("b", lambda _task: None, by="test")
    inode = queue.journal.stat().st_ino
    report = fsck.repair(queue.root, clock)
    assert report == fsck.check(queue.root)
    assert (report.is_sound, report.lines, report.tasks, report.seq) == (True, 4, 1, 4)
    assert report.queue == store.read().queue
    assert queue.journal.stat().st_ino == inode
    assert list(queue.history.iterdir()) == []


def test_a_queue_without_a_journal_is_sound(queue: QueueFolder, clock: Clock) -> None:
    assert fsck.check(queue.root).is_sound
    assert fsck.repair(queue.root, clock).is_sound
    assert not queue.journal.exists()


def test_check_names_every_bad_line_and_changes_nothing(queue: QueueFolder, damaged: bytes) -> None:
    report = fsck.check(queue.root)
    assert [(damage.line, damage.why.split(",")[0]) for damage in report.damage] == [
        (3, "bad checksum"),
        (5, "a change of task b"),
    ]
    assert report.damage[0].offset == damaged.index(b'{"seq":3')
    assert not report.is_sound
    assert queue.journal.read_bytes() == damaged


def test_repair_keeps_good_lines_byte_for_byte_and_bad_ones_in_the_history(
    queue: QueueFolder, damaged: bytes, clock: Clock, open_store: OpenStore, a_task: Builder
) -> None:
    lines = damaged.splitlines(keepends=True)
    report = fsck.repair(queue.root, clock)
    assert report.is_sound
    assert queue.journal.read_bytes() == b"".join([*lines[:2], lines[3]])
    assert bytes_in(queue.history, "bad-") == [lines[2] + lines[4]]
    assert bytes_in(queue.history, "damaged-") == [damaged]
    assert sorted(report.kept) == sorted(queue.history.iterdir())
    open_store().add([a_task("b")], by="test")
    assert list(open_store().read().tasks) == ["a", "c", "b"]


def test_repairing_again_changes_nothing(queue: QueueFolder, damaged: bytes, clock: Clock) -> None:
    fsck.repair(queue.root, clock)
    before = (queue.journal.stat().st_ino, sorted(queue.history.iterdir()))
    assert fsck.repair(queue.root, clock).kept == ()
    assert (queue.journal.stat().st_ino, sorted(queue.history.iterdir())) == before


def test_those_who_have_the_queue_open_go_on_after_a_repair(
    queue: QueueFolder, damaged: bytes, clock: Clock, open_store: OpenStore, a_task: Builder
) -> None:
    reader, writer = open_store(), open_store()
    assert len(reader.read().damage) == 2
    assert writer.read().tasks.keys() == {"a", "c"}
    fsck.repair(queue.root, clock)
    writer.add([a_task("d")], by="test")
    assert list(reader.read().tasks) == ["a", "c", "d"]
    assert reader.read().damage == ()


def test_a_task_that_cannot_be_read_is_set_aside(
    queue: QueueFolder, store: JournalTaskStore, clock: Clock, a_task: Builder
) -> None:
    store.add([a_task("a")], by="test")
    good = queue.journal.read_bytes()
    bad = encode_line({"seq": 3, "kind": "task", "id": "a", "rev": 2, "at": "x", "by": "y", "priority": "high"})
    later = encode_line({"seq": 4, "kind": "task", "id": "a", "rev": 3, "at": "x", "by": "y", "priority": 4})
    queue.journal.write_bytes(good + bad + later)
    assert [damage.line for damage in fsck.check(queue.root).damage] == [3]
    assert fsck.repair(queue.root, clock).is_sound
    assert queue.journal.read_bytes() == good + later
    assert store.read().tasks["a"].priority == 4


def test_a_torn_tail_is_told_and_set_aside(
    queue: QueueFolder, store: JournalTaskStore, clock: Clock, a_task: Builder
) -> None:
    store.add([a_task("a")], by="test")
    good = queue.journal.read_bytes()
    with queue.journal.open("ab") as journal:
        journal.write(b'{"seq":3,"kind"')
    assert fsck.check(queue.root).torn == 15
    assert fsck.repair(queue.root, clock).is_sound
    assert queue.journal.read_bytes() == good
    assert bytes_in(queue.history, "torn-") == [b'{"seq":3,"kind"']


def test_two_repairs_in_the_same_moment_keep_both_histories(
    queue: QueueFolder, store: JournalTaskStore, a_task: Builder
) -> None:
    class StoppedClock:
        def now(self) -> object:
            return a_task().created_at

        def monotonic(self) -> float:
            return 0.0

    store.add([a_task("a")], by="test")
    good = queue.journal.read_bytes()
    for junk in (b"one\ntwo\n", b"three\nfour\n"):
        queue.journal.write_bytes(good + junk)
        assert fsck.repair(queue.root, StoppedClock()).is_sound  # type: ignore[arg-type]  # now() is a datetime
    assert bytes_in(queue.history, "bad-") == [b"one\ntwo\n", b"three\nfour\n"]


def test_making_a_queue_again_overwrites_nothing(queue: QueueFolder, store: JournalTaskStore, a_task: Builder) -> None:
    store.add([a_task("a")], by="test")
    (queue.root / "README.md").write_text("mine", encoding="utf-8")
    before = {path: path.read_bytes() for path in queue.root.rglob("*") if path.is_file()}
    create_queue(queue.root)
    assert {path: path.read_bytes() for path in queue.root.rglob("*") if path.is_file()} == before


def test_a_new_queue_keeps_its_data_out_of_git(queue: QueueFolder) -> None:
    ignored = set((queue.root / ".gitignore").read_text("utf-8").split())
    assert {"/tasks.jsonl", "/tasks/", "/errors/", "/history/", "/blobs/", "/locks/", "/index/"} <= ignored
    assert {"README.md", ".gitattributes", ".taskq"} <= {path.name for path in queue.root.iterdir()}


def test_a_queue_cannot_be_made_where_a_file_is(tmp_path: Path) -> None:
    (tmp_path / "queue").write_text("a file", encoding="utf-8")
    with pytest.raises(StorageError, match="no folder"):
        create_queue(tmp_path / "queue")
