"""What `fsck` says of what is left in the state folder and in repositories."""

import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.cli.test_json import check
from tests.journeys.shell import Repo


@pytest.fixture
def ran(cli: Cli, repo: Repo) -> Cli:
    """A queue with one task in review."""
    cli("add", "--id", "A", "--repo", str(repo.path), "--task", "Work", "--agent-command", "echo x > x")
    assert cli("run").code == 0
    return cli


def attempts_of(cli: Cli, tmp_path: Path) -> Path:
    queue = cli("fsck", "--json").json["queue"]
    (found,) = tmp_path.rglob(f"{queue}/attempts")
    return found


def test_a_queue_in_which_everything_belongs_to_a_task_has_nothing_left_over(ran: Cli) -> None:
    report = ran("fsck", "--json").json
    check(report, "fsck")
    assert (report["sound"], report["dangling"], report["notes"], report["chain"]) == (True, [], [], [])


def test_attempts_and_refs_of_no_task_are_said_and_kept(ran: Cli, repo: Repo, tmp_path: Path) -> None:
    attempts = attempts_of(ran, tmp_path)
    for stray in (attempts / "A" / "7", attempts / "nobody" / "1"):
        stray.mkdir(parents=True)
    queue = ran("fsck", "--json").json["queue"]
    ref = f"refs/taskq/{queue}/attempt/gone/1.1"
    repo.git("update-ref", ref, "HEAD")
    repo.git("update-ref", "refs/taskq/another/attempt/gone/1.1", "HEAD")
    said = ran("fsck", "--repair")
    assert said.code == 0
    assert [line for line in said.out.splitlines() if line.startswith("left over: ")] == [
        f"left over: {attempts}/A/7: task A is at attempt 1",
        f"left over: {attempts}/nobody: there is no task nobody",
        f"left over: {repo.path}: 1 ref of gone, which is no task",
    ]
    assert (attempts / "nobody" / "1").is_dir()
    assert repo.git("rev-parse", "--verify", ref)


def test_refs_of_archived_tasks_belong_to_them(ran: Cli, repo: Repo) -> None:
    ran("add", "--id", "W", "--repo", str(repo.path), "--task", "Work", "--agent-command", "true")
    ran("approve", "A")
    ran("cleanup")
    assert ran("archive", "--older-than", "1ms").out.startswith("Archived 1 task")
    assert "refs/taskq/" in repo.git("for-each-ref")
    report = ran("fsck", "--json").json
    assert (report["dangling"], report["notes"]) == ([], [])


def test_a_repository_that_is_gone_is_noted(ran: Cli, repo: Repo) -> None:
    shutil.rmtree(repo.path)
    report = ran("fsck", "--json").json
    assert (report["sound"], len(report["notes"])) == (True, 1)
    assert report["notes"][0].startswith("refs were not looked at: ")
