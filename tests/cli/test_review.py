import re
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.journeys.shell import Repo


@pytest.fixture
def reviewed(cli: Cli, repo: Repo) -> Cli:
    """A queue with T-1 in review and T-2 failed, both in local sandboxes."""
    common = ("--repo", str(repo.path), "--task", "Work", "--agent-command")
    cli("add", "--id", "T-1", *common, "echo one > one.txt")
    cli("add", "--id", "T-2", *common, "echo half > half.txt; exit 3")
    cli("run")
    return cli


def root_of(cli: Cli, identifier: str = "T-1") -> Path:
    return Path(cli("show", identifier, "--json").json["run"]["folder"])


def test_without_a_terminal_a_review_is_brief_and_diff(reviewed: Cli) -> None:
    out = reviewed("review", "T-1").out
    assert out.startswith("T-1: Work")
    assert "+one" in out


def test_the_brief_alone_and_the_diff_alone(reviewed: Cli) -> None:
    brief, diff = reviewed("review", "T-1", "--no-diff").out, reviewed("review", "T-1", "--diff").out
    assert brief.startswith("T-1: Work")
    assert "+one" not in brief
    assert diff.startswith("diff --git")
    assert "+one" in diff


def test_the_diff_is_there_in_any_status_that_has_a_revision(reviewed: Cli) -> None:
    assert "+half" in reviewed("review", "T-2", "--diff").out
    assert reviewed("review", "T-2").code == 2


def test_the_diff_needs_nothing_of_the_attempt_s_folders(reviewed: Cli) -> None:
    (root_of(reviewed) / "spec.json").unlink()
    assert "+one" in reviewed("review", "T-1", "--diff").out


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        (("T-1", "--web"), "needs a terminal; .+ taskq review ID --diff"),
        (("T-1", "--tui"), "needs a terminal"),
        (("T-1", "--shell"), "needs a terminal"),
        (("T-1", "--open"), "needs a terminal"),
        (("T-1", "--shell", "--diff"), "only show"),
        (("T-1", "--web", "--no-diff"), "only show"),
        (("T-1", "--tui", "--json"), "only show"),
        (("T-1", "--diff", "--json"), "taskq diff ID --json"),
        (("T-1", "--tui", "--open"), "about the browser of --web"),
        (("--shell",), "no id: say which task"),
        (("--diff",), "no id: say which task"),
    ],
)
def test_flags_that_do_not_go_together_are_refused(reviewed: Cli, flags: tuple[str, ...], why: str) -> None:
    said = reviewed("review", *flags)
    assert (said.code, said.out) == (2, "")
    assert re.search(why, said.err)


def test_what_was_added_since_is_collected_as_a_new_revision(reviewed: Cli) -> None:
    before = reviewed("show", "T-1", "--json").json["revision"]
    (root_of(reviewed) / "workspace/two.txt").write_text("two\n", encoding="utf-8")
    out = reviewed("collect", "T-1").out
    after = reviewed("show", "T-1", "--json").json["revision"]
    assert out.startswith(f"New revision of T-1: 2 files +2 -0 ({after['commit'][:12]}, attempt 1, collect 2)\n")
    assert "taskq approve T-1" in out
    assert (before["ref"][-3:], after["ref"][-3:]) == ("1.1", "1.2")


def test_what_was_not_changed_is_said_to_be_nothing_new(reviewed: Cli) -> None:
    before = reviewed("show", "T-1", "--json").json["revision"]
    assert reviewed("collect", "T-1").out == f"Nothing new: T-1 is at {before['commit'][:12]}\n"
    assert reviewed("collect", "T-1", "--json").json == {
        "task": "T-1", "added": False, "ref": None, "unrecorded": None, "revision": before,
    }  # fmt: skip


def test_an_approval_refuses_with_the_way_on_until_the_review_is_collected(reviewed: Cli) -> None:
    (root_of(reviewed) / "ahead").touch()
    said = reviewed("approve", "T-1")
    assert (said.code, "taskq collect T-1" in said.err) == (3, True)
    assert "taskq collect T-1" in reviewed("review", "T-1", "--no-diff").out
    reviewed("collect", "T-1")
    assert "taskq collect T-1" not in reviewed("review", "T-1", "--no-diff").out
    assert reviewed("approve", "T-1").code == 0


def test_an_approval_refuses_a_branch_on_which_a_person_committed_and_its_advice_works(
    reviewed: Cli, repo: Repo
) -> None:
    task = reviewed("show", "T-1", "--json").json
    mine = Repo(Path(task["worktree_path"] or _worktree(repo)))
    mine.write("mine.txt", "mine\n")
    tip = mine.commit("Mine")
    said = reviewed("approve", "T-1", "--land", "ff")
    assert said.code == 3
    assert f"branch task/t-1 is at {tip[:12]}" in said.err
    assert repo.git("rev-parse", "main") != tip
    move, put_back = said.err.strip().partition("approve: ")[2].split(" && ")
    repo.git(*move.replace("NAME", "mine").split()[1:])
    repo.git(*put_back.split()[1:])
    assert reviewed("approve", "T-1", "--land", "ff").code == 0
    assert repo.git("rev-parse", "mine") == tip
    assert repo.git("rev-parse", "main") == task["revision"]["commit"]


def _worktree(repo: Repo) -> str:
    listed = repo.git("worktree", "list", "--porcelain").splitlines()
    return next(line.removeprefix("worktree ") for line in listed if line.endswith("/T-1"))


def test_changes_in_the_worktree_alone_are_no_work_of_the_task(reviewed: Cli, repo: Repo) -> None:
    (Path(_worktree(repo)) / "notes.txt").write_text("mine\n", encoding="utf-8")
    assert reviewed("approve", "T-1", "--land", "ff").code == 0


def test_what_a_review_left_of_a_cancelled_task_is_kept_and_can_be_collected(reviewed: Cli, repo: Repo) -> None:
    root = root_of(reviewed)
    (root / "workspace/two.txt").write_text("two\n", encoding="utf-8")
    (root / "ahead").touch()
    reviewed("cancel", "T-1")
    assert "taskq collect T-1" in reviewed("cleanup").out
    assert "taskq collect T-1" in reviewed("remove", "T-1").err
    out = reviewed("collect", "T-1").out
    assert "not recorded: T-1 is cancelled" in out
    ref = next(word for word in out.split() if word.startswith("refs/taskq/"))
    assert repo.git("show", f"{ref}:two.txt") == "two"
    reviewed("cleanup")
    assert not root.exists()
