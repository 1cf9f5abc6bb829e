import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestration.core.errors import EXIT_NOT_NOW, StorageError
from orchestration.support import files


class NotingDisk(files.Disk):
    """Does what a disk does and notes the order; the call named *fails* fails with *error*."""

    def __init__(self, fails: str = "", error: int = errno.EIO) -> None:
        self.calls: list[str] = []
        self._fails = fails
        self._error = error

    def _note(self, name: str) -> None:
        self.calls.append(name)
        if name == self._fails:
            raise OSError(self._error, os.strerror(self._error))

    def write(self, descriptor: int, content: bytes) -> int:
        self._note("write")
        return super().write(descriptor, content[:3])

    def sync_all(self, descriptor: int) -> None:
        self._note("sync folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "sync")
        super().sync_all(descriptor)

    def replace(self, source: Path, target: Path) -> None:
        self._note("rename")
        super().replace(source, target)


def test_a_durable_write_syncs_the_content_before_the_name_and_the_name_before_it_returns(tmp_path: Path) -> None:
    disk = NotingDisk()
    files.write_durably(tmp_path / "a", b"content", disk=disk)
    assert (tmp_path / "a").read_bytes() == b"content"
    assert disk.calls == ["write", "write", "write", "sync", "rename", "sync folder"]


def test_a_durable_write_replaces_and_is_for_the_owner_alone(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    files.write_durably(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new"
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600
    files.write_durably(tmp_path / "b", b"", mode=0o640)
    assert (tmp_path / "b").stat().st_mode & 0o777 == 0o640


def test_a_durable_write_replaces_a_link_and_not_what_it_points_to(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"theirs")
    (tmp_path / "a").symlink_to(tmp_path / "target")
    files.write_durably(tmp_path / "a", b"mine")
    assert (tmp_path / "target").read_bytes() == b"theirs"
    assert not (tmp_path / "a").is_symlink()


@pytest.mark.parametrize("fails", ["write", "sync", "rename"])
def test_a_durable_write_that_fails_leaves_the_old_content_and_no_other_file(fails: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(StorageError, match="cannot write"):
        files.write_durably(tmp_path / "a", b"new", disk=NotingDisk(fails))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"old"}


@pytest.mark.parametrize("fails", ["write", "sync"])
def test_a_durable_creation_that_fails_leaves_nothing(fails: str, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot write"):
        files.create_durably(tmp_path / "a", b"new", disk=NotingDisk(fails))
    assert list(tmp_path.iterdir()) == []


def test_a_durable_creation_replaces_nothing(tmp_path: Path) -> None:
    files.create_durably(tmp_path / "a", b"first")
    with pytest.raises(FileExistsError):
        files.create_durably(tmp_path / "a", b"second")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"first"}


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EDQUOT, "quota"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "permission denied"),
        (errno.EIO, "check the disk"),
        (errno.EBADF, "Bad file descriptor"),
    ],
)
def test_what_the_disk_refuses_is_said_with_the_path_and_what_would_help(
    error: int, remedy: str, tmp_path: Path
) -> None:
    with pytest.raises(StorageError) as raised:
        files.write_durably(tmp_path / "a", b"x", disk=NotingDisk("write", error))
    assert str(tmp_path / "a") in str(raised.value)
    assert remedy in str(raised.value)
    assert raised.value.exit_code == EXIT_NOT_NOW
    assert isinstance(raised.value.__cause__, OSError)


@pytest.mark.parametrize(
    ("deed", "why"),
    [
        (lambda folder: files.write_durably(folder / "none" / "a", b"x"), "not there"),
        (lambda folder: files.sync_folder(folder / "none"), "not there"),
        (lambda folder: files.create_new(folder / "none" / "a"), "not there"),
        (lambda folder: files.make_private_folder(folder / "file" / "x"), "no folder"),
        (lambda folder: files.make_private_folder(folder / "file"), "no folder"),
        (lambda folder: files.write_durably(folder / ("x" * 300), b"x"), "too long"),
    ],
)
def test_what_cannot_be_done_is_a_storage_error(deed: Callable[[Path], object], why: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match=why):
        deed(tmp_path)


def test_a_new_file_must_not_exist_and_a_link_counts(tmp_path: Path) -> None:
    os.close(files.create_new(tmp_path / "a"))
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("a", "link"):
        with pytest.raises(FileExistsError):
            files.create_new(tmp_path / name)
    assert not (tmp_path / "nowhere").exists()


def test_private_folders_are_made_with_their_parents_and_found_ones_keep_their_mode(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir(mode=0o755)
    disk = NotingDisk()
    files.make_private_folder(tmp_path / "there" / "b" / "c", disk=disk)
    files.make_private_folder(tmp_path / "there" / "b" / "c")
    modes = [(tmp_path / name).stat().st_mode & 0o777 for name in ("there", "there/b", "there/b/c")]
    assert modes == [0o755, 0o700, 0o700]
    assert disk.calls == ["sync folder", "sync folder"]


def test_a_file_beneath_is_read(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c").write_bytes(b"content")
    with files.open_beneath(tmp_path, "a/b/c") as found:
        assert found.read() == b"content"
    with pytest.raises(FileNotFoundError):
        files.open_beneath(tmp_path, "a/none/c")


@pytest.mark.parametrize(
    "name",
    ["link", "folder link/secret", "loop", "fifo", "folder", "file/x", "../secret", "/etc/passwd", "", ".", "a\0b"],
)
def test_nothing_but_a_regular_file_beneath_is_opened(name: str, tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "folder").mkdir(parents=True)
    (tmp_path / "secret").write_bytes(b"secret")
    (root / "file").write_bytes(b"")
    (root / "link").symlink_to(tmp_path / "secret")
    (root / "folder link").symlink_to(tmp_path)
    (root / "loop").symlink_to(root / "loop")
    os.mkfifo(root / "fifo")
    with pytest.raises(StorageError) as raised:
        files.open_beneath(root, name)
    assert raised.value.code == "unsafe_path"


def descriptors() -> int:
    """Return how many this process has open; a new one gets the lowest free number."""
    lowest = os.open("/", os.O_RDONLY)
    os.close(lowest)
    return lowest


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    before = descriptors()
    (tmp_path / "folder").mkdir()
    files.write_durably(tmp_path / "a", b"x")
    files.open_beneath(tmp_path, "a").close()
    for name in ("folder", "none", "folder/none"):
        with pytest.raises((StorageError, FileNotFoundError)):
            files.open_beneath(tmp_path, name)
    assert descriptors() == before
