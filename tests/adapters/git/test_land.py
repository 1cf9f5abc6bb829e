"""Landing: the base moves by compare-and-swap, a clean checkout follows, and nothing else is touched."""

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestration.core.errors import BusyError, RepositoryError
from orchestration.core.facts import Revision
from orchestration.core.models import Task
from tests.adapters.git.conftest import NOW, World

Git = Callable[..., str]


def land(world: World, task: Task, revision: Revision) -> str:
    return world.repository.land(task, revision, at=NOW).commit


def test_the_base_and_the_operators_clean_checkout_come_along(world: World, git: Git) -> None:
    task, revision = world.publish()
    (world.repo / "notes.txt").write_text("untracked stays\n")

    assert land(world, task, revision) == revision.commit

    assert world.commit_of("main") == revision.commit
    assert (world.repo / "src" / "cart.py").read_text() == "total = 2\n"
    assert world.status() == "?? notes.txt"
    assert git(world.repo, "reflog", "show", "-1", "--format=%gs", "main") == "taskq: land t-1"


def test_landing_twice_changes_nothing(world: World) -> None:
    task, revision = world.publish()
    land(world, task, revision)
    before = world.refs()

    assert land(world, task, revision) == revision.commit
    assert world.refs() == before


@pytest.mark.full
def test_a_base_that_nobody_has_checked_out_moves_alone(world: World, git: Git) -> None:
    task, revision = world.publish()
    git(world.repo, "checkout", "-q", "-b", "elsewhere")
    (world.repo / "README.md").write_text("half done\n")

    land(world, task, revision)

    assert world.commit_of("main") == revision.commit
    assert (world.repo / "README.md").read_text() == "half done\n"


@pytest.mark.full
def test_a_base_that_is_checked_out_in_a_linked_worktree_is_followed_there(world: World, git: Git) -> None:
    git(world.repo, "checkout", "-q", "-b", "elsewhere")
    git(world.repo, "worktree", "add", "-q", str(world.folder / "second"), "main")
    task, revision = world.publish()

    land(world, task, revision)

    assert (world.folder / "second" / "src" / "cart.py").read_text() == "total = 2\n"
    assert world.status(world.folder / "second") == ""


@pytest.mark.parametrize("staged", [False, True])
def test_a_checkout_with_changes_refuses_and_nothing_moves(world: World, git: Git, staged: bool) -> None:  # noqa: FBT001 - a parameter of the test
    task, revision = world.publish()
    (world.repo / "README.md").write_text("half done\n")
    if staged:
        git(world.repo, "add", "README.md")
    before = (world.refs(), world.status())

    with pytest.raises(BusyError, match=r"uncommitted changes.*commit or stash") as caught:
        land(world, task, revision)

    assert str(world.repo) in str(caught.value)
    assert (world.refs(), world.status()) == before


def test_an_untracked_file_that_would_be_overwritten_refuses(world: World) -> None:
    task, revision = world.publish(files={"new.txt": "theirs\n"})
    (world.repo / "new.txt").write_text("mine\n")

    with pytest.raises(BusyError, match=r"new\.txt"):
        land(world, task, revision)

    assert (world.repo / "new.txt").read_text() == "mine\n"
    assert world.commit_of("main") != revision.commit


@pytest.mark.full
def test_an_ignored_file_that_would_be_overwritten_refuses(world: World) -> None:
    spec = world.spec()
    folders = world.prepare(spec)
    (folders.workspace / "x.log").write_text("theirs\n")
    world.agent(folders, "add", "-f", "x.log")
    revision = world.take(spec, folders)
    (world.repo / "x.log").write_text("mine\n")

    with pytest.raises(BusyError):
        land(world, world.task(), revision)
    assert (world.repo / "x.log").read_text() == "mine\n"


@pytest.mark.full
def test_a_checkout_in_the_middle_of_a_merge_refuses(world: World) -> None:
    task, revision = world.publish()
    (world.repo / ".git" / "MERGE_HEAD").write_text(world.commit_of("main") + "\n")

    with pytest.raises(BusyError, match="a merge is under way"):
        land(world, task, revision)


def test_a_base_that_moved_on_is_no_fast_forward(world: World, git: Git) -> None:
    task, revision = world.publish()
    git(world.repo, "commit", "-q", "--allow-empty", "-m", "three")

    with pytest.raises(RepositoryError, match="send the task back") as caught:
        land(world, task, revision)

    assert caught.value.code == "not_fast_forward"


def test_a_base_that_is_no_local_branch_is_refused(world: World, git: Git) -> None:
    task, revision = world.publish()
    git(world.repo, "tag", "v1")

    for base in ("v1", "no such branch", "HEAD~1"):
        with pytest.raises(RepositoryError) as caught:
            land(world, task._replace(base=base), revision)
        assert caught.value.code == "no_branch"


def test_only_the_commit_that_was_approved_is_landed(world: World, git: Git) -> None:
    task, revision = world.publish()
    git(world.repo, "update-ref", revision.ref, "main")

    with pytest.raises(RepositoryError) as caught:
        land(world, task, revision)
    assert caught.value.code == "revision_gone"


@pytest.mark.full
def test_a_sparse_checkout_is_not_brought_along(world: World, git: Git) -> None:
    task, revision = world.publish()
    git(world.repo, "sparse-checkout", "set", "src")

    with pytest.raises(RepositoryError) as caught:
        land(world, task, revision)
    assert caught.value.code == "sparse"


def test_paths_that_go_through_the_operators_filter_are_not_written_raw(world: World, git: Git) -> None:
    (world.repo / ".gitattributes").write_text("*.bin filter=up\n")
    git(world.repo, "add", "-A")
    git(world.repo, "commit", "-q", "-m", "attributes")
    git(world.repo, "config", "filter.up.smudge", "tr a-z A-Z")
    git(world.repo, "config", "filter.up.clean", "tr A-Z a-z")
    task, revision = world.publish("t-1", {"x.bin": "abc\n"})
    before = world.commit_of("main")

    with pytest.raises(RepositoryError) as caught:
        land(world, task, revision)

    assert caught.value.code == "filtered"
    assert world.commit_of("main") == before
    other, plain = world.publish("t-2", {"plain.txt": "abc\n"})
    assert land(world, other, plain) == plain.commit


@pytest.mark.full
def test_line_endings_are_written_as_the_operators_repository_wants_them(world: World, git: Git) -> None:
    git(world.repo, "config", "core.autocrlf", "true")
    git(world.repo, "rm", "-q", "--cached", "-r", ".")
    git(world.repo, "reset", "-q", "--hard")
    task, revision = world.publish(files={"new.txt": "line\n"})

    land(world, task, revision)

    assert (world.repo / "new.txt").read_bytes() == b"line\r\n"
    assert world.status() == ""
    assert world.status(world.worktree()) == ""


def test_the_operators_hooks_do_not_run_for_landing(world: World, tmp_path: Path, git: Git) -> None:
    canary = tmp_path / "canary"
    task, revision = world.publish()
    for name in ("reference-transaction", "post-checkout", "post-merge"):
        hook = world.repo / ".git" / "hooks" / name
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(f"#!/bin/sh\necho {name} >>{canary}\n")
        hook.chmod(0o755)
    land(world, task, revision)
    assert not canary.exists()

    git(world.repo, "update-ref", "refs/heads/x", "main")
    assert canary.exists(), "the hook must run where nothing holds it back"
