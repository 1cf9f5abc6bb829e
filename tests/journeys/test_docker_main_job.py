"""The main job with docker, through the command line: each attempt in a container, and none is left."""

import signal
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from tests.journeys.containers import AWAIT_GATE, OWN, Docked, ask, docked, processes_in
from tests.journeys.shell import Repo
from tests.journeys.test_interruptions import running
from tests.journeys.waiting import wait_until

__all__ = ["docked"]
pytestmark = [pytest.mark.full, pytest.mark.timeout(300)]
FIX = "sed -i s/41/42/ src/app.py"


def await_line(lines: Iterable[str] | None, word: str) -> None:
    """Read what a runner says until a line holds *word*."""
    assert lines is not None
    assert any(word in line for line in lines), f"no line held {word!r}"


def test_a_task_goes_through_a_container_to_a_landed_commit_and_nothing_is_left(docked: Docked) -> None:
    docked.say('allow = ["listed.example"]\n[env]\nGREETING = "good day"\n')
    docked.add(f'{FIX}; echo "$GREETING" > greeting.txt; id -u; {ask("evil.example:443")}; cat /etc/hostname')
    taskq, repo = docked.taskq, docked.repo

    ran = taskq.run("run", "--follow").stdout
    assert f"{OWN} | 1000" in ran
    assert f"{OWN} | taskq" in ran
    assert f"{OWN}: review" in ran

    task = docked.task()
    seen = task["run"]["observed"]
    created = datetime.fromisoformat(task["created_at"])
    assert seen["name"] == f"task-{OWN}-{created:%Y%m%d%H%M%S}-a1"
    assert seen["kind"] == "docker"
    assert seen["network"] == "allowlist"
    assert seen["image"] == docked.engine.api.inspect_image("taskq/opencode:latest")["Id"]
    assert seen["refused"] == [{"host": "evil.example", "port": 443, "reason": "not in the allow-list", "count": 1}]
    assert seen["waivers"] == []
    for told in (taskq.run("show", OWN).stdout, taskq.run("review", OWN).stdout):
        assert seen["name"] in told
        assert seen["id"][:12] in told
        assert seen["image"].removeprefix("sha256:")[:12] in told
        assert "network allowlist" in told
        assert "evil.example:443 (not in the allow-list)" in told
    assert taskq.json("review", OWN)["run"]["observed"] == seen
    assert {change["path"] for change in task["revision"]["files"]} == {"src/app.py", "greeting.txt"}
    assert (
        repo.git("log", "-1", "--format=%an <%ae>", task["revision"]["commit"]) == "taskq agent <agent@taskq.invalid>"
    )
    assert docked.containers() == []

    taskq.run("approve", OWN, "--land", "ff")
    assert repo.git("rev-parse", "main") == task["revision"]["commit"]
    assert (repo.path / "greeting.txt").read_text(encoding="utf-8") == "good day\n"
    assert repo.git("status", "--porcelain") == ""
    taskq.run("cleanup")
    assert not Path(task["run"]["folder"]).exists()
    assert docked.containers() == []


def test_while_an_agent_works_its_container_is_there_and_ours_by_label(docked: Docked) -> None:
    """The control of every look that finds no container."""
    docked.add(f"echo ready; {AWAIT_GATE}; {FIX}")
    with running(docked.taskq, "run", "--follow") as runner:
        await_line(runner.stdout, "ready")
        (found,) = docked.containers(f"taskq.task={OWN}", "taskq.attempt=1")
        seen = docked.task()["run"]["observed"]
        assert (found["Id"], found["Names"]) == (seen["id"], [f"/{seen['name']}"])
        assert len(processes_in(seen["id"])) >= 4
        docked.open_gate()
        runner.communicate(timeout=60)
        assert runner.returncode == 0
    assert processes_in(seen["id"]) == []
    assert docked.containers() == []


def test_what_fails_is_retried_in_a_container_of_its_own(docked: Docked) -> None:
    docked.add(f'{FIX}; [ "$TASKQ_ATTEMPT" = 2 ]')
    docked.taskq.run("run", code=1)
    first = docked.task()
    assert (first["status"], first["error"]["code"], first["error"]["exit_code"]) == ("failed", "agent_failed", 1)
    assert "+    return 42" in docked.taskq.run("diff", OWN).stdout
    docked.taskq.run("retry", OWN)
    docked.taskq.run("run")
    second = docked.task()
    assert (second["status"], second["attempt"]) == ("review", 2)
    assert second["run"]["observed"]["name"].endswith("-a2")
    assert second["run"]["observed"]["id"] != first["run"]["observed"]["id"]


