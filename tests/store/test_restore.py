"""What comes out of a backup is what went in, or nothing: archives that are cut, bent or made by somebody else."""

import gzip
import hashlib
import io
import json
import random
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestration.core.errors import CorruptStateError, NewerVersionError, StorageError, TaskqError, UsageError
from orchestration.core.models import Task
from orchestration.store.backup import back_up
from orchestration.store.layout import QueueFolder
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


def refused(path: Path, folder: Path) -> TaskqError | None:
    """Restore *path*; return why it was refused, having seen that nothing was left, or None."""
    before = left_in(folder.parent)
    try:
        restore(path, folder)
    except TaskqError as error:
        assert left_in(folder.parent) == before
        return error
    return None


@pytest.mark.parametrize("name", ["b.tar", "b.tar.gz"])
def test_a_backup_that_is_cut_anywhere_is_refused(name: str, lived_in: QueueFolder, tmp_path: Path) -> None:
    (lived_in.blobs / blob_of(LONG)).unlink()
    path = tmp_path / name
    back_up(lived_in.root, path, damaged=True)
    whole = path.read_bytes()
    last = whole.rstrip(b"\0") if name == "b.tar" else whole
    for size in sorted({*range(0, len(last), max(1, len(last) // 120)), len(last) - 1}):
        path.write_bytes(whole[:size])
        error = refused(path, tmp_path / "again")
        assert isinstance(error, CorruptStateError), size
        assert error.code == "bad_backup"


@pytest.mark.parametrize("name", ["b.tar", "b.tar.gz"])
def test_a_backup_with_a_flipped_bit_is_refused_or_restores_the_same(
    name: str, lived_in: QueueFolder, tmp_path: Path
) -> None:
    (lived_in.blobs / blob_of(LONG)).unlink()
    path = tmp_path / name
    back_up(lived_in.root, path, damaged=True)
    good = {name: content for name, content in content_of(lived_in.root).items() if not name.endswith(".tmp")}
    whole = path.read_bytes()
    chance = random.Random(20261121)
    outcomes = set()
    for place in chance.sample(range(len(whole)), 250):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << chance.randrange(8)]) + whole[place + 1 :])
        error = refused(path, tmp_path / "again")
        outcomes.add(error is None)
        if error is None:
            assert content_of(tmp_path / "again") == good
            shutil.rmtree(tmp_path / "again")
        else:
            assert isinstance(error, (CorruptStateError, NewerVersionError))
    assert False in outcomes


def forged(path: Path, *members: tuple[tarfile.TarInfo, bytes], manifest: dict[str, Any] | None = None) -> Path:
    """Write an archive of *members* whose manifest fits them, but for what *manifest* says."""
    named = [
        {"name": info.name, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for info, content in members
    ]
    said = {
        "taskq_backup": 1,
        "queue": None,
        "seq": 0,
        "tasks": 0,
        "damaged": False,
        "members": named,
        **(manifest or {}),
    }
    packed = json.dumps(said).encode()
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        for info, content in (*members, (entry("MANIFEST.json", size=len(packed)), packed)):
            tar.addfile(info, io.BytesIO(content))
    return path


def entry(name: str, *, size: int = 0, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = size, kind, link
    return info


def test_a_forged_archive_that_keeps_to_the_rules_is_restored(tmp_path: Path) -> None:
    path = forged(tmp_path / "f.tar", (entry("queue/config.toml", size=2), b"x\n"))
    restore(path, tmp_path / "again")
    assert (tmp_path / "again/config.toml").read_bytes() == b"x\n"


HOSTILE = {
    "up and out": entry("queue/tasks/../../../evil"),
    "up at the top": entry("../evil"),
    "absolute": entry("/etc/evil"),
    "another root": entry("other/tasks.jsonl"),
    "a dot": entry("queue/./tasks.jsonl"),
    "two slashes": entry("queue//tasks.jsonl"),
    "no name": entry(""),
    "the folder itself": entry("queue"),
    "a lock": entry("queue/locks/journal.lock"),
    "a cache": entry("queue/index/index.sqlite"),
    "an unknown file": entry("queue/hooks"),
    "a control character": entry("queue/tasks/\x1b[2J"),
    "a symbolic link": entry("queue/tasks/a", kind=tarfile.SYMTYPE, link="/etc/passwd"),
    "a hard link": entry("queue/tasks/a", kind=tarfile.LNKTYPE, link="queue/tasks.jsonl"),
    "a device": entry("queue/tasks/a", kind=tarfile.CHRTYPE),
    "a pipe": entry("queue/tasks/a", kind=tarfile.FIFOTYPE),
    "a folder": entry("queue/tasks/a", kind=tarfile.DIRTYPE),
    "a sparse file": entry("queue/tasks/a", kind=tarfile.GNUTYPE_SPARSE),
    "extended headers": entry("queue/tasks/" + "a" * 200),
}


@pytest.mark.parametrize("member", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_member_is_refused_and_leaves_nothing(member: tarfile.TarInfo, tmp_path: Path) -> None:
    error = refused(forged(tmp_path / "f.tar", (member, b"")), tmp_path / "again")
    assert isinstance(error, CorruptStateError)
    assert error.code == "bad_backup"
    assert left_in(tmp_path) == ["f.tar"]


def test_a_file_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    twice = (entry("queue/config.toml", size=1), b"x")
    error = refused(forged(tmp_path / "f.tar", twice, twice), tmp_path / "again")
    assert "is there twice" in str(error)


@pytest.mark.parametrize(
    ("manifest", "why"),
    [
        ({"members": []}, "queue/config.toml is not as the manifest says"),
        ({"members": "none"}, "its manifest is none of ours"),
        ({"seq": None}, "its manifest is none of ours"),
        ({"tasks": 3}, "another number of tasks"),
        ({"queue": "abcd"}, "another number of tasks"),
        ({"taskq_backup": 2}, "this backup has version 2"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(manifest: dict[str, Any], why: str, tmp_path: Path) -> None:
    path = forged(tmp_path / "f.tar", (entry("queue/config.toml", size=1), b"x"), manifest=manifest)
    assert why in str(refused(path, tmp_path / "again"))


def test_a_journal_that_is_damaged_although_the_manifest_says_otherwise_is_refused(
    lived_in: QueueFolder, tmp_path: Path
) -> None:
    lived_in.journal.write_bytes(lived_in.journal.read_bytes().replace(b'"do b"', b'"do X"'))
    content = lived_in.journal.read_bytes()
    found = back_up(lived_in.root, tmp_path / "b.tar", damaged=True)
    said = {"queue": found.queue, "seq": found.seq, "tasks": found.tasks}
    path = forged(tmp_path / "f.tar", (entry("queue/tasks.jsonl", size=len(content)), content), manifest=said)
    assert "its journal is damaged at line 3" in str(refused(path, tmp_path / "again"))


def test_more_than_the_disk_has_room_for_is_refused_before_it_is_read(tmp_path: Path) -> None:
    info = entry("queue/tasks.jsonl", size=10**15)
    (tmp_path / "huge.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + b"\0" * 4096)
    error = refused(tmp_path / "huge.tar", tmp_path / "again")
    assert isinstance(error, StorageError)
    assert "bytes that are free; make room" in str(error)


def test_a_small_file_that_unpacks_to_very_much_is_not_unpacked(tmp_path: Path) -> None:
    header = entry("MANIFEST.json", size=2**40).tobuf(tarfile.GNU_FORMAT)
    (tmp_path / "bomb.tar.gz").write_bytes(gzip.compress(header + b"\0" * 50_000_000))
    assert "has no possible size" in str(refused(tmp_path / "bomb.tar.gz", tmp_path / "again"))


@pytest.mark.parametrize("content", [b"", b"no archive", b"\0" * 20_000, b"\x1f\x8b" + b"x" * 100])
@pytest.mark.parametrize("name", ["f.tar", "f.tar.gz"])
def test_what_is_no_archive_is_refused(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    assert isinstance(refused(tmp_path / name, tmp_path / "again"), CorruptStateError)


def test_a_backup_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no file .*none\.tar"):
        restore(tmp_path / "none.tar", tmp_path / "again")


def test_whichever_call_fails_a_restore_leaves_nothing_or_the_whole_queue(
    archive: Path, tmp_path: Path, faulty_disk: Callable[..., Any]
) -> None:
    counted = faulty_disk()
    restore(archive, tmp_path / "counted", disk=counted)
    failures = 0
    for call in ("write", "sync_all"):
        for at in range(1, counted.calls.count(call) + 1):
            target = tmp_path / f"{call}-{at}"
            before = left_in(tmp_path)
            with pytest.raises(StorageError):
                restore(archive, target, disk=faulty_disk(call=call, at=at))
            failures += 1
            if target.exists():  # the last sync is that of the name
                assert content_of(target) == content_of(tmp_path / "counted")
            else:
                assert left_in(tmp_path) == before
    assert failures > 10
