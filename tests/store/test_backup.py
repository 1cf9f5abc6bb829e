"""A backup is a whole queue of one moment, or an error."""

import hashlib
import io
import json
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestration.core.errors import CorruptStateError, StorageError, UsageError
from orchestration.core.models import Task
from orchestration.store import backup as backup_module
from orchestration.store import fsck
from orchestration.store.backup import back_up
from orchestration.store.layout import QueueFolder
from orchestration.store.lock import JournalLock
from orchestration.store.restore import restore
from orchestration.store.tasks import JournalTaskStore
from tests.store.queues import LONG, blob_of, content_of, left_in, live_in

OpenStore = Callable[..., JournalTaskStore]
Builder = Callable[..., Task]


@pytest.fixture
def lived_in(queue: QueueFolder, store: JournalTaskStore, a_task: Builder) -> QueueFolder:
    """A queue with something in every place."""
    return live_in(queue, store, a_task)


@pytest.fixture
def archive(lived_in: QueueFolder, tmp_path: Path) -> Path:
    """A good backup."""
    path = tmp_path / "good.tar"
    back_up(lived_in.root, path, damaged=False)
    return path


@pytest.mark.parametrize("name", ["b.tar", "b.tar.gz", "b.tgz"])
def test_what_is_restored_is_what_was_backed_up(name: str, lived_in: QueueFolder, tmp_path: Path) -> None:
    made = back_up(lived_in.root, tmp_path / name, damaged=False)
    shown = restore(tmp_path / name, tmp_path / "new" / "queue")
    expected = {name: content for name, content in content_of(lived_in.root).items() if not name.endswith(".tmp")}
    assert content_of(tmp_path / "new" / "queue") == expected
    report = fsck.check(tmp_path / "new" / "queue")
    assert (report.is_sound, report.queue, report.seq, report.tasks) == (True, made.queue, made.seq, made.tasks)
    assert (shown.files, shown.size) == (made.files, made.size) == (len(expected), sum(map(len, expected.values())))
    assert left_in(tmp_path / "new") == ["queue"]


def test_the_restored_queue_takes_changes_and_belongs_to_its_owner_alone(
    archive: Path, tmp_path: Path, open_store: OpenStore, a_task: Builder
) -> None:
    restore(archive, tmp_path / "again")
    store = open_store(folder=tmp_path / "again")
    store.add([a_task("new")], by="test")
    assert [(task.id, task.text) for task in store.read().tasks.values()] == [
        ("a", LONG),
        ("b", "do b"),
        ("new", "do new"),
    ]
    assert [path for path in (tmp_path / "again").rglob("*") if path.stat().st_mode & 0o077] == []


def test_any_tar_can_open_a_backup(archive: Path, lived_in: QueueFolder, tmp_path: Path) -> None:
    subprocess.run(["tar", "--extract", f"--file={archive}"], cwd=tmp_path / "queue", check=True, capture_output=True)
    manifest = json.loads((lived_in.root / "MANIFEST.json").read_text(encoding="utf-8"))
    unpacked = lived_in.root / "queue"
    assert [member["name"] for member in manifest["members"]][:2] == [
        "queue/tasks.jsonl",
        f"queue/blobs/{blob_of(LONG)}",
    ]
    for member in manifest["members"]:
        content = unpacked.parent.joinpath(member["name"]).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (member["size"], member["sha256"])
    assert not (unpacked / "locks").exists()
    assert not (unpacked / "index").exists()


def test_an_empty_queue_can_be_backed_up(queue: QueueFolder, tmp_path: Path) -> None:
    made = back_up(queue.root, tmp_path / "b.tar", damaged=False)
    assert (made.queue, made.seq, made.tasks) == (None, 0, 0)
    restore(tmp_path / "b.tar", tmp_path / "again")
    assert fsck.check(tmp_path / "again").is_sound


