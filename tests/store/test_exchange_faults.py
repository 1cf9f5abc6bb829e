"""The real commands, killed at one system call after another, and on a disk that is full."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestration.core.models import Task
from orchestration.store import fsck
from orchestration.store.backup import back_up
from orchestration.store.export import export_to
from orchestration.store.layout import QueueFolder, create_queue
from orchestration.store.restore import restore
from orchestration.store.tasks import JournalTaskStore

pytestmark = pytest.mark.full

ROOT = Path(__file__).resolve().parents[2]
TASKQ = (sys.executable, "-m", "orchestration")
OpenStore = Callable[..., JournalTaskStore]
Builder = Callable[..., Task]

CALLS = {
    "written": "write",
    "synced": "fsync,fdatasync",
    "named": "link,linkat,rename,renameat,renameat2",
    "made": "mkdir,mkdirat",
    "unlinked": "unlink,unlinkat",
}


def taskq(*arguments: object, fault: str = "") -> subprocess.CompletedProcess[str]:
    """Run the real command line, with a fault when one is given."""
    command = [*TASKQ, *map(str, arguments)]
    if fault:
        trace = fault.partition(":")[0]
        command = ["strace", "-qq", "-o", os.devnull, "-e", f"trace={trace}", "-e", f"inject={fault}", *command]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}  # only the command's own calls are to count
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)


def killed_at_each(calls: str, run: Callable[[str, int], subprocess.CompletedProcess[str]]) -> int:
    """Kill the command at the first such call, the second, ... until it passes; return how often it was killed."""
    for when in range(1, 80):
        done = run(f"{calls}:signal=KILL:when={when}", when)
        if done.returncode == 0:
            return when - 1
        assert done.returncode in {-9, 137}, done.stderr
    raise AssertionError("the command never came to its end")


@pytest.fixture
def filled(queue: QueueFolder, store: JournalTaskStore, a_task: Builder) -> QueueFolder:
    """A queue with tasks, a long text and a file."""
    store.add([a_task("a", text="long" * 100_000), a_task("b")], by="test")
    queue.tasks.joinpath("b.md").write_text("as given", encoding="utf-8")
    return queue


@pytest.fixture(autouse=True)
def _needs_strace(request: pytest.FixtureRequest, capability: Callable[[str], None]) -> None:
    if "killed" in request.node.name:
        capability("strace")


@pytest.mark.parametrize("calls", CALLS.values(), ids=CALLS)
def test_an_export_that_is_killed_leaves_nothing_or_all_at_its_name(
    calls: str, filled: QueueFolder, tmp_path: Path
) -> None:
    export_to(tmp_path / "good", filled.root, (), tell=lambda _count: None)

    def run(fault: str, when: int) -> subprocess.CompletedProcess[str]:
        path = tmp_path / f"out-{when}"
        done = taskq("--queue", filled.root, "export", "--out", path, fault=fault)
        assert not path.exists() or path.read_bytes() == (tmp_path / "good").read_bytes()
        assert path.exists() or done.returncode != 0
        return done

    assert killed_at_each(calls, run) >= (0 if calls == CALLS["made"] else 1)


@pytest.mark.parametrize("calls", CALLS.values(), ids=CALLS)
def test_a_backup_that_is_killed_leaves_nothing_or_all_at_its_name(
    calls: str, filled: QueueFolder, tmp_path: Path
) -> None:
    def run(fault: str, when: int) -> subprocess.CompletedProcess[str]:
        path = tmp_path / f"{when}.tar"
        done = taskq("--queue", filled.root, "backup", path, fault=fault)
        assert path.exists() or done.returncode != 0
        if path.exists():
            assert restore(path, tmp_path / f"restored-{when}").tasks == 2
        return done

    assert killed_at_each(calls, run) >= (0 if calls == CALLS["made"] else 1)


@pytest.mark.parametrize("calls", CALLS.values(), ids=CALLS)
def test_a_restore_that_is_killed_leaves_nothing_or_the_whole_queue(
    calls: str, filled: QueueFolder, tmp_path: Path
) -> None:
    back_up(filled.root, tmp_path / "b.tar", damaged=False)

    def run(fault: str, when: int) -> subprocess.CompletedProcess[str]:
        folder = tmp_path / f"restored-{when}"
        done = taskq("--queue", folder, "restore", tmp_path / "b.tar", fault=fault)
        assert folder.exists() or done.returncode != 0
        if folder.exists():
            report = fsck.check(folder)
            assert (report.is_sound, report.tasks) == (True, 2)
        return done

    assert killed_at_each(calls, run) >= (0 if calls == CALLS["unlinked"] else 1)


@pytest.mark.parametrize("calls", CALLS.values(), ids=CALLS)
def test_an_import_that_is_killed_takes_all_tasks_or_none(calls: str, filled: QueueFolder, tmp_path: Path) -> None:
    export_to(tmp_path / "in.jsonl", filled.root, (), tell=lambda _count: None)

    def run(fault: str, when: int) -> subprocess.CompletedProcess[str]:
        other = tmp_path / f"other-{when}"
        done = taskq("--queue", other, "import", tmp_path / "in.jsonl", fault=fault)
        report = fsck.check(other)
        assert (report.damage, report.blobs) == ((), ())
        assert report.tasks in ({2} if done.returncode == 0 else {0, 2})
        return done

    assert killed_at_each(calls, run) >= 1


def test_a_kill_in_the_middle_is_seen_by_this_test_where_a_file_is_written_in_place(
    filled: QueueFolder, tmp_path: Path, capability: Callable[[str], None]
) -> None:
    """The control: written without a name of its own, an export that is killed is there by half."""
    capability("strace")
    taskq("--queue", filled.root, "export", "--out", tmp_path / "good")
    command = [*TASKQ, "--queue", str(filled.root), "export"]
    trace = ["strace", "-qq", "-o", os.devnull, "-P", str(tmp_path / "half"), "-e", "trace=write"]
    inject = ["-e", "inject=write:signal=KILL:when=2"]
    with (tmp_path / "half").open("wb") as target:
        subprocess.run([*trace, *inject, *command], cwd=ROOT, stdout=target, check=False, timeout=60)
    half, good = (tmp_path / "half").read_bytes(), (tmp_path / "good").read_bytes()
    assert 0 < len(half) < len(good)
    assert good.startswith(half)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of 256 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "taskq-test", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("a small disk cannot be mounted; get it with: run as root where mounting is allowed")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True, capture_output=True)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--queue", "{queue}", "export", "--out", "{disk}/out.jsonl"),
        ("--queue", "{queue}", "backup", "{disk}/b.tar"),
        ("--queue", "{disk}/restored", "restore", "{tmp}/b.tar.gz"),
    ],
    ids=["export", "backup", "restore"],
)
def test_on_a_full_disk_each_command_says_so_and_leaves_nothing(
    arguments: tuple[str, ...], filled: QueueFolder, small_disk: Path, tmp_path: Path
) -> None:
    back_up(filled.root, tmp_path / "b.tar.gz", damaged=False)
    places = {"queue": filled.root, "disk": small_disk, "tmp": tmp_path}
    done = taskq(*(argument.format(**places) for argument in arguments))
    assert done.returncode == 3
    assert "the disk is full; free some space" in done.stderr or "bytes that are free; make room" in done.stderr
    assert list(small_disk.iterdir()) == []


def test_on_a_full_disk_an_import_takes_nothing(
    filled: QueueFolder, small_disk: Path, tmp_path: Path, open_store: OpenStore
) -> None:
    export_to(tmp_path / "in.jsonl", filled.root, (), tell=lambda _count: None)
    record = json.loads((tmp_path / "in.jsonl").read_bytes().splitlines()[1])
    many = [json.dumps({**record, "id": f"n{number}"}) for number in range(400)]
    (tmp_path / "many.jsonl").write_text("\n".join(many), encoding="utf-8")
    create_queue(small_disk / "queue")
    for name in ("in.jsonl", "many.jsonl"):  # a long text that has no room, and lines that have none
        done = taskq("--queue", small_disk / "queue", "import", tmp_path / name)
        assert (done.returncode, done.stderr.count("the disk is full")) == (3, 1)
    assert open_store(folder=small_disk / "queue").read().tasks == {}
    assert fsck.check(small_disk / "queue").is_sound
