import os
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
