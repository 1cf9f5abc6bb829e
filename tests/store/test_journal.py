"""What is in the file, what else may be in it, and what happens when somebody replaces it."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from threading import Event, Thread

import pytest

from orchestration.core.errors import CorruptStateError, NewerVersionError, StorageError
from orchestration.core.models import Task
from orchestration.core.status import Status
from orchestration.store import fsck, record
from orchestration.store.layout import QueueFolder, create_queue
from orchestration.store.line import decode_line, encode_line
from orchestration.store.lock import JournalLock
from orchestration.store.tasks import JournalTaskStore

OpenStore = Callable[..., JournalTaskStore]
Builder = Callable[..., Task]
PLAIN = {
    "id": "T-1",
    "repo": "/srv/repo",
    "base": "main",
    "task_file": "",
    "status": "failed",
    "branch": "task/t-1",
    "worktree_path": "",
    "container": "task-T-1",
    "port": 8080,
    "attempt": 2,
    "error_file": "errors/T-1.md",
    "created_at": "2025-01-02T03:04:05",
    "updated_at": "2025-01-02T05:04:05+02:00",
}


def lines_of(queue: QueueFolder) -> list[dict[str, object]]:
    return [decode_line(line) for line in queue.journal.read_bytes().splitlines()]


def start(task: Task) -> Task:
    return task.advance(Status.PLANNING, at=task.created_at)


def write_plain(queue: QueueFolder, *records: dict[str, object]) -> None:
    queue.journal.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")


def test_a_line_has_its_envelope_first_and_its_checksum_last(
    store: JournalTaskStore, queue: QueueFolder, a_task: Builder
) -> None:
    store.add([a_task("a")], by="someone")
    first, second = queue.journal.read_text("ascii").splitlines()
    assert re.fullmatch(
        r'\{"seq":1,"kind":"queue","id":"[a-z2-7]{12}","at":"[^"]+","by":"someone","v":1,"more":1,"crc":"[0-9a-f]{8}"\}',
        first,
    )
    assert re.fullmatch(
        r'\{"seq":2,"kind":"task","id":"a","rev":1,"at":"2026-11-21T03:00:01\.000000Z","by":"someone","v":1,.*,'
        r'"crc":"[0-9a-f]{8}"\}',
        second,
    )


def test_a_change_writes_only_what_changed(store: JournalTaskStore, queue: QueueFolder, a_task: Builder) -> None:
    store.add([a_task("a")], by="test")
    store.change("a", start, by="runner")
    assert lines_of(queue)[-1] == {
        "seq": 3,
        "kind": "task",
        "id": "a",
        "rev": 2,
        "at": "2026-11-21T03:00:02.000000Z",
        "by": "runner",
        "status": "planning",
        "updated_at": "2026-11-21T03:00:02.000000Z",
    }


def test_every_file_of_a_queue_is_for_its_owner_alone(
    store: JournalTaskStore, queue: QueueFolder, a_task: Builder
) -> None:
    store.add([a_task("a", text="x" * 300_000)], by="test")
    modes = {path.relative_to(queue.root).as_posix(): path.stat().st_mode & 0o077 for path in queue.root.rglob("*")}
    assert {name for name, mode in modes.items() if mode} == set()
    assert {"tasks.jsonl", "locks/journal.lock", "blobs", ".taskq"} <= set(modes)


def test_plain_records_of_another_tool_load_as_they_are(queue: QueueFolder, store: JournalTaskStore) -> None:
    write_plain(queue, PLAIN, {**PLAIN, "id": "T-2", "status": "todo", "labels": ["x"]})
    snapshot = store.read()
    assert snapshot.damage == ()
    task = snapshot.tasks["T-1"]
    assert (task.status, task.attempt, task.task_file, task.worktree_path) == (Status.FAILED, 2, None, None)
    assert task.created_at == datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert task.updated_at == task.created_at
    assert (snapshot.seq, snapshot.queue, snapshot.tasks["T-2"].labels) == (2, None, ("x",))


def test_plain_records_can_be_changed_and_keep_what_we_do_not_know(
    queue: QueueFolder, store: JournalTaskStore, open_store: OpenStore
) -> None:
    write_plain(queue, {**PLAIN, "status": "todo"})
    plain = queue.journal.read_bytes()
    store.change("t-1", start, by="test")
    assert queue.journal.read_bytes().startswith(plain)
    assert [line["seq"] for line in lines_of(queue)[1:]] == [2, 3]
    assert lines_of(queue)[2].keys().isdisjoint({"port", "repo"})
    assert open_store().read().tasks["T-1"].status is Status.PLANNING
    assert fsck.check(queue.root).is_sound


def test_members_and_kinds_that_we_do_not_know_survive(
    queue: QueueFolder, store: JournalTaskStore, open_store: OpenStore, a_task: Builder
) -> None:
    store.add([a_task("a")], by="test")
    later = encode_line({"seq": 3, "kind": "weather", "id": "sunny", "at": "x", "by": "y", "degrees": 20})
    field = encode_line({"seq": 4, "kind": "task", "id": "a", "rev": 2, "at": "x", "by": "y", "colour": "red"})
    with queue.journal.open("ab") as journal:
        journal.write(later + field)
    assert open_store().change("a", start, by="test").rev == 3
    assert later + field in queue.journal.read_bytes()
    assert open_store().read().damage == ()


@pytest.mark.parametrize("line", [{**PLAIN, "v": 2}, {"seq": 9, "kind": "queue", "id": "abcd", "v": 99}])
def test_a_newer_version_is_refused_politely_by_readers_and_writers(
    line: dict[str, object], queue: QueueFolder, store: JournalTaskStore, a_task: Builder
) -> None:
    store.add([a_task("a")], by="test")
    before = queue.journal.read_bytes() + encode_line(line)
    queue.journal.write_bytes(before)
    writing = partial(store.add, [a_task("b")], by="test")
    for request in (lambda: store.read().seq, writing, partial(fsck.check, queue.root)):
        with pytest.raises(NewerVersionError, match=r"line 3 .*upgrade taskq"):
            request()
    assert queue.journal.read_bytes() == before


def test_a_full_line_of_ours_with_a_newer_version_is_refused(
    queue: QueueFolder, store: JournalTaskStore, a_task: Builder, open_store: OpenStore
) -> None:
    store.add([a_task("a")], by="test")
    newer = lines_of(queue)[-1] | {"seq": 3, "id": "b", "v": 2}
    with queue.journal.open("ab") as journal:
        journal.write(encode_line(newer))
    with pytest.raises(NewerVersionError):
        open_store().read().find("b")


def test_a_line_without_a_checksum_is_accepted(
    queue: QueueFolder, store: JournalTaskStore, open_store: OpenStore, a_task: Builder
) -> None:
    store.add([a_task("a")], by="test")
    with queue.journal.open("a", encoding="utf-8") as journal:
        journal.write('{"seq": 3, "id": "a", "title": "by hand"}\n\n')
    assert open_store().read().tasks["a"].title == "by hand"
    assert open_store().add([a_task("b")], by="test")


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b'{"id":"a","id":"b"}', "twice"),
        (b'{"id":"a","n":9223372036854775808}', "64 bits"),
        (b'{"id":"a","n":' + b"9" * 5000 + b"}", "64 bits"),
        (b'{"id":"a","n":1e999}', "float"),
        (b'{"id":"a","n":NaN}', "NaN"),
        (b'{"id":"a","n":' + b"[" * 65 + b"]" * 65 + b"}", "deep"),
        (b'{"id":"a","n":' + b"[" * 100_000, "deep"),
        (b'{"id":"a","title":"\\ud800"}', "surrogate"),
        (b'{"id":"a","title":"\xff"}', "UTF-8"),
        (b'{"id":"a","title":"' + b"x" * 1024**2 + b'"}', "bytes in one line"),
        (b'{"id":"../a"}', "no task id"),
        (b'{"id":7}', "no task id"),
        (b'{"id":"a","seq":-1}', "no count"),
        (b'{"id":"a","kind":7}', "kind"),
        (b'{"kind":"queue","id":"NO"}', "no queue id"),
        (b'{"id":"nobody","title":"x"}', "not added before"),
        (b'{"id":"a","crc":"00000000", "title":"x"}', "not at its place"),
        (b'{"id":"a","title":"x","crc":"00000000"}', "bad checksum"),
        (b"[1]", "no JSON object"),
        (b"what", "bad record"),
    ],
    ids=lambda value: value[:30].decode("ascii", "replace") if isinstance(value, bytes) else value,
)
def test_what_we_would_not_have_written_is_damage(
    line: bytes, why: str, queue: QueueFolder, store: JournalTaskStore, open_store: OpenStore, a_task: Builder
) -> None:
    store.add([a_task("a")], by="test")
    good = encode_line({"seq": 9, "kind": "task", "id": "a", "rev": 9, "at": "x", "by": "y", "title": "after it"})
    with queue.journal.open("ab") as journal:
        journal.write(line + b"\n" + good)
    snapshot = open_store().read()
    assert [(damage.line, why in damage.why) for damage in snapshot.damage] == [(3, True)]
    assert snapshot.tasks["a"].title == "after it"
    with pytest.raises(CorruptStateError, match="line 3"):
        open_store().change("a", start, by="test")


def test_a_long_text_that_is_put_back_is_there_again(
    queue: QueueFolder, store: JournalTaskStore, open_store: OpenStore, a_task: Builder
) -> None:
    store.add([a_task("a", text="x" * 300_000)], by="test")
    (blob,) = queue.blobs.iterdir()
    kept = blob.rename(queue.root / "kept")
    other = open_store()
    assert other.read().tasks["a"].text is None
    kept.rename(blob)
    assert other.read().damage == ()
    assert other.read().tasks["a"].text == "x" * 300_000


def test_a_task_that_cannot_be_read_hides_no_other_and_cannot_be_changed(
    queue: QueueFolder, store: JournalTaskStore, a_task: Builder
) -> None:
    store.add([a_task("a")], by="test")
    with queue.journal.open("ab") as journal:
        journal.write(encode_line({"seq": 3, "kind": "task", "id": "b", "repo": "r", "status": "lost"}))
    snapshot = store.read()
    assert list(snapshot.tasks) == ["a"]
    assert "'lost' is no status" in snapshot.damage[0].why
    with pytest.raises(CorruptStateError, match="task 'b'"):
        store.change("b", start, by="test")


def test_a_reader_goes_on_when_the_journal_is_replaced(
    queue: QueueFolder, store: JournalTaskStore, open_store: OpenStore, a_task: Builder
) -> None:
    store.add([a_task("a"), a_task("b")], by="test")
    other = create_queue(queue.root.with_name("other"))
    open_store(folder=other.root).add([a_task("x")], by="test")
    other.journal.replace(queue.journal)
    assert list(store.read().tasks) == ["x"]
    store.add([a_task("y")], by="test")
    assert list(open_store().read().tasks) == ["x", "y"]


def test_a_reader_notices_a_file_that_was_rewritten_in_place(
    queue: QueueFolder, store: JournalTaskStore, open_store: OpenStore, a_task: Builder
) -> None:
    store.add([a_task("a")], by="test")
    assert list(store.read().tasks) == ["a"]
    other = create_queue(queue.root.with_name("other"))
    open_store(folder=other.root).add([a_task("x"), a_task("y"), a_task("z")], by="test")
    queue.journal.write_bytes(other.journal.read_bytes())
    assert list(store.read().tasks) == ["x", "y", "z"]
    queue.journal.write_bytes(b"")
    assert list(store.read().tasks) == []
    queue.journal.unlink()
    assert list(store.read().tasks) == []


def test_a_lock_file_that_was_replaced_does_not_let_two_writers_in(
    queue: QueueFolder, store: JournalTaskStore, a_task: Builder
) -> None:
    store.add([a_task("a")], by="test")
    old_inode = queue.lock.stat().st_ino
    inside, done = Event(), Event()
    holders: list[int] = []

    def wait_for_the_old_file() -> None:
        with JournalLock(queue.lock).hold() as held:
            holders.append(os.fstat(held.descriptor).st_ino)
            inside.set()
        done.set()

    with JournalLock(queue.lock).hold():
        queue.lock.rename(queue.lock.with_suffix(".moved"))
        waiter = Thread(target=wait_for_the_old_file)
        with JournalLock(queue.lock).hold():
            waiter.start()
            assert not inside.wait(0.2)
    assert done.wait(10)
    waiter.join()
    assert holders == [queue.lock.stat().st_ino]
    assert holders != [old_inode]


def test_a_link_in_the_place_of_journal_or_lock_is_not_followed(
    queue: QueueFolder, store: JournalTaskStore, a_task: Builder, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"")
    for path in (queue.lock, queue.journal):
        path.parent.mkdir(exist_ok=True)
        path.unlink(missing_ok=True)
        path.symlink_to(elsewhere)
        with pytest.raises(StorageError, match="symbolic link"):
            store.add([a_task("a")], by="test")
        path.unlink()
    assert elsewhere.read_bytes() == b""


def test_a_queue_that_is_not_there_is_empty_to_read_and_refused_to_write(
    tmp_path: Path, open_store: OpenStore, a_task: Builder
) -> None:
    store = open_store(folder=tmp_path / "nowhere")
    assert store.read().tasks == {}
    with pytest.raises(StorageError, match="taskq init"):
        store.add([a_task("a")], by="test")
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("harm", ["missing", "altered", "a link"])
def test_a_long_text_that_is_gone_is_told_and_named(
    harm: str, queue: QueueFolder, store: JournalTaskStore, open_store: OpenStore, a_task: Builder
) -> None:
    store.add([a_task("a", text="x" * 300_000), a_task("b")], by="test")
    (blob,) = queue.blobs.iterdir()
    content = blob.read_bytes()
    blob.unlink()
    match harm:
        case "altered":
            blob.write_bytes(content + b"!")
        case "a link":
            elsewhere = queue.root / "elsewhere"
            elsewhere.write_bytes(content)
            blob.symlink_to(elsewhere)
    snapshot = open_store().read()
    assert (snapshot.tasks["a"].text, snapshot.tasks["b"].text) == (None, "do b")
    assert blob.name in snapshot.damage[0].why
    assert blob.name in fsck.check(queue.root).blobs[0]
    with pytest.raises(CorruptStateError, match=blob.name):
        open_store().change("a", start, by="test")
    assert open_store().change("b", start, by="test").rev == 2
    assert open_store().remove("a", lambda _task: None, by="test").id == "a"
    assert fsck.check(queue.root).is_sound


def test_adding_a_task_loads_nothing_heavy() -> None:
    script = "import sys, orchestration.store.tasks; print(*sys.modules)"
    root = Path(__file__).resolve().parents[2]
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=root)
    heavy = {"asyncio", "subprocess", "uuid", "logging", "filelock", "yaml", "frontmatter", "secrets", "tempfile"}
    assert heavy.isdisjoint(loaded.stdout.split())


def test_adding_to_a_long_queue_parses_none_of_its_tasks(
    queue: QueueFolder, store: JournalTaskStore, open_store: OpenStore, a_task: Builder
) -> None:
    store.add([a_task(f"t{number}") for number in range(300)], by="test")
    parsed: list[bytes] = []
    original = record.decode_line
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(record, "decode_line", lambda line: parsed.append(line) or original(line))
        open_store().add([a_task("next")], by="test")
    assert {b'"kind":"queue"' in line for line in parsed} == {True}
