"""The whole journey with the agent that people use: the real OpenCode, in a real container, with a fake model."""

import json
from pathlib import Path

import pytest

from tests.journeys.containers import OWN, docked
from tests.journeys.opencode_desk import HOLD, Desk, desk
from tests.journeys.test_interruptions import running

__all__ = ["desk", "docked"]
pytestmark = [pytest.mark.full, pytest.mark.timeout(300)]
FIX = "Fix the answer.\nwrite src/app.py: ANSWER = 42"


def test_a_task_file_becomes_a_landed_commit_and_the_operator_watches(desk: Desk, tmp_path: Path) -> None:
    docked, repo = desk.docked, desk.docked.repo
    file = tmp_path / f"{OWN}.md"
    file.write_text(f"---\nrepo: {repo.path}\n---\n{FIX}\n{HOLD}\n", encoding="utf-8")
    docked.taskq.run("add", "--task-file", str(file))
    with running(docked.taskq, "run", "--follow") as runner:
        assert runner.stdout is not None
        lines = iter(runner.stdout)
        assert f"{OWN} | write src/app.py\n" in lines, "what the agent does is told"
        assert docked.task()["status"] == "building", "... while it does it"
        docked.open_gate()
        rest, _ = runner.communicate(timeout=60)
        assert (runner.returncode, f"{OWN} | It is done.\n" in rest) == (0, True)

    task = docked.task()
    assert (task["status"], task["agent"], task["error"]) == ("review", "opencode", None)
    assert "+ANSWER = 42" in docked.taskq.run("review", OWN, "--diff").stdout
    docked.taskq.run("approve", OWN, "--land", "ff")
    assert repo.git("show", "main:src/app.py") == "ANSWER = 42"
    assert repo.git("rev-parse", "main") == task["revision"]["commit"]

    session = task["run"]["session"]
    assert session.startswith("ses_")
    assert (task["usage"]["input_tokens"], task["usage"]["output_tokens"]) == (400, 40)
    assert task["run"]["observed"]["refused"] == []
    assert docked.containers() == []
    for stage in ("plan", "build"):
        for kind, key in (("events", "kind"), ("raw", "type")):
            told = docked.taskq.run("logs", OWN, "--stage", stage, f"--{kind}").stdout
            assert len([json.loads(line)[key] for line in told.splitlines()]) > 2
    assert {asked.model for asked in desk.model.asked} == {"fake-1"}
