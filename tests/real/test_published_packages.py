"""The main job on real input: five agents edit a published package, three at a time, and everything is approved.

What came back is compared, byte for byte, with what the same commands make of a plain copy.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.journeys.shell import GIT_IDENTITY, Repo, Taskq
from tests.real.packages import CLICK, PRE_COMMIT, Package

LANDED = "rework-the-documents"


@pytest.mark.full
@pytest.mark.timeout(300)
@pytest.mark.parametrize("package", [CLICK, PRE_COMMIT], indirect=True, ids=lambda package: package.name)
def test_five_agents_edit_a_published_package_and_everything_is_approved(
    operator: Taskq, project: Repo, package: Package, tmp_path: Path
) -> None:
    base = project.git("rev-parse", "main")
    before, settings = state_of_checkout(project), settings_of(project)
    queue_all(operator, project, package)

    ran = operator.run("run", "--max-parallel", "3").stdout

    tasks = {identifier: operator.task(identifier) for identifier in package.commands}
    assert {identifier: task["status"] for identifier, task in tasks.items()} == dict.fromkeys(tasks, "review"), ran
    assert most_at_once(ran) == 3
    assert state_of_checkout(project) == before
    assert settings_of(project) - settings == {"extensions.worktreeconfig=true"}
    for identifier, command in package.commands.items():
        direct = plain_copy(project, tmp_path / f"direct-{identifier}", base=base)
        run_directly(operator, direct, command)
        assert tree_of(project, tasks[identifier]["revision"]["commit"]) == staged_tree(direct)
        assert diff_of(operator, identifier) == staged_diff(direct, base)

    for identifier in package.commands:
        operator.run("approve", identifier, *(("--land", "ff") if identifier == LANDED else ()))

    landed = tasks[LANDED]["revision"]["commit"]
    assert project.git("rev-parse", "main") == landed
    assert project.git("status", "--porcelain", "--ignored") == ""

    operator.run("cleanup")

    assert_nothing_is_left(project, tasks, at=landed)
    for task in tasks.values():
        assert operator.task(task["id"])["status"] == "done"
        assert project.git("rev-parse", task["revision"]["ref"]) == task["revision"]["commit"]
        assert project.git("merge-base", base, task["revision"]["ref"]) == base
    project.git("fsck", "--strict", "--no-dangling")
    operator.run("fsck")


def queue_all(operator: Taskq, project: Repo, package: Package) -> None:
    lines = [
        json.dumps(
            {
                "id": identifier,
                "repo": str(project.path),
                "task": f"Please {identifier}",
                "sandbox": "local",
                "agent_command": f"set -e; {command}",
            }
        )
        for identifier, command in package.commands.items()
    ]
    operator.run("add", "--from", "-", text="\n".join(lines))


def state_of_checkout(project: Repo) -> Mapping[str, object]:
    """Return all that an operator would miss: every file, the index, where HEAD is, main, tags, hooks."""
    files = sorted(path for path in project.path.rglob("*") if ".git" not in path.relative_to(project.path).parts)
    work: dict[str, object] = {
        str(path): (path.lstat().st_mode, path.lstat().st_mtime_ns, content(path)) for path in files
    }
    own = {name: (project.path / ".git" / name).read_bytes() for name in ("index", "HEAD")}
    branches = project.git("for-each-ref", "--format=%(refname) %(objectname)", "refs/heads/main", "refs/tags")
    return work | own | {"branches": branches, "hooks": sorted((project.path / ".git/hooks").iterdir())}


def settings_of(project: Repo) -> frozenset[str]:
    return frozenset(project.git("config", "--local", "--list").splitlines())


def content(path: Path) -> bytes | None:
    if path.is_symlink():
        return os.fsencode(path.readlink())
    return path.read_bytes() if path.is_file() else None


def most_at_once(ran: str) -> int:
    """Return how many tasks ran at the same time, by the lines of the run."""
    going = most = 0
    for line in ran.splitlines():
        going += ": started (" in line
        most = max(most, going)
        going -= ": review after" in line
    return most


def plain_copy(project: Repo, to: Path, *, base: str) -> Repo:
    """Return a copy of the base as git knows it, which no part of taskq has seen."""
    to.mkdir()
    archived = subprocess.run(["git", "-C", str(project.path), "archive", base], stdout=subprocess.PIPE, check=True)
    subprocess.run(["tar", "--extract", "--directory", str(to)], input=archived.stdout, check=True)
    shutil.copytree(project.path / ".git", to / ".git")
    copy = Repo(to)
    copy.git("reset", "--quiet", "--soft", base)
    assert copy.git("status", "--porcelain", "--ignored") == ""
    return copy


def run_directly(operator: Taskq, copy: Repo, command: str) -> None:
    """Run what the agent ran, without taskq."""
    environment = {**operator.environment, **GIT_IDENTITY}
    subprocess.run(["/bin/sh", "-c", f"set -e; {command}"], cwd=copy.path, env=environment, check=True)
    copy.git("add", "--all")


def tree_of(repo: Repo, commit: str) -> str:
    return repo.git("rev-parse", f"{commit}^{{tree}}")


def staged_tree(copy: Repo) -> str:
    return copy.git("write-tree")


def diff_of(operator: Taskq, identifier: str) -> str:
    return operator.run("diff", identifier).stdout.strip()


def staged_diff(copy: Repo, base: str) -> str:
    return copy.git("diff", "--cached", "--find-renames", base)


def assert_nothing_is_left(project: Repo, tasks: Mapping[str, Any], *, at: str) -> None:
    """Neither worktrees nor folders of attempts; of branches, main and those with approved work not landed."""
    assert [path for task in tasks.values() for path in places(task) if path.exists()] == []
    assert project.git("worktree", "list", "--porcelain").splitlines()[:2] == [f"worktree {project.path}", f"HEAD {at}"]
    assert project.git("worktree", "list", "--porcelain").count("worktree ") == 1
    unlanded = {f"task/{each}": task["revision"]["commit"] for each, task in tasks.items() if each != LANDED}
    heads = project.git("for-each-ref", "--format=%(refname:short) %(objectname)", "refs/heads").splitlines()
    assert dict(head.split() for head in heads) == unlanded | {"main": at}


def places(task: Mapping[str, Any]) -> tuple[Path, Path]:
    return Path(task["run"]["folder"]), Path(task["worktree_path"])
