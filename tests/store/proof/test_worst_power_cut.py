"""The power fails before each call to the disk, and all is gone that no sync has confirmed, names as well as bytes.

A file system may keep more than that, but must keep no more; see test_power_cut.py for a real one.
"""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestration.core.errors import DuplicateTaskError
from orchestration.core.ports import Clock
from orchestration.store.compaction import compact
from orchestration.store.layout import QueueFolder
from orchestration.store.tasks import JournalTaskStore
from orchestration.support.files import Disk
from tests.store.proof.script import OPERATIONS, Model, State, a_task, state_of

OpenStore = Callable[..., JournalTaskStore]


class UncertainDisk(Disk):
    """Does what a disk does, and knows what of one folder tree would survive if the power failed now.

    A file's bytes survive as they were at its last sync, a name as its folder was at its last sync of all.
    """

    def __init__(self, root: Path, *, before_call: Callable[[], None] = lambda: None) -> None:
        self._root = root
        self._before_call = before_call
        self._contents: dict[int, bytes] = {}
        self._names: dict[int, dict[str, int]] = {}
        self._folders: set[int] = set()
        for folder, _, files in os.walk(root):
            self._keep_names(folder)
            for name in files:
                path = Path(folder, name)
                self._contents[path.stat().st_ino] = path.read_bytes()

    def survivors(self, at: Path) -> Path:
        """Make at the path *at* what would be left of the tree."""
        self._restore(self._root.stat().st_ino, at)
        return at

    def write(self, descriptor: int, content: bytes) -> int:
        self._before_call()
        return super().write(descriptor, content)

    def overwrite(self, descriptor: int, content: bytes, offset: int) -> int:
        self._before_call()
        return super().overwrite(descriptor, content, offset)

    def truncate(self, descriptor: int, size: int) -> None:
        self._before_call()
        super().truncate(descriptor, size)

    def sync(self, descriptor: int) -> None:
        self._before_call()
        super().sync(descriptor)
        self._confirm(descriptor)

    def sync_all(self, descriptor: int) -> None:
        self._before_call()
        super().sync_all(descriptor)
        self._confirm(descriptor)

    def replace(self, source: Path, target: Path) -> None:
        self._before_call()
        super().replace(source, target)

    def _confirm(self, descriptor: int) -> None:
        path = f"/proc/self/fd/{descriptor}"
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            self._keep_names(path)
        else:
            self._contents[status.st_ino] = Path(path).read_bytes()

    def _keep_names(self, folder: str | Path) -> None:
        names = {}
        with os.scandir(folder) as entries:
            for entry in entries:
                names[entry.name] = entry.inode()
                if entry.is_dir(follow_symlinks=False):
                    self._folders.add(entry.inode())
                    self._names.setdefault(entry.inode(), {})
                else:
                    self._contents.setdefault(entry.inode(), b"")
        self._names[Path(folder).stat().st_ino] = names

    def _restore(self, inode: int, at: Path) -> None:
        at.mkdir()
        for name, inner in self._names[inode].items():
            if inner in self._folders:
                self._restore(inner, at / name)
            else:
                (at / name).write_bytes(self._contents[inner])


class Deaf(Disk):
    """Writes, but never waits for the disk: what a writer does that is killed before its sync."""

    def sync(self, descriptor: int) -> None:
        """Be gone before it."""

    sync_all = sync


def test_whenever_the_power_fails_what_was_acknowledged_is_there_and_what_was_not_is_whole_or_absent(
    queue: QueueFolder, open_store: OpenStore, tmp_path: Path
) -> None:
    model = Model()
    under_way: list[State] = []
    checked: list[int] = []

    def look() -> None:
        checked.append(len(checked))
        left = disk.survivors(tmp_path / f"left-{len(checked)}")
        snapshot = open_store(folder=left).read()
        assert state_of(snapshot) in [model.tasks, *under_way]
        assert snapshot.damage == ()

    disk = UncertainDisk(queue.root, before_call=look)
    store = open_store(disk)
    for operation in OPERATIONS:
        after = model.copy()
        try:
            operation.on_model(after)
        except KeyError:
            continue
        under_way[:] = [after.tasks]
        operation.on_store(store)
        model, under_way[:] = after, []
        look()
    assert len(checked) > 3 * len(OPERATIONS)


