"""What `retry` says, and that `--resume` is refused where there is nothing to go on with."""

import json
from dataclasses import replace

import pytest

from orchestration.assembly import App
from orchestration.core.facts import Run
from tests.cli.conftest import Cli
from tests.journeys.shell import Repo


@pytest.fixture
def failed(cli: Cli, repo: Repo) -> Cli:
    """A command line whose queue has the failed task T-1."""
    cli("add", "--id", "T-1", "--repo", str(repo.path), "--task", "Work", "--agent-command", "echo half > half; exit 3")
    assert cli("run").code == 1
    return cli


def test_a_retry_names_the_attempt_that_is_next(failed: Cli) -> None:
    assert failed("retry", "T-1").out == "Task retried: T-1 (attempt 2 is next)\n"


def test_an_agent_without_sessions_cannot_go_on_and_the_way_out_is_told(failed: Cli) -> None:
    said = failed("retry", "T-1", "--resume", "--json")
    error = json.loads(said.err)["error"]
    assert (said.code, error["code"]) == (2, "not_resumable")
    assert error["message"].endswith("its agent told of no session; start afresh with: taskq retry T-1")
    assert failed("show", "T-1", "--json").json["status"] == "failed"


def test_one_with_a_session_goes_on_in_the_same_attempt(failed: Cli) -> None:
    def told(run: Run | None) -> Run:
        assert run is not None
        return replace(run, session="ses_1")

    App.open()._store.change("T-1", lambda task: task._replace(run=told(task.run)), by="test")
    assert failed("retry", "T-1", "--resume").out == "Task to be resumed: T-1 (attempt 1 goes on)\n"
    assert failed("retry", "T-1", "--resume").code == 2, "it waits to be run already"
    assert "to be resumed" in failed("status").out
    out = failed("run").out
    assert "T-1: resumed (attempt 1)" in out
    assert failed("show", "T-1", "--json").json["run"]["is_resumed"] is True