def test_a_dirty_run_ends_what_is_left_of_its_task_and_nothing_of_one_whose_id_starts_alike(docked: Docked) -> None:
    longer = f"{OWN}0"
    docked.add(f"{FIX}; exit 1")
    docked.taskq.run("run", code=1)
    worktree = Path(docked.task()["worktree_path"])
    (worktree / "by-hand.txt").write_text("mine\n", encoding="utf-8")
    docked.taskq.run("retry", OWN)
    labels = {"taskq.queue": docked.queue, "taskq.task": OWN, "taskq.attempt": "1"}
    left = docked.engine.api.create_container(  # as a crash would leave it
        "taskq/opencode:latest", entrypoint=["/bin/sleep", "1000"], labels=labels, network_disabled=True
    )
    docked.engine.api.start(left)

    docked.add(f"echo ready; {AWAIT_GATE}; {FIX}", identifier=longer)
    with running(docked.taskq, "run", "--id", longer, "--follow") as other:
        await_line(other.stdout, "ready")
        docked.taskq.run("run", "--id", OWN, "--dirty-run", code=1)
        assert [one["Labels"]["taskq.task"] for one in docked.running_containers()] == [longer]
        assert len(docked.containers()) == 1
        docked.open_gate(longer)
        other.communicate(timeout=60)
        assert other.returncode == 0
    again = docked.task()
    assert {change["path"] for change in again["revision"]["files"]} == {"src/app.py", "by-hand.txt"}
    assert docked.task(longer)["status"] == "review"


def test_cancel_ends_the_container_within_seconds_and_keeps_the_work(docked: Docked) -> None:
    docked.add(f"{FIX}; echo ready; trap '' TERM INT HUP; sleep 1000")
    with running(docked.taskq, "run", "--follow") as runner:
        await_line(runner.stdout, "ready")
        seen = docked.task()["run"]["observed"]
        docked.taskq.run("cancel", OWN, "--timeout", "20")
        assert docked.containers() == []
        assert processes_in(seen["id"]) == []
        runner.communicate(timeout=30)
    task = docked.task()
    assert task["status"] == "cancelled"
    assert [change["path"] for change in task["revision"]["files"]] == ["src/app.py"]
    docked.taskq.run("cleanup")
    assert docked.task()["run"] is None


def test_one_ctrl_c_lets_the_container_end_by_itself_and_starts_no_other(docked: Docked) -> None:
    docked.add(f"echo ready; {AWAIT_GATE}; {FIX}", "--priority", "1")
    docked.add(FIX, identifier=f"{OWN}b")
    with running(docked.taskq, "run", "--max-parallel", "1", "--follow") as runner:
        await_line(runner.stdout, "ready")
        runner.send_signal(signal.SIGINT)
        wait_until(lambda: len(docked.running_containers()) == 1, what="the first task goes on")
        docked.open_gate()
        runner.communicate(timeout=60)
        assert runner.returncode == 130
    assert (docked.task()["status"], docked.task(f"{OWN}b")["status"]) == ("review", "todo")
    assert docked.containers() == []


def test_ctrl_c_twice_ends_the_container_collects_the_work_and_requeues_it(docked: Docked) -> None:
    docked.add(f"{FIX}; echo ready; trap '' TERM INT HUP; sleep 1000")
    with running(docked.taskq, "run", "--follow") as runner:
        await_line(runner.stdout, "ready")
        container = docked.task()["run"]["observed"]["id"]
        runner.send_signal(signal.SIGINT)
        runner.send_signal(signal.SIGTERM)  # two of a kind may arrive as one
        runner.communicate(timeout=60)
        assert runner.returncode == 130
    assert docked.containers() == []
    assert processes_in(container) == []
    task = docked.task()
    assert (task["status"], task["reason"], task["charged"]) == ("todo", "interrupted", 0)
    assert [change["path"] for change in task["revision"]["files"]] == ["src/app.py"]


def test_ten_tasks_on_two_repositories_run_three_at_a_time_and_end_in_review(docked: Docked, tmp_path: Path) -> None:
    other = Repo(tmp_path / "other project")
    other.path.mkdir()
    other.git("init", "--quiet", "--initial-branch=main")
    other.write("README.md", "# other\n")
    other.commit("Start")
    both = [docked, replace(docked, repo=other)]
    names = [f"{OWN}-{number}" for number in range(10)]
    for number, name in enumerate(names):
        both[number % 2].add(f"echo {name} > {name}.txt", identifier=name)

    with running(docked.taskq, "run", "--max-parallel", "3") as runner:
        most = 0
        while runner.poll() is None:
            most = max(most, len(docked.containers()))
        assert runner.wait() == 0
    assert 2 <= most <= 3
    tasks = docked.taskq.json("status")
    assert Counter(task["status"] for task in tasks) == {"review": 10}
    assert {task["id"]: [change["path"] for change in task["revision"]["files"]] for task in tasks} == {
        name: [f"{name}.txt"] for name in names
    }
    assert len({task["run"]["observed"]["id"] for task in tasks}) == 10
    assert docked.containers() == []
