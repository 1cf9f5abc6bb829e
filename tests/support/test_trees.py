import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestration.core.errors import StorageError
from orchestration.support.trees import remove_tree


def test_a_missing_folder_is_no_error(tmp_path: Path) -> None:
    assert remove_tree(tmp_path / "none") is False


def test_a_folder_without_permissions_goes_all_the_same(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    (inner / "file").write_text("x", encoding="utf-8")
    inner.chmod(0)
    (tmp_path / "a").chmod(0o500)
    assert remove_tree(tmp_path / "a") is True
    assert not (tmp_path / "a").exists()


def test_what_a_link_points_to_stays(tmp_path: Path) -> None:
    treasure = tmp_path / "treasure"
    treasure.mkdir()
    (treasure / "gold").touch()
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "link").symlink_to(treasure)
    remove_tree(victim)
    assert (treasure / "gold").exists()


def test_a_link_in_the_folder_s_place_is_left_alone(tmp_path: Path) -> None:
    treasure = tmp_path / "treasure"
    treasure.mkdir()
    (tmp_path / "link").symlink_to(treasure)
    with pytest.raises(StorageError, match="no folder"):
        remove_tree(tmp_path / "link")
    assert treasure.exists()
    assert os.path.lexists(tmp_path / "link")


def test_a_tree_deeper_than_any_stack_or_path_goes(tmp_path: Path) -> None:
    deep = tmp_path / "deep"
    deep.mkdir()
    current = os.open(deep, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=current)
        inner = os.open("d", os.O_RDONLY, dir_fd=current)
        os.close(current)
        current = inner
    os.close(current)
    assert remove_tree(deep) is True
    assert not deep.exists()


def test_a_wide_tree_goes_with_few_descriptors_and_names_that_are_no_text(tmp_path: Path) -> None:
    wide = tmp_path / "wide"
    for number in range(300):
        (wide / f"{number}" / "inner").mkdir(parents=True)
        (wide / f"{number}" / "inner" / os.fsdecode(b"\xff\n")).touch()
    os.mkfifo(wide / "pipe")
    assert remove_tree(wide) is True
    assert not wide.exists()


def test_what_cannot_be_removed_is_told_and_the_rest_is_gone(tmp_path: Path, capability: Callable[[str], None]) -> None:
    capability("mount")
    folder = tmp_path / "folder"
    (folder / "mounted").mkdir(parents=True)
    (folder / "other" / "inner").mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(folder / "mounted")], check=True)
    try:
        with pytest.raises(StorageError, match="cannot be removed"):
            remove_tree(folder)
        assert [path.name for path in folder.iterdir()] == ["mounted"]
    finally:
        subprocess.run(["umount", "--lazy", str(folder / "mounted")], check=True)
    assert remove_tree(folder) is True
