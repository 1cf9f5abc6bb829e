"""The operator sees the work: branch and worktree follow it, unless a person has changed them."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.adapters.git.conftest import World

Git = Callable[..., str]


def test_the_first_collect_makes_branch_and_worktree(world: World) -> None:
    _, revision = world.publish()

    assert revision.published
    assert world.commit_of("refs/heads/task/t-1") == revision.commit
    assert (world.worktree() / "src" / "cart.py").read_text() == "total = 2\n"
    assert world.status(world.worktree()) == ""
    assert world.status() == ""


def test_the_worktree_has_an_empty_hooks_path_of_its_own(world: World, git: Git) -> None:
    world.publish()

    hooks = Path(git(world.worktree(), "config", "core.hooksPath"))
    assert list(hooks.iterdir()) == []
    assert world.repo not in hooks.parents
    assert git(world.repo, "config", "--default", "none", "core.hooksPath") == "none"


def test_a_relative_hooks_path_does_not_run_hooks_that_the_agent_committed(
    world: World, git: Git, tmp_path: Path
) -> None:
    canary = tmp_path / "canary"
    git(world.repo, "config", "core.hooksPath", "hooks")
    spec = world.spec()
    folders = world.prepare(spec)
    for name in ("post-checkout", "pre-commit", "reference-transaction"):
        hook = folders.workspace / "hooks" / name
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(f"#!/bin/sh\necho {name} >>{canary}\n")
        hook.chmod(0o755)
    revision = world.take(spec, folders)
    published = world.repository.publish(world.task(), revision)

    git(world.worktree(), "commit", "-q", "--allow-empty", "-m", "by a person")
    assert not canary.exists()

    git(world.repo, "worktree", "add", "-q", str(tmp_path / "plain"), published.commit)
    assert canary.exists(), "the planted hooks must run where nothing shields from them"


def test_a_later_collect_moves_both(world: World) -> None:
    world.publish()
    task, second = world.publish(files={"new/file.txt": "x\n"}, attempt=2)

    assert second.published
    assert task.revision is not None
    assert world.commit_of("refs/heads/task/t-1") == second.commit
    assert (world.worktree() / "new" / "file.txt").exists()
    assert (world.worktree() / "src" / "cart.py").read_text() == "total = 1\n"
    assert world.status(world.worktree()) == ""


@pytest.mark.parametrize("change", ["edited", "staged", "untracked", "deleted"])
def test_a_worktree_that_a_person_changed_is_not_touched(world: World, git: Git, change: str) -> None:
    _, first = world.publish()
    tree = world.worktree()
    if change == "deleted":
        (tree / "README.md").unlink()
    else:
        (tree / ("mine.txt" if change == "untracked" else "README.md")).write_text("mine\n")
    if change == "staged":
        git(tree, "add", "-A")
    before = world.status(tree)

    _, second = world.publish(files={"other.txt": "x\n"}, attempt=2)

    assert not second.published
    assert any("has changes of its own" in flag for flag in second.flags)
    assert world.commit_of("refs/heads/task/t-1") == first.commit
    assert world.status(tree) == before


@pytest.mark.full
def test_ignored_files_in_the_worktree_are_no_change(world: World) -> None:
    world.publish()
    (world.worktree() / "build.log").write_text("noise\n")

    assert world.publish(files={"other.txt": "x\n"}, attempt=2)[1].published
    assert (world.worktree() / "build.log").exists()


def test_a_branch_that_a_person_moved_is_not_touched(world: World, git: Git) -> None:
    world.publish()
    git(world.worktree(), "commit", "-q", "--allow-empty", "-m", "by a person")
    theirs = world.commit_of("refs/heads/task/t-1")

    _, second = world.publish(files={"other.txt": "x\n"}, attempt=2)

    assert not second.published
    assert any("which taskq did not collect" in flag for flag in second.flags)
    assert world.commit_of("refs/heads/task/t-1") == theirs
    assert world.commit_of(second.ref) == second.commit


@pytest.mark.full
def test_a_branch_of_that_name_from_before_is_not_touched(world: World, git: Git) -> None:
    git(world.repo, "branch", "task/t-1", "main~1")
    git(world.repo, "commit", "-q", "--allow-empty", "-m", "three")

    _, revision = world.publish()

    assert not revision.published
    assert not (world.folder / "worktrees").exists()


def test_a_branch_that_is_checked_out_elsewhere_is_not_touched(world: World, git: Git) -> None:
    revision = world.collected()
    git(world.repo, "checkout", "-q", "-b", "task/t-1")

    published = world.repository.publish(world.task(), revision)

    assert not published.published
    assert any("is checked out in" in flag for flag in published.flags)
    assert world.status() == ""


def test_a_folder_that_is_not_ours_is_not_touched(world: World) -> None:
    place = world.folder / "desk"
    place.mkdir()
    (place / "letter.txt").write_text("mine")

    revision = world.repository.publish(world.task(worktree_path=str(place)), world.collected())

    assert not revision.published
    assert [path.name for path in place.iterdir()] == ["letter.txt"]


def test_another_tasks_worktree_is_not_touched(world: World) -> None:
    _, first = world.publish("t-1")
    path = str(world.worktree("t-1"))

    second = world.repository.publish(world.task("t-2", worktree_path=path), world.collected("t-2", {"b": "b"}))

    assert not second.published
    assert world.commit_of("HEAD", world.worktree("t-1")) == first.commit


@pytest.mark.full
def test_a_worktree_in_the_middle_of_a_rebase_is_not_touched(world: World) -> None:
    world.publish()
    (admin,) = (world.repo / ".git" / "worktrees").iterdir()
    (admin / "rebase-merge").mkdir()

    assert not world.publish(files={"b": "b"}, attempt=2)[1].published


@pytest.mark.full
def test_a_worktree_that_was_deleted_is_made_again(world: World) -> None:
    world.publish()
    shutil.rmtree(world.worktree())

    _, second = world.publish(files={"b": "b"}, attempt=2)

    assert second.published
    assert (world.worktree() / "b").exists()


@pytest.mark.full
def test_a_worktree_that_a_crash_left_unfinished_is_made_again(world: World, git: Git) -> None:
    revision = world.collected()
    git(world.repo, "branch", "task/t-1", revision.commit)
    place = world.folder / "desk"
    git(world.repo, "worktree", "add", "-q", "--no-checkout", str(place), "task/t-1")

    published = world.repository.publish(world.task(worktree_path=str(place)), revision)

    assert published.published
    assert world.status(place) == ""


def test_a_worktree_that_a_crash_left_behind_its_branch_follows(world: World, git: Git) -> None:
    world.publish()
    second = world.collected(files={"b": "b"}, attempt=2)
    git(world.repo, "update-ref", "refs/heads/task/t-1", second.commit)

    assert world.repository.publish(world.task(), second).published
    assert world.status(world.worktree()) == ""


def test_a_dirty_run_takes_the_worktree_along_from_what_was_kept(world: World) -> None:
    task, _ = world.publish()
    (world.worktree() / "mine.txt").write_text("mine\n")
    (world.worktree() / "README.md").unlink()
    kept = world.repository.preserve(task)

    _, second = world.publish(files={"more.txt": "more\n"}, attempt=2, start_commit=kept)

    assert second.published
    assert {path.name for path in world.worktree().iterdir()} == {".git", ".gitignore", "src", "mine.txt", "more.txt"}
    assert world.status(world.worktree()) == ""


@pytest.mark.full
def test_what_changed_in_the_worktree_after_it_was_kept_is_not_touched(world: World) -> None:
    task, _ = world.publish()
    (world.worktree() / "mine.txt").write_text("mine\n")
    kept = world.repository.preserve(task)
    revision = world.collected(files={"more.txt": "more\n"}, attempt=2, start_commit=kept)
    (world.worktree() / "mine.txt").write_text("mine, improved\n")

    assert not world.repository.publish(task, revision).published
    assert (world.worktree() / "mine.txt").read_text() == "mine, improved\n"


@pytest.mark.full
def test_a_bare_repository_gets_a_worktree_and_says_what_it_shares(world: World, git: Git) -> None:
    bare = world.folder / "bare.git"
    git(world.folder, "clone", "-q", "--bare", str(world.repo), str(bare))
    there = World(folder=world.folder, repo=bare)

    _, revision = there.publish()

    assert revision.published
    assert any("shares the repository's hooks" in flag for flag in revision.flags)
    assert there.status(there.worktree()) == ""
    assert git(bare, "rev-parse", "--is-bare-repository") == "true"


def test_the_diff_shows_what_the_revision_changes_and_no_attribute_hides_it(world: World) -> None:
    files = {"src/cart.py": "total = 2\n", ".gitattributes": "*.py -diff\n"}
    revision = world.collected(files=files)

    text = b"".join(world.repository.diff(revision, world.repo)).decode()
    stat = b"".join(world.repository.diff(revision, world.repo, stat=True)).decode()

    assert "-total = 1\n+total = 2\n" in text
    assert "2 files changed" in stat


def test_a_diff_that_nobody_reads_to_its_end_leaves_no_process(world: World) -> None:
    revision = world.collected(files={"big.txt": "line\n" * 200_000})
    chunks = iter(world.repository.diff(revision, world.repo))
    assert next(chunks).startswith(b"diff --git")
    chunks.close()  # type: ignore[attr-defined]  # it is a generator