@pytest.mark.parametrize("dropped", ["sync", "sync_all"])
def test_a_disk_that_confirms_without_keeping_loses_what_was_acknowledged(
    dropped: str, queue: QueueFolder, open_store: OpenStore, tmp_path: Path
) -> None:
    """The control: the test above fails without either of the two syncs."""
    disk = UncertainDisk(queue.root)
    setattr(disk, dropped, lambda _descriptor: None)
    open_store(disk).add([a_task("a")], by="test")
    assert list(open_store().read().tasks) == ["a"]
    assert list(open_store(folder=disk.survivors(tmp_path / "left")).read().tasks) == []


def compacted_with_cuts(
    queue: QueueFolder,
    open_store: OpenStore,
    clock: Clock,
    tmp_path: Path,
    *,
    drops: Callable[[int], bool] | None = None,
) -> list[State]:
    """Compact amid other work; return what would be there after a power cut before each call, and in the end.

    The disk keeps nothing of a file or folder of a mode that it *drops* when it is told to sync all of that.
    """
    store = open_store()
    store.add([a_task("a"), a_task("b")], by="test")
    for title in ("one", "two"):
        store.change("a", lambda task, title=title: task._replace(title=title), by="test")
    found: list[State] = []

    def look() -> None:
        left = disk.survivors(tmp_path / f"left-{len(found)}")
        found.append(state_of(open_store(folder=left).read()))

    disk = UncertainDisk(queue.root, before_call=look)
    if drops is not None:
        confirm = disk.sync_all
        disk.sync_all = lambda descriptor: None if drops(os.fstat(descriptor).st_mode) else confirm(descriptor)  # type: ignore[method-assign]  # this one disk
    assert compact(queue.root, clock, disk=disk).history is not None
    open_store(disk).add([a_task("c")], by="test")
    look()
    return found


def test_whenever_the_power_fails_while_the_journal_is_compacted_nothing_is_lost(
    queue: QueueFolder, open_store: OpenStore, clock: Clock, tmp_path: Path
) -> None:
    found = compacted_with_cuts(queue, open_store, clock, tmp_path)
    before: State = {"a": ("todo", 3, "two", 1), "b": ("todo", 1, None, 1)}
    after: State = {**before, "c": ("todo", 1, None, 1)}
    assert len(found) > 8
    assert all(state in (before, after) for state in found)
    assert found[-1] == after


@pytest.mark.parametrize("drops", [stat.S_ISREG, stat.S_ISDIR], ids=["the new file", "its name"])
def test_without_one_of_its_syncs_the_power_cut_takes_tasks(
    drops: Callable[[int], bool], queue: QueueFolder, open_store: OpenStore, clock: Clock, tmp_path: Path
) -> None:
    """The control: without the file's sync all of it can go, without the folder's what is added to it afterwards."""
    found = compacted_with_cuts(queue, open_store, clock, tmp_path, drops=drops)
    assert {} in found if drops is stat.S_ISREG else "c" not in found[-1]


def test_what_is_answered_about_another_writers_change_survives_the_power_cut_after_the_answer(
    queue: QueueFolder, open_store: OpenStore, tmp_path: Path
) -> None:
    disk = UncertainDisk(queue.root)
    open_store(Deaf()).add([a_task("a")], by="killed")
    with pytest.raises(DuplicateTaskError):
        open_store(disk).add([a_task("a")], by="test")
    assert list(open_store(folder=disk.survivors(tmp_path / "left")).read().tasks) == ["a"]


class _Killed(BaseException):
    """The process ends here."""


def test_a_blob_whose_writer_died_before_its_name_was_durable_survives_once_a_task_names_it(
    queue: QueueFolder, open_store: OpenStore, tmp_path: Path
) -> None:
    disk = UncertainDisk(queue.root)

    def rename_and_die(source: Path, target: Path) -> None:
        UncertainDisk.replace(disk, source, target)
        raise _Killed

    text = "y" * 300_000
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(disk, "replace", rename_and_die)
        with pytest.raises(_Killed):
            open_store(disk).add([a_task("a", text=text)], by="killed")
    assert len(list(queue.blobs.iterdir())) == 1
    open_store(disk).add([a_task("a", text=text)], by="test")
    snapshot = open_store(folder=disk.survivors(tmp_path / "left")).read()
    assert snapshot.damage == ()
    assert snapshot.tasks["a"].text == text
