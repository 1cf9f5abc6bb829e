"""A workspace whose git is broken is taken as a tar, which is hostile input too."""

import io
import shutil
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from orchestration.adapters.git.archive import unpack
from orchestration.core.attempts import AttemptFolders, AttemptSpec
from orchestration.core.errors import WorkFailedError
from orchestration.core.facts import Revision
from orchestration.core.models import Limits
from tests.adapters.git.conftest import World


def member(name: str, content: bytes | None = b"x", **changes: object) -> tuple[tarfile.TarInfo, bytes]:
    found = tarfile.TarInfo(name)
    found.mode = 0o644
    found.size = len(content or b"")
    for key, value in changes.items():
        setattr(found, key, value)
    return found, content or b""


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, None, type=kind, linkname=target)


def write(path: Path, members: Iterable[tuple[tarfile.TarInfo, bytes]]) -> Path:
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for head, content in members:
            tar.addfile(head, io.BytesIO(content))
    return path


def archive_of(folder: Path, to: Path) -> Path:
    """Write a tar as a sandbox does: files and links, without what git would take for its own."""
    with tarfile.open(to, "w") as tar:
        for path in sorted(folder.rglob("*")):
            if ".git" not in path.relative_to(folder).parts and (path.is_file() or path.is_symlink()):
                tar.add(path, str(path.relative_to(folder)))
    return to


def broken(world: World, **changes: object) -> tuple[AttemptSpec, AttemptFolders]:
    """Return an attempt whose agent worked and then broke its git."""
    spec = world.spec(**changes)
    folders = world.prepare(spec)
    (folders.workspace / "new.txt").write_text("new\n")
    (folders.workspace / "tool.sh").write_text("#!/bin/sh\n")
    (folders.workspace / "tool.sh").chmod(0o755)
    (folders.workspace / "link").symlink_to("README.md")
    (folders.workspace / "noise.log").write_text("ignored\n")
    (folders.workspace / "src" / "cart.py").unlink()
    shutil.rmtree(folders.git)
    assert world.collect(spec, folders).returncode != 0
    return spec, folders


def take(world: World, spec: AttemptSpec, folders: AttemptFolders) -> Revision | None:
    tar = archive_of(folders.workspace, folders.inbox / "work.tar")
    return world.workspace.accept_archive(spec, folders, tar)


def test_the_state_of_a_broken_workspace_becomes_one_commit_on_its_start(world: World) -> None:
    spec, folders = broken(world)

    revision = take(world, spec, folders)

    assert revision is not None
    assert revision.source == "archive"
    assert {(change.path, change.status) for change in revision.files} == {
        ("new.txt", "A"),
        ("tool.sh", "A"),
        ("link", "A"),
        ("src/cart.py", "D"),
    }
    assert world.commit_of(f"{revision.commit}^") == spec.start_commit
    assert world.commit_of(revision.ref) == revision.commit
    assert sorted(path.name for path in folders.inbox.iterdir()) == ["work.tar"]


@pytest.mark.full
def test_an_archive_after_a_dirty_run_builds_on_what_it_started_from(world: World) -> None:
    first = world.work(files={"one.txt": "1\n"})
    spec, folders = broken(world, attempt=2, start_commit=first.commit)

    revision = take(world, spec, folders)

    assert revision is not None
    assert world.commit_of(f"{revision.commit}^") == first.commit
    assert "one.txt" in {change.path for change in revision.files}


def test_an_archive_without_a_change_is_none(world: World) -> None:
    spec = world.spec()
    assert take(world, spec, world.prepare(spec)) is None


def test_attributes_in_an_archive_run_nothing_on_the_host(world: World) -> None:
    spec, folders = broken(world)
    (folders.workspace / ".gitattributes").write_text("* filter=evil\n")

    revision = take(world, spec, folders)

    assert revision is not None
    assert "'.gitattributes' names the driver filter=evil" in revision.flags


def test_an_archive_with_an_unsafe_link_is_refused(world: World) -> None:
    spec, folders = broken(world)
    (folders.workspace / "passwd").symlink_to("/etc/passwd")
    before = world.objects()

    with pytest.raises(WorkFailedError, match="absolute target") as caught:
        take(world, spec, folders)

    assert caught.value.code == "unsafe_tree"
    assert world.objects() == before


@pytest.mark.full
def test_the_bases_own_odd_links_do_not_make_it_refuse(world: World, git: Callable[..., str]) -> None:
    (world.repo / "abs").symlink_to("/etc/hostname")
    git(world.repo, "add", "-A")
    git(world.repo, "commit", "-q", "-m", "odd")
    spec, folders = broken(world)
    assert take(world, spec, folders) is not None


@pytest.mark.parametrize(
    "members",
    [
        [member("../out")],
        [member("/abs")],
        [member("a/../../out")],
        [member(".git/hooks/post-checkout")],
        [member("a/.GIT/config")],
        [member("git~1/config")],
        [link("a", "/tmp"), member("a/b")],
        [member("a/b"), link("a", "/tmp")],
        [link("a", "."), link("a/b", "x")],
        [member("a"), member("a")],
        [member("a"), member("a/b")],
        [link("a", "x"), link("a", "y")],
        [link("hard", "/etc/passwd", tarfile.LNKTYPE)],
        [member("fifo", None, type=tarfile.FIFOTYPE)],
        [member("device", None, type=tarfile.CHRTYPE, devmajor=1, devminor=3)],
        [member("sparse", None, type=tarfile.GNUTYPE_SPARSE)],
        [member("holes", b"1\n0\n1\nx", pax_headers={"GNU.sparse.major": "1", "GNU.sparse.minor": "0"})],
        [member("x" * 300)],
        [member("d/" * 2500 + "x")],
    ],
    ids=lambda members: " then ".join(info.name[:25] for info, _ in members),
)
def test_members_that_reach_out_or_are_no_files_are_refused(
    tmp_path: Path, members: list[tuple[tarfile.TarInfo, bytes]]
) -> None:
    tar = write(tmp_path / "x.tar", members)
    with pytest.raises(WorkFailedError) as caught:
        unpack(tar, tmp_path / "into", limit=10_000_000, most=100)
    assert caught.value.code in {"unsafe_tree", "bad_archive"}
    assert sorted(path.name for path in tmp_path.iterdir()) in (["into", "x.tar"], ["x.tar"])


def test_junk_a_cut_tar_and_too_much_are_refused(tmp_path: Path) -> None:
    whole = write(tmp_path / "x.tar", [member(f"f{number}", b"x" * 2000) for number in range(20)])
    cut = tmp_path / "cut.tar"
    cut.write_bytes(whole.read_bytes()[:5000])
    junk = tmp_path / "junk.tar"
    junk.write_bytes(b"no tar" * 1000)
    cases = ((cut, 10_000_000, 100), (junk, 10_000_000, 100), (whole, 1000, 100), (whole, 10_000_000, 5))
    for number, (path, limit, most) in enumerate(cases):
        with pytest.raises(WorkFailedError) as caught:
            unpack(path, tmp_path / f"into{number}", limit=limit, most=most)
        assert caught.value.code in {"bad_archive", "unsafe_tree"}


@pytest.mark.full
def test_limits_of_files_hold_for_archives_too(world: World) -> None:
    spec, folders = broken(world, limits=Limits(files=2))
    with pytest.raises(WorkFailedError, match="changes more than 2 files"):
        take(world, spec, folders)
