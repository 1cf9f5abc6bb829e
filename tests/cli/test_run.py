"""What `run` says, to people and to machines."""

import json
from pathlib import Path

from tests.cli.conftest import Cli
from tests.journeys.shell import Repo


def add(cli: Cli, repo: Repo, identifier: str, command: str) -> None:
    said = cli("add", "--id", identifier, "--repo", str(repo.path), "--task", "Work", "--agent-command", command)
    assert said.code == 0, said


def test_an_empty_queue_is_nothing_to_run(cli: Cli) -> None:
    cli("init", "queue")
    said = cli("run")
    assert (said.code, said.out) == (0, "Nothing to run.\n")


def test_a_run_without_a_queue_says_how_to_make_one(cli: Cli) -> None:
    said = cli("run")
    assert said.code == 3
    assert "taskq init" in said.err


def test_the_story_is_logged_as_json_and_stdout_stays_clean(cli: Cli, repo: Repo) -> None:
    add(cli, repo, "T-1", "echo x > x")
    said = cli("run", "-v", "--log-json")
    events = [json.loads(line) for line in said.err.splitlines()]
    named = [event["event"] for event in events if event.get("task") == "T-1"]
    assert named[0] == "task.claimed"
    assert named[-1] == "task.settled"
    stages = [event["stage"] for event in events if event["event"] == "stage.ended"]
    assert stages == ["setup", "plan", "build", "collect", "teardown"]
    assert "task.claimed" not in said.out


def test_what_an_agent_writes_never_reaches_the_log(cli: Cli, repo: Repo) -> None:
    add(cli, repo, "T-1", "echo canary-in-output; echo canary-in-stderr >&2; echo x > x")
    assert "canary" not in cli("run", "-v", "--log-json").err


def test_output_is_followed_by_line_with_the_task_s_id_and_escapes_spelled_out(cli: Cli, repo: Repo) -> None:
    add(cli, repo, "T-1", r"printf 'one\ntwo\033[2J\nrest'; echo x > x")
    out = cli("run", "--follow").out
    assert "T-1 | one\nT-1 | two\\x1b[2J\nT-1 | rest\n" in out
    assert "\x1b" not in out


def test_a_failed_task_makes_the_run_exit_with_1_and_says_why(cli: Cli, repo: Repo) -> None:
    add(cli, repo, "good", "echo x > x")
    add(cli, repo, "bad", "exit 3")
    said = cli("run")
    assert said.code == 1
    assert "bad: failed after" in said.out
    assert "Run ended: 1 failed, 1 review" in said.out


def test_what_waits_is_said_when_nothing_is_ready(cli: Cli, repo: Repo) -> None:
    add(cli, repo, "first", "true")
    cli(
        "add", "--id", "late", "--repo", str(repo.path), "--task", "x", "--agent-command", "true", "--not-before", "+2h"
    )
    cli("cancel", "first")
    assert "1 waiting" in cli("run").out
    assert cli("show", "late", "--json").json["waits_for"].startswith("not before ")


def test_cleanup_on_fail_takes_the_attempt_away_and_keeps_its_work_and_its_report(cli: Cli, repo: Repo) -> None:
    add(cli, repo, "T-1", "echo half > half; exit 1")
    assert cli("run", "--cleanup-on-fail").code == 1
    task = cli("show", "T-1", "--json").json
    assert task["status"] == "failed"
    assert (task["worktree_path"], task["run"]) == (None, None)
    assert repo.git("show", f"{task['revision']['ref']}:half") == "half"
    assert "half" not in repo.git("worktree", "list")
    assert "T-1" in Path(task["error"]["report"]).read_text(encoding="utf-8")
    assert cli("retry", "T-1").code == 0
