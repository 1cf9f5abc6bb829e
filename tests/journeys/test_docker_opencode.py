"""The whole journey with the agent that people use: the real OpenCode, in a real container, with a fake model."""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest

from tests.journeys.containers import OWN, docked, holders, processes_in
from tests.journeys.opencode_desk import HOLD, Desk, desk
from tests.journeys.test_interruptions import running
from tests.journeys.waiting import wait_until
from tests.model import replies
from tests.model.replies import Asked, Call, Reply, Say, is_planning

__all__ = ["desk", "docked"]
pytestmark = [pytest.mark.full, pytest.mark.timeout(300)]
FIX = "Fix the answer.\nwrite src/app.py: ANSWER = 42"
HALF = Call(tool="write", arguments={"filePath": "half.txt", "content": "half\n"})


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


def test_a_retry_is_a_fresh_session_and_a_resumed_one_goes_on_in_it(desk: Desk) -> None:
    docked = desk.docked
    asked_of = desk.model.asked

    def fail(asked: Asked) -> Reply:
        if is_planning(asked) or not asked.tools:
            return Say(text="My plan is a half.")
        return replies.UNAUTHORIZED if "half.txt" in json.dumps(asked.messages[-2:]) else Say(calls=(HALF,))

    desk.model.answer = fail
    desk.add("Do it")
    docked.taskq.run("run", code=1)
    first = docked.task()
    docked.taskq.run("retry", OWN)
    before = len(asked_of)
    docked.taskq.run("run", code=1)
    second = docked.task()
    assert (first["error"]["code"], second["error"]["code"]) == ("provider_auth", "provider_auth")
    assert (second["attempt"], second["run"]["is_resumed"]) == (2, False)
    assert second["run"]["session"] not in {None, first["run"]["session"]}
    planned = next(asked for asked in asked_of[before:] if is_planning(asked))
    assert "My plan is a half." not in json.dumps(planned.messages), "the first session is not known"

    desk.model.answer = lambda _asked: Say(text="It is whole.")
    docked.taskq.run("retry", OWN, "--resume")
    before = len(asked_of)
    assert "resumed (attempt 2)" in docked.taskq.run("run", "--follow").stdout
    third = docked.task()
    assert (third["status"], third["attempt"], third["run"]["is_resumed"]) == ("review", 2, True)
    assert third["run"]["session"] == second["run"]["session"]
    went_on = json.dumps(asked_of[before].messages)
    assert [
        said for said in ("My plan is a half.", "half.txt", "You worked on this task before") if said not in went_on
    ] == []
    assert desk.paths() == ["half.txt"]


def test_tasks_side_by_side_have_their_own_sessions_and_wait_for_review_without_a_process(desk: Desk) -> None:
    docked = desk.docked
    names = [f"{OWN}-{number}" for number in range(3)]
    for name in names:
        desk.add(f"write {name}.txt: {name}\n{HOLD}", identifier=name)
    with running(docked.taskq, "run", "--max-parallel", "2") as runner:
        for both in (names[:2], names[2:]):
            wait_until(partial(are_held, desk, both), what="they have written", seconds=100)
            for name in both:
                (container,) = docked.containers(f"taskq.task={name}")
                assert processes_in(container["Id"]), "the control: they are seen while they run"
                docked.open_gate(name)
        runner.communicate(timeout=100)
        assert runner.returncode == 0

    tasks = [docked.task(name) for name in names]
    assert [task["status"] for task in tasks] == ["review"] * 3
    assert len({task["run"]["session"] for task in tasks}) == 3
    assert [desk.paths(name) for name in names] == [[f"{name}.txt"] for name in names]
    for asked in desk.model.asked:
        assert sum(name in json.dumps(asked.messages) for name in names) == 1, "no conversation knows of another"
    assert docked.containers() == []
    assert holders(docked.state) == {}
    assert [processes_in(task["run"]["observed"]["id"]) for task in tasks] == [[]] * 3


def are_held(desk: Desk, names: Sequence[str]) -> bool:
    """Return whether the tasks' agents have written their files, and are not told to go on."""
    runs = {name: desk.docked.task(name)["run"] for name in names}
    return all(
        run is not None and (Path(run["folder"]) / f"workspace/{name}.txt").exists() for name, run in runs.items()
    )