def test_what_is_no_queue_is_not_backed_up(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no queue at"):
        back_up(tmp_path, tmp_path / "b.tar", damaged=False)
    assert left_in(tmp_path) == []


@pytest.mark.parametrize("name", ["backup", "backup.zip", "backup.gz"])
def test_a_name_that_does_not_say_the_kind_of_archive_is_refused(
    name: str, lived_in: QueueFolder, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"does not say what it is; give it a name in \.tar, \.tar\.gz, \.tgz"):
        back_up(lived_in.root, tmp_path / name, damaged=False)
    with pytest.raises(UsageError, match="does not say what it is"):
        restore(tmp_path / name, tmp_path / "again")


def test_nothing_is_overwritten(lived_in: QueueFolder, archive: Path, tmp_path: Path) -> None:
    before = archive.read_bytes()
    with pytest.raises(UsageError, match=r"good\.tar is there already"):
        back_up(lived_in.root, archive, damaged=False)
    assert archive.read_bytes() == before
    (tmp_path / "dangling.tar").symlink_to("nowhere")
    with pytest.raises(UsageError, match="is there already"):
        back_up(lived_in.root, tmp_path / "dangling.tar", damaged=False)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "full")
    for place in ("full", "link", "dangling.tar", "full/file"):
        with pytest.raises(UsageError, match="is there and not empty"):
            restore(archive, tmp_path / place)
    assert left_in(tmp_path) == ["dangling.tar", "full", "good.tar", "link", "queue"]


def test_an_empty_folder_becomes_the_queue(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    restore(archive, tmp_path / "empty")
    assert fsck.check(tmp_path / "empty").is_sound


# --- damage ---------------------------------------------------------------------------------------------------------


def spoil_line(queue: QueueFolder) -> None:
    queue.journal.write_bytes(queue.journal.read_bytes().replace(b'"do b"', b'"do X"'))


def lose_blob(queue: QueueFolder) -> None:
    (queue.blobs / blob_of(LONG)).unlink()


def alter_blob(queue: QueueFolder) -> None:
    (queue.blobs / blob_of(LONG)).write_text("other", encoding="utf-8")


def doubt(queue: QueueFolder) -> None:
    with JournalLock(queue.lock).hold() as held:
        held.set_poison("a sync failed")


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (spoil_line, "line 3 of the journal: bad checksum"),
        (lose_blob, "blob [0-9a-f]{64} of task a is missing"),
        (alter_blob, "blob [0-9a-f]{64} of task a was altered"),
        (doubt, "the queue is in doubt: a sync failed"),
    ],
)
def test_a_damaged_queue_is_backed_up_only_on_request_and_as_it_is(
    spoil: Callable[[QueueFolder], None], why: str, lived_in: QueueFolder, tmp_path: Path
) -> None:
    spoil(lived_in)
    with pytest.raises(CorruptStateError, match=f"this queue is damaged: {why}.*--damaged"):
        back_up(lived_in.root, tmp_path / "b.tar", damaged=False)
    assert left_in(tmp_path) == ["queue"]
    made = back_up(lived_in.root, tmp_path / "b.tar", damaged=True)
    assert len(made.damage) + len(made.problems) > 0
    restore(tmp_path / "b.tar", tmp_path / "again")
    assert (tmp_path / "again/tasks.jsonl").read_bytes() == lived_in.journal.read_bytes()


def test_bytes_that_were_never_acknowledged_are_left_out_which_a_plain_copy_has(
    lived_in: QueueFolder, store: JournalTaskStore, a_task: Builder, tmp_path: Path
) -> None:
    whole = lived_in.journal.read_bytes()
    store.add([a_task("d"), a_task("e")], by="test")
    lived_in.journal.write_bytes(lived_in.journal.read_bytes()[:-10])
    back_up(lived_in.root, tmp_path / "b.tar", damaged=False)
    restore(tmp_path / "b.tar", tmp_path / "again")
    assert (tmp_path / "again/tasks.jsonl").read_bytes() == whole
    shutil.copytree(lived_in.root, tmp_path / "copied")
    assert (fsck.check(tmp_path / "again").torn, fsck.check(tmp_path / "copied").torn > 0) == (0, True)


