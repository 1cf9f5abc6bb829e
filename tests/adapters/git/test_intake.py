"""What `taskq add` learns of a repository, and how it refuses."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestration.adapters.git.intake import current_branch, inspect
from orchestration.core.errors import GitError, RepositoryError, UsageError
from tests.adapters.git.conftest import World

Git = Callable[..., str]


def refusal(repo: Path, base: str = "main", branch: str | None = None) -> tuple[str | None, str]:
    with pytest.raises(RepositoryError) as caught:
        inspect(repo, base, branch)
    return caught.value.code, str(caught.value)


@pytest.mark.parametrize("base", ["main", "HEAD", "v1", "main~0", "origin/main"])
def test_a_branch_tag_or_expression_names_the_base(world: World, git: Git, base: str) -> None:
    git(world.repo, "tag", "v1")
    git(world.repo, "update-ref", "refs/remotes/origin/main", "main")

    facts = inspect(world.repo, base, "task/t-1")

    assert facts.root == world.repo
    assert facts.common_dir == world.repo / ".git"
    assert facts.base_commit == world.commit_of("main")


def test_a_folder_below_the_top_a_worktree_and_a_git_dir_find_the_repository(world: World, git: Git) -> None:
    git(world.repo, "worktree", "add", "-q", str(world.folder / "second"), "-b", "second")

    assert inspect(world.repo / "src", "main", None).root == world.repo
    assert inspect(world.repo / ".git", "main", None).root == world.repo
    assert inspect(world.folder / "second", "main", None).common_dir == world.repo / ".git"
    assert inspect(world.folder / "second", "main", None).root == world.folder / "second"


def test_a_bare_repository_is_its_own_root(world: World, git: Git) -> None:
    git(world.folder, "clone", "-q", "--bare", str(world.repo), "bare.git")

    facts = inspect(world.folder / "bare.git", "main", "task/t-1")

    assert facts.root == facts.common_dir == world.folder / "bare.git"
    assert current_branch(world.folder / "bare.git") == "main"


def test_a_branch_wins_over_a_tag_of_its_name(world: World, git: Git) -> None:
    git(world.repo, "tag", "main", "main~1")
    git(world.repo, "pack-refs", "--all")
    assert inspect(world.repo, "main", None).base_commit == world.commit_of("refs/heads/main")


def test_no_folder_no_repository_and_no_such_base_are_told_apart(world: World) -> None:
    (world.folder / "plain").mkdir()

    assert refusal(world.folder / "absent")[1].endswith("does not exist; give the folder of a git repository")
    assert refusal(world.repo / "README.md")[1].endswith("is no folder; give the folder of a git repository")
    assert refusal(world.folder / "plain")[1].endswith("is no git repository; make one with: git init")
    code, message = refusal(world.repo, "mian")
    assert code == "no_base"
    assert message == f"no branch, tag or commit 'mian' in {world.repo}; branches: main"


def test_a_repository_without_a_commit_says_so(world: World, git: Git) -> None:
    git(world.folder, "init", "-q", "-b", "main", "empty")
    assert refusal(world.folder / "empty")[1].endswith("it has no commit yet")


@pytest.mark.parametrize("base", ["", "-x", "--upload-pack=x", "a b", "a..b", "^main", ":/x", "x\n", "*", "y" * 300])
def test_what_could_be_an_option_or_an_expression_of_many_is_no_base(world: World, base: str) -> None:
    assert refusal(world.repo, base)[0] == "no_base"


def test_a_branch_that_is_checked_out_is_named_with_its_place(world: World, git: Git) -> None:
    git(world.repo, "worktree", "add", "-q", str(world.folder / "second"), "-b", "feature")

    code, message = refusal(world.repo, branch="feature")

    assert code == "branch_taken"
    assert str(world.folder / "second") in message
    assert refusal(world.repo, branch="main")[0] == "branch_taken"
    with pytest.raises(UsageError):
        inspect(world.repo, "main", "-x")


def test_a_tasks_own_worktree_from_before_is_not_in_its_way(world: World) -> None:
    world.publish()
    assert inspect(world.repo, "main", "task/t-1").root == world.repo


def test_shallow_partial_and_sha256_repositories_are_refused(world: World, git: Git) -> None:
    git(world.folder, "clone", "-q", "--depth=1", world.repo.as_uri(), "shallow")
    assert refusal(world.folder / "shallow")[0] == "shallow"

    git(world.repo, "config", "uploadpack.allowFilter", "true")
    git(world.folder, "clone", "-q", "--filter=blob:none", "--no-checkout", world.repo.as_uri(), "partial")
    assert refusal(world.folder / "partial")[0] == "partial"

    git(world.folder, "init", "-q", "-b", "main", "--object-format=sha256", "new")
    git(world.folder / "new", "commit", "-q", "--allow-empty", "-m", "x")
    assert refusal(world.folder / "new")[0] == "object_format"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_another_users_repository_needs_the_operators_word(
    world: World, git: Git, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in (world.repo, *world.repo.rglob("*")):
        os.chown(path, 12345, 12345, follow_symlinks=False)

    code, message = refusal(world.repo)
    assert code == "foreign_owner"
    assert "safe.directory" in message

    settings = world.folder / "gitconfig"
    settings.write_text(f"[safe]\n\tdirectory = {world.repo}\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(settings))
    assert inspect(world.repo, "main", None).root == world.repo
    folders = world.prepare(world.spec())
    assert (folders.workspace / "README.md").exists()


def test_the_current_branch_is_read_without_a_process(world: World, git: Git, monkeypatch: pytest.MonkeyPatch) -> None:
    git(world.repo, "checkout", "-q", "-b", "topic/x")
    monkeypatch.setenv("PATH", "/nonexistent")
    assert current_branch(world.repo) == "topic/x"


def test_a_detached_checkout_has_no_current_branch(world: World, git: Git) -> None:
    git(world.repo, "checkout", "-q", "--detach")
    with pytest.raises(RepositoryError, match="say --base"):
        current_branch(world.repo)


def test_a_machine_without_git_says_what_to_install(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(GitError, match="install git") as caught:
        inspect(world.repo, "main", None)
    assert caught.value.code == "git_missing"


def test_intake_starts_one_git_process(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    log = world.folder / "calls"
    tools = world.folder / "bin"
    tools.mkdir()
    wrapper = tools / "git"
    wrapper.write_text(f'#!/bin/sh\necho x >>{log}\nexec {shutil.which("git")} "$@"\n')
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", str(tools), prepend=os.pathsep)

    inspect(world.repo, "main", "task/t-1")

    assert log.read_text() == "x\n"


def test_intake_loads_neither_filelock_nor_the_engines_client() -> None:
    code = (
        "import sys, orchestration.adapters.git.intake, orchestration.adapters.git.repository;"
        "print([name for name in ('filelock', 'asyncio', 'docker') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
