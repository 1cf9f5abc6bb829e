"""Ctrl-C, SIGTERM and kill -9: nobody's task stays running, and no work is lost."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen

import pytest

from tests.journeys.shell import Repo, Taskq
from tests.journeys.waiting import wait_until

AWAIT_GATE = 'while [ ! -e "$TASKQ_OUT/gate" ]; do sleep 0.02; done'


@contextmanager
def running(taskq: Taskq, *arguments: str) -> Iterator[Popen[str]]:
    """Run taskq in the background; whatever happens, it is gone afterwards."""
    process = taskq.popen(*arguments)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def add(taskq: Taskq, repo: Repo, identifier: str, command: str) -> None:
    taskq.run("add", "--id", identifier, "--repo", str(repo.path), "--task", "Work", "--agent-command", command)


def open_gate(taskq: Taskq, identifier: str) -> None:
    """Let the agent go on that waits with AWAIT_GATE."""
    (Path(taskq.task(identifier)["run"]["folder"]) / "out/gate").touch()


def status(taskq: Taskq, identifier: str) -> str:
    return str(taskq.task(identifier)["status"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_lets_what_runs_end_and_starts_no_more(taskq: Taskq, repo: Repo, number: signal.Signals) -> None:
    add(taskq, repo, "first", f"echo ready; {AWAIT_GATE}; echo x > file")
    add(taskq, repo, "second", "echo y > file")
    with running(taskq, "run", "--max-parallel", "1", "--follow") as runner:
        assert runner.stdout is not None
        assert any("ready" in line for line in runner.stdout)
        runner.send_signal(number)
        wait_until(lambda: status(taskq, "first") == "building", what="the first task builds")
        open_gate(taskq, "first")
        runner.communicate(timeout=30)
        assert runner.returncode == 130
    assert (status(taskq, "first"), status(taskq, "second")) == ("review", "todo")


def test_two_signals_stop_now_collect_the_work_and_requeue_it(taskq: Taskq, repo: Repo) -> None:
    add(taskq, repo, "T-1", "echo half > half.txt; echo ready; sleep 1000")
    with running(taskq, "run", "--follow") as runner:
        assert runner.stdout is not None
        assert any("ready" in line for line in runner.stdout)
        runner.send_signal(signal.SIGINT)
        runner.send_signal(signal.SIGTERM)
        wait_until(lambda: runner.poll() is not None or not runner.send_signal(signal.SIGINT), what="it stops")
        runner.communicate(timeout=30)
        assert runner.returncode == 130
    task = taskq.task("T-1")
    assert (task["status"], task["reason"], task["run"]) == ("todo", "interrupted", None)
    assert [change["path"] for change in task["revision"]["files"]] == ["half.txt"]
    assert task["charged"] == 0


def test_when_the_runner_is_killed_its_agent_dies_and_the_next_run_collects_and_requeues(
    taskq: Taskq, repo: Repo
) -> None:
    first = 'echo half > half.txt; echo $$ > "$TASKQ_OUT/pid"; sleep 1000'
    script = f'if [ "$TASKQ_ATTEMPT" = 1 ]; then {first}; fi; echo whole > w'
    add(taskq, repo, "T-1", script)
    with running(taskq, "run") as runner:
        wait_until(lambda: status(taskq, "T-1") == "building", what="it builds")
        folder = Path(taskq.task("T-1")["run"]["folder"])
        wait_until((folder / "out/pid").exists, what="the agent works")
        runner.kill()
        runner.wait()
        wait_until(lambda: not taskq.task("T-1")["held"], what="nothing of the attempt runs")
    assert status(taskq, "T-1") == "building"
    taskq.run("cleanup")
    recovered = taskq.task("T-1")
    assert recovered["status"] == "todo"
    assert "is gone" in recovered["reason"]
    assert [change["path"] for change in recovered["revision"]["files"]] == ["half.txt"]
    taskq.run("run")
    again = taskq.task("T-1")
    assert (again["status"], again["attempt"]) == ("review", 2)
    assert [change["path"] for change in again["revision"]["files"]] == ["w"]
    assert repo.git("rev-parse", recovered["revision"]["ref"]) == recovered["revision"]["commit"]


def test_a_held_task_is_not_recovered_by_another_runner(taskq: Taskq, repo: Repo) -> None:
    add(taskq, repo, "T-1", f"echo ready; {AWAIT_GATE}; echo x > file")
    with running(taskq, "run", "--follow") as runner:
        assert runner.stdout is not None
        assert any("ready" in line for line in runner.stdout)
        assert "Nothing to run" in taskq.run("run").stdout
        assert status(taskq, "T-1") == "building"
        open_gate(taskq, "T-1")
        runner.communicate(timeout=30)
    assert (status(taskq, "T-1"), taskq.task("T-1")["attempt"]) == ("review", 1)


def test_no_process_of_an_attempt_is_left_when_it_has_ended(taskq: Taskq, repo: Repo) -> None:
    command = "(setsid sh -c 'echo $$ > child.pid; exec sleep 1000' &) ; while [ ! -s child.pid ]; do sleep 0.01; done"
    add(taskq, repo, "T-1", command)
    taskq.run("run")
    task = taskq.task("T-1")
    assert task["status"] == "review"
    assert os.system(f"grep -sqz TASKQ_QUEUE_ID={task['revision']['ref'].split('/')[2]} /proc/[0-9]*/environ") != 0


@pytest.mark.full
@pytest.mark.timeout(300)
def test_two_pollers_and_a_loop_of_adds_end_every_task_in_review_exactly_once(taskq: Taskq, repo: Repo) -> None:
    share(taskq, repo, tasks=60)


def test_two_pollers_share_a_queue_while_tasks_are_added(taskq: Taskq, repo: Repo) -> None:
    share(taskq, repo, tasks=6)


def share(taskq: Taskq, repo: Repo, *, tasks: int) -> None:
    names = [f"T-{number}" for number in range(tasks)]
    with (
        running(taskq, "run", "--poll", "0.2", "--json") as one,
        running(taskq, "run", "--poll", "0.2", "--json") as two,
    ):
        for name in names:
            add(taskq, repo, name, f"echo {name} > {name}.txt")
        wait_until(
            lambda: all(task["status"] == "review" for task in taskq.json("status")),
            what="every task is in review",
            seconds=240,
        )
        outputs = []
        for runner in (one, two):
            runner.send_signal(signal.SIGTERM)
            outputs.append(runner.communicate(timeout=30)[0])
    settled = [line for output in outputs for line in output.splitlines() if '"task_settled"' in line]
    assert len(settled) == tasks
    assert {task["id"] for task in taskq.json("status")} == set(names)
    assert all(task["attempt"] == 1 for task in taskq.json("status"))
    assert all(
        [change["path"] for change in task["revision"]["files"]] == [f"{task['id']}.txt"]
        for task in taskq.json("status")
    )
