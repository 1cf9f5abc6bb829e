"""The base commit's files: as committed, whatever lies in the checkout and whatever attributes say."""

import tarfile
from pathlib import Path

import pytest

from orchestration.adapters.git.base_tree import GitBaseTree
from orchestration.core.errors import RepositoryError
from tests.adapters.git.conftest import World, plain_git


def base_of(world: World, **files: str) -> GitBaseTree:
    """Return the base tree of a repository whose last commit adds *files*; the checkout is changed afterwards."""
    for name, content in files.items():
        (world.repo / name).write_text(content, encoding="utf-8")
    plain_git(world.repo, "add", ".")
    plain_git(world.repo, "commit", "--quiet", "-m", "more")
    spec = world.spec()
    world.prepare(spec)
    for name in files:
        (world.repo / name).write_text("changed since", encoding="utf-8")
    return world.workspace.base(spec)


def test_a_file_is_read_as_committed(world: World) -> None:
    assert base_of(world, settings="as committed").read("settings", limit=100) == b"as committed"


def test_a_file_that_is_not_there_is_none(world: World) -> None:
    assert base_of(world, other="x").read("settings", limit=100) is None


def test_a_folder_or_a_link_is_not_read(world: World) -> None:
    (world.repo / "link").symlink_to("/etc/passwd")
    tree = base_of(world, other="x")
    for path in ("link", "src"):
        with pytest.raises(RepositoryError, match="no regular file"):
            tree.read(path, limit=10_000)


def test_a_file_above_the_limit_is_refused(world: World) -> None:
    with pytest.raises(RepositoryError, match="larger than 10 bytes"):
        base_of(world, settings="x" * 11).read("settings", limit=10)


def test_the_export_holds_every_file_though_attributes_say_otherwise(world: World, tmp_path: Path) -> None:
    attributes = "secret.txt export-ignore\nid.txt export-subst\n"
    tree = base_of(world, **{".gitattributes": attributes, "secret.txt": "kept", "id.txt": "$Format:%H$"})
    tree.export(tmp_path / "base.tar")
    with tarfile.open(tmp_path / "base.tar") as archive:
        content = {name: archive.extractfile(name).read() for name in ("secret.txt", "id.txt")}  # type: ignore[union-attr]
        assert {member.uid for member in archive} == {0}
        assert set(tree.blobs()) == {member.name for member in archive if member.isfile()}
    assert content == {"secret.txt": b"kept", "id.txt": b"$Format:%H$"}