@pytest.mark.full
def test_backups_taken_while_others_write_hold_every_change_that_was_acknowledged_before(
    queue: QueueFolder, worker_command: Callable[..., list[str]], tmp_path: Path
) -> None:
    with subprocess.Popen(
        worker_command("batch", queue.root, "w", 100_000), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as writer:
        try:
            assert writer.stdin is not None
            assert writer.stdout is not None
            writer.stdin.write(b"go\n")
            writer.stdin.flush()
            assert writer.stdout.readline() == b"ready\n"
            for number in range(6):
                for _ in range(5):
                    acknowledged = int(writer.stdout.readline().split()[0].rpartition(b"-")[2]) + 1
                made = back_up(queue.root, tmp_path / f"{number}.tar", damaged=False)
                assert made.tasks >= acknowledged * 20
                assert made.tasks % 20 == 0
                restored = restore(tmp_path / f"{number}.tar", tmp_path / f"restored-{number}")
                assert (restored.seq, restored.tasks) == (made.seq, made.tasks)
                assert fsck.check(tmp_path / f"restored-{number}").is_sound
        finally:
            writer.kill()


def test_texts_are_copied_after_the_journal_because_the_other_order_loses_them(
    queue: QueueFolder, store: JournalTaskStore, a_task: Builder, archive_order: Callable[[], list[str]], tmp_path: Path
) -> None:
    store.add([a_task("a", text=LONG)], by="test")
    shutil.copytree(queue.root, tmp_path / "texts first")
    store.add([a_task("b", text=LONG + "b")], by="test")
    shutil.copy(queue.journal, tmp_path / "texts first")
    assert len(fsck.check(tmp_path / "texts first").blobs) == 1
    shutil.copy(queue.journal, tmp_path / "journal.first")
    store.add([a_task("c", text=LONG + "c")], by="test")
    shutil.copytree(queue.root, tmp_path / "journal first")
    (tmp_path / "journal.first").replace(tmp_path / "journal first/tasks.jsonl")
    assert fsck.check(tmp_path / "journal first").is_sound
    assert archive_order()[0] == "queue/tasks.jsonl"


@pytest.fixture
def archive_order(queue: QueueFolder, tmp_path: Path) -> Callable[[], list[str]]:
    """Return a function that backs up and says in which order the files went in."""

    def order() -> list[str]:
        back_up(queue.root, tmp_path / "order.tar", damaged=False)
        with tarfile.open(tmp_path / "order.tar") as tar:
            return tar.getnames()

    return order


# --- what the disk does ---------------------------------------------------------------------------------------------


def test_an_archive_that_reads_back_as_another_is_said_not_to_be_one(archive: Path, lived_in: QueueFolder) -> None:
    manifest = backup_module.Manifest(None, 0, 0, damaged=False, members=())
    with pytest.raises(StorageError, match="did not read back as it was written"):
        backup_module._read_back(archive, archive, manifest, packing=False)
    archive.write_bytes(archive.read_bytes()[:-20_000])
    with pytest.raises(StorageError, match="did not read back as it was written"):
        backup_module._read_back(archive, archive, manifest, packing=False)


def test_a_file_that_became_shorter_while_it_was_copied_is_an_error() -> None:
    tar = tarfile.TarFile(fileobj=io.BytesIO(), mode="w")
    with tar, pytest.raises(StorageError, match=r"a\.md became shorter while it was copied; try again"):
        backup_module._put(tar, "a.md", io.BytesIO(b"abc"), 5)


def test_a_name_that_no_archive_can_hold_is_named(lived_in: QueueFolder, tmp_path: Path) -> None:
    (lived_in.tasks / ("n" * 200)).touch()
    with pytest.raises(StorageError, match=r"tasks/n+ has no place in an archive .*move it out"):
        back_up(lived_in.root, tmp_path / "b.tar", damaged=False)
    assert left_in(tmp_path) == ["queue"]


@pytest.mark.parametrize("call", ["sync_all"])
def test_a_sync_that_fails_leaves_no_backup(
    call: str, lived_in: QueueFolder, tmp_path: Path, faulty_disk: Callable[..., Any]
) -> None:
    with pytest.raises(StorageError, match=r"cannot write .*b\.tar: the disk reports an input/output error"):
        back_up(lived_in.root, tmp_path / "b.tar", damaged=False, disk=faulty_disk(call=call))
    assert left_in(tmp_path) == ["queue"]
