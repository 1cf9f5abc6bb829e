"""What a person changed is kept before anything is destroyed, and only what is ours and kept is removed."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestration.core.errors import BusyError, GitError
from tests.adapters.git.conftest import NOW, World

Git = Callable[..., str]


def show(world: World, git: Git, commit: str, path: str) -> str:
    return git(world.repo, "show", f"{commit}:{path}")


def test_where_a_person_changed_nothing_there_is_nothing_to_keep(world: World) -> None:
    task, _ = world.publish()
    assert world.repository.preserve(task) is None
    assert not any("/keep/" in ref for ref in world.refs())


def test_a_task_that_was_never_published_has_nothing_to_keep(world: World) -> None:
    assert world.repository.preserve(world.task()) is None


def test_edits_untracked_files_and_the_index_are_kept_and_stay_in_place(world: World, git: Git) -> None:
    task, revision = world.publish()
    tree = world.worktree()
    (tree / "README.md").write_text("staged\n")
    git(tree, "add", "README.md")
    (tree / "README.md").write_text("edited\n")
    (tree / "new dir").mkdir()
    (tree / "new dir" / "näme.txt").write_text("untracked\n")
    (tree / "build.log").write_text("ignored\n")
    (tree / "src" / "cart.py").unlink()
    before = world.status(tree)
    (admin,) = (world.repo / ".git" / "worktrees").iterdir()
    index = (admin / "index").read_bytes()

    kept = world.repository.preserve(task)

    assert kept is not None
    assert world.commit_of("refs/taskq/q1/keep/t-1/1.1") == kept
    assert show(world, git, kept, "README.md") == "edited"
    assert show(world, git, kept, "new dir/näme.txt") == "untracked"
    assert show(world, git, f"{kept}^2", "README.md") == "staged"
    assert world.commit_of(f"{kept}^1") == revision.commit
    assert "cart.py" not in git(world.repo, "ls-tree", "-r", "--name-only", kept)
    assert "build.log" not in git(world.repo, "ls-tree", "-r", "--name-only", kept)
    assert world.status(tree) == before
    assert (admin / "index").read_bytes() == index


@pytest.mark.full
def test_keeping_the_same_again_makes_no_second_ref(world: World) -> None:
    task, _ = world.publish()
    (world.worktree() / "mine.txt").write_text("1\n")
    first = world.repository.preserve(task)
    assert world.repository.preserve(task) == first

    (world.worktree() / "mine.txt").write_text("2\n")
    assert world.repository.preserve(task) != first
    assert len([ref for ref in world.refs() if "/keep/" in ref]) == 2


def test_commits_of_a_person_on_the_branch_are_kept(world: World, git: Git) -> None:
    task, _ = world.publish()
    git(world.worktree(), "commit", "-q", "--allow-empty", "-m", "mine")
    theirs = world.commit_of("refs/heads/task/t-1")

    assert world.repository.preserve(task) == theirs
    assert world.commit_of("refs/taskq/q1/keep/t-1/1.1") == theirs
    assert world.repository.preserve(task) == theirs


@pytest.mark.full
def test_a_repository_inside_the_worktree_cannot_be_kept_and_says_so(world: World, git: Git) -> None:
    task, _ = world.publish()
    (world.worktree() / "inner").mkdir()
    git(world.worktree(), "init", "-q", "inner")
    (world.worktree() / "inner" / "x").write_text("x")
    git(world.worktree() / "inner", "add", "x")
    git(world.worktree() / "inner", "commit", "-q", "-m", "x")

    with pytest.raises(GitError) as caught:
        world.repository.preserve(task)
    assert caught.value.code == "nested_repository"
    with pytest.raises(GitError):
        world.disposal.remove_worktree(task)
    assert (world.worktree() / "inner" / "x").exists()


def test_a_clean_worktree_is_removed_with_its_registration(world: World, git: Git) -> None:
    task, _ = world.publish("t-1")
    world.publish("t-2", {"b": "b"})
    (world.worktree() / "build.log").write_text("ignored\n")

    assert world.disposal.remove_worktree(task)

    assert not list((world.folder / "worktrees").glob("*/t-1"))
    assert "/t-1 " not in git(world.repo, "worktree", "list")
    assert "/t-2 " in git(world.repo, "worktree", "list")
    assert not world.disposal.remove_worktree(task)


def test_a_changed_worktree_is_removed_only_after_it_was_kept(world: World, git: Git) -> None:
    task, _ = world.publish()
    (world.worktree() / "mine.txt").write_text("mine\n")

    with pytest.raises(BusyError, match=r"kept nowhere else.*mine\.txt") as caught:
        world.disposal.remove_worktree(task)
    assert caught.value.code == "not_preserved"
    assert (world.worktree() / "mine.txt").exists()

    kept = world.repository.preserve(task)
    assert kept is not None
    assert world.disposal.remove_worktree(task)
    assert show(world, git, kept, "mine.txt") == "mine"


@pytest.mark.full
def test_a_detached_commit_of_a_person_is_kept_before_its_worktree_goes(world: World, git: Git) -> None:
    task, _ = world.publish()
    git(world.worktree(), "checkout", "-q", "--detach")
    git(world.worktree(), "commit", "-q", "--allow-empty", "-m", "mine")
    theirs = world.commit_of("HEAD", world.worktree())

    with pytest.raises(BusyError):
        world.disposal.remove_worktree(task)
    assert world.repository.preserve(task) == theirs
    assert world.disposal.remove_worktree(task)


@pytest.mark.full
def test_a_locked_worktree_stays(world: World, git: Git) -> None:
    task, _ = world.publish()
    git(world.repo, "worktree", "lock", str(world.worktree()))

    with pytest.raises(BusyError, match="git worktree unlock") as caught:
        world.disposal.remove_worktree(task)
    assert caught.value.code == "locked"


def test_a_worktree_that_a_person_made_stays(world: World, git: Git) -> None:
    place = world.folder / "desk"
    git(world.repo, "worktree", "add", "-q", "-b", "task/t-1", str(place))

    with pytest.raises(BusyError) as caught:
        world.disposal.remove_worktree(world.task(worktree_path=str(place)))
    assert caught.value.code == "not_ours"
    assert (place / "README.md").exists()


@pytest.mark.full
def test_a_worktree_whose_folder_is_gone_loses_its_registration(world: World, git: Git) -> None:
    task, _ = world.publish()
    shutil.rmtree(world.worktree())

    assert world.disposal.remove_worktree(task)
    assert "/t-1 " not in git(world.repo, "worktree", "list")


def test_a_landed_branch_is_removed_and_an_unlanded_one_stays(world: World) -> None:
    task, revision = world.publish()
    world.disposal.remove_worktree(task)

    assert not world.disposal.remove_branch(task)
    assert world.commit_of("refs/heads/task/t-1") == revision.commit

    world.repository.land(task, revision, at=NOW)
    assert world.disposal.remove_branch(task)
    assert "refs/heads/task/t-1" not in world.refs()
    assert world.commit_of(revision.ref) == revision.commit
    assert not world.disposal.remove_branch(task)


def test_a_branch_that_is_still_checked_out_stays(world: World) -> None:
    task, revision = world.publish()
    world.repository.land(task, revision, at=NOW)
    assert not world.disposal.remove_branch(task)


def test_the_base_itself_is_never_removed(world: World, git: Git) -> None:
    git(world.repo, "checkout", "-q", "--detach")
    assert not world.disposal.remove_branch(world.task()._replace(branch="main"))
    assert "refs/heads/main" in world.refs()


@pytest.mark.full
def test_removing_a_worktree_follows_no_link_out_of_it(world: World) -> None:
    task, _ = world.publish()
    outside = world.folder / "outside"
    outside.mkdir()
    (outside / "precious").write_text("x")
    (world.worktree() / "x.log").symlink_to(outside)

    assert world.disposal.remove_worktree(task)
    assert (outside / "precious").exists()


def test_the_sample_is_where_the_design_says(world: World) -> None:
    world.publish()
    path = world.worktree()
    assert path.parent.name.startswith("shop-")
    assert Path(path.name) == Path("t-1")
