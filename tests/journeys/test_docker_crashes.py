"""kill -9 with docker: afterwards one `run` and one `cleanup` leave no container, no process, and lose no work."""

import base64
import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import takewhile
from typing import Any

import pytest

from tests.journeys.containers import (
    AWAIT_GATE,
    OWN,
    Docked,
    Shop,
    ask,
    docked,
    events,
    forwarders,
    holders,
    processes_in,
    shop,
)
from tests.journeys.test_crashes import MOMENTS, WORKED, check_all_is_quiet
from tests.journeys.test_interruptions import running
from tests.journeys.waiting import wait_until

__all__ = ["docked", "shop"]
pytestmark = [pytest.mark.full, pytest.mark.timeout(300)]
WORK = f"{ask('evil.example:443')}; echo attempt-$TASKQ_ATTEMPT > work.txt; echo ready"
"""Starts a forwarder, and leaves something to collect."""
HANG_ONCE = f'{WORK}; if [ "$TASKQ_ATTEMPT" = 1 ]; then sleep 1000; fi'


@dataclass
class Crash:
    """What was seen of a runner until it was killed."""

    containers: list[str] = field(default_factory=list)

    def see(self, docked: Docked) -> None:
        self.containers += [one["Id"] for one in docked.containers() if one["Id"] not in self.containers]


@contextmanager
def crashing(docked: Docked) -> Iterator[tuple[Iterator[Any], Crash, "subprocess.Popen[str]"]]:
    """Run the queue; yield its events. When the block is left, the runner is killed."""
    crash = Crash()
    with running(docked.taskq, "run", "--json") as runner:
        assert runner.stdout is not None
        yield events(runner.stdout), crash, runner
        crash.see(docked)
        runner.kill()
        runner.wait()


def await_work(told: Iterator[Any]) -> None:
    """Read events until the agent has written its work."""
    assert any(event["event"] == "output" and b"ready" in base64.b64decode(event["base64"]) for event in told)


def is_empty(container: str) -> bool:
    return processes_in(container) == []


def check_nothing_runs(docked: Docked, crash: Crash) -> None:
    """Without any command of ours: the containers end, and so does every process of the crashed attempt."""
    wait_until(lambda: docked.running_containers() == [], what="the containers have ended")
    wait_until(lambda: holders(docked.state) == {}, what="nobody has a file of the attempt open")
    for container in crash.containers:
        wait_until(partial(is_empty, container), what="its processes are gone")


def check_recovery(docked: Docked, crash: Crash, *, worked: bool) -> None:
    """One `run` and one `cleanup`: all is quiet, the task is in review, and what was written before is kept."""
    check_nothing_runs(docked, crash)
    docked.taskq.run("run")
    docked.taskq.run("cleanup")
    assert docked.containers() == []
    assert holders(docked.state) == {}
    check_all_is_quiet(docked.taskq, docked.repo)
    task = docked.task()
    assert (task["status"], task["error"]) == ("review", None)
    assert task["attempt"] <= 2
    assert [change["path"] for change in task["revision"]["files"]] == ["work.txt"]
    if worked:
        assert "attempt-1" in works(docked, 1)
    docked.taskq.run("approve", OWN, "--land", "ff")
    (report,) = docked.taskq.json("cleanup")
    assert (report["kept"], report["problem"]) == ([], None)
    assert not list(docked.state.glob("*/attempts/*/*"))
    assert docked.containers() == []


def works(docked: Docked, attempt: int) -> list[str]:
    """Return what work.txt is under each ref that the attempt's work was collected to."""
    refs = docked.repo.git("for-each-ref", "--format=%(refname)", "refs/taskq").splitlines()
    return [docked.repo.git("show", f"{ref}:work.txt") for ref in refs if f"/attempt/{OWN}/{attempt}." in ref]


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_runner_killed_at_any_stage_leaves_nothing_that_a_run_and_a_cleanup_do_not_mend(
    docked: Docked, moment: str
) -> None:
    docked.add(HANG_ONCE if moment == "build" else WORK)
    with crashing(docked) as (told, crash, _):
        assert any(MOMENTS[moment].items() <= event.items() for event in told), f"no event of {moment} came"
        if moment == "build":
            await_work(told)
            assert forwarders(docked.state), "the control: a forwarder is seen while it runs"
            assert docked.running_containers(), "the control: so is the container"
    check_recovery(docked, crash, worked=moment in WORKED)


@pytest.mark.parametrize("delay", [0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5])
def test_a_runner_killed_while_its_container_starts_is_recovered(docked: Docked, delay: float) -> None:
    docked.add(HANG_ONCE)
    with crashing(docked) as (_, crash, runner):
        wait_until(lambda: docked.containers() != [], what="the engine has made the container")
        with contextlib.suppress(subprocess.TimeoutExpired):
            runner.wait(delay)
    check_recovery(docked, crash, worked=False)


@pytest.mark.parametrize("delay", [0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6])
def test_a_runner_killed_at_any_moment_after_its_claim_is_recovered(docked: Docked, delay: float) -> None:
    docked.add(WORK)
    with crashing(docked) as (told, crash, runner):
        assert any(event["event"] == "task_claimed" for event in told)
        with contextlib.suppress(subprocess.TimeoutExpired):
            runner.wait(delay)
    check_recovery(docked, crash, worked=False)


def test_a_runner_killed_while_it_recovers_is_recovered_by_the_next(docked: Docked) -> None:
    docked.add(HANG_ONCE)
    with crashing(docked) as (told, crash, _):
        await_work(told)
    check_nothing_runs(docked, crash)
    with crashing(docked) as (_, again, _runner):
        wait_until(lambda: docked.running_containers() != [], what="it takes the work out")
    assert set(again.containers) != set(crash.containers), "the control: it was killed with a container of its own"
    again.containers += crash.containers
    check_recovery(docked, again, worked=True)


def test_a_cleanup_alone_collects_what_a_killed_runner_left_and_removes_its_container(docked: Docked) -> None:
    docked.add(HANG_ONCE)
    with crashing(docked) as (told, crash, _):
        await_work(told)
    check_nothing_runs(docked, crash)
    assert len(docked.containers()) == 1, "the control: what has ended is still there"
    docked.taskq.run("cleanup")
    assert docked.containers() == []
    task = docked.task()
    assert task["status"] == "todo"
    assert "is gone" in task["reason"]
    assert works(docked, 1) == ["attempt-1"]


def test_a_task_cancelled_after_its_runner_was_killed_keeps_its_work_and_no_container(docked: Docked) -> None:
    docked.add(HANG_ONCE)
    with crashing(docked) as (told, crash, _):
        await_work(told)
    check_nothing_runs(docked, crash)
    docked.taskq.run("cancel", OWN)
    assert docked.containers() == []
    assert works(docked, 1) == ["attempt-1"]


def test_when_the_runner_is_killed_with_three_tasks_at_work_nothing_of_any_is_left(docked: Docked) -> None:
    names = [f"{OWN}-{number}" for number in range(3)]
    for name in names:
        docked.add(HANG_ONCE, identifier=name)
    with crashing(docked) as (told, crash, _):
        for _name in names:
            await_work(told)
    assert len(crash.containers) == 3
    check_nothing_runs(docked, crash)
    docked.taskq.run("run")
    docked.taskq.run("cleanup")
    assert docked.containers() == []
    assert {task["status"] for task in docked.taskq.json("status")} == {"review"}


def test_a_runner_killed_while_an_image_is_built_ends_the_build(docked: Docked, shop: Shop) -> None:
    docked = shop.docked
    docked.say('setup = "echo begun; sleep 1000"\n')
    docked.add(WORK)
    with crashing(docked) as (told, crash, _):
        assert any(event["event"] == "output" and event["stage"] == "setup" for event in told)
        wait_until(lambda: shop.containers() != [], what="the build's container runs")
        building = [one["Id"] for one in shop.containers()]
    wait_until(lambda: shop.containers() == [], what="the engine has removed the build's container")
    assert [pid for one in building for pid in processes_in(one)] == []
    assert shop.snapshots() == []
    docked.say('setup = "echo done > /usr/local/marker"\n')
    check_recovery(docked, crash, worked=False)
    assert len(shop.snapshots()) == 1


def test_an_image_that_was_being_built_is_built_by_the_next_run(docked: Docked, shop: Shop) -> None:
    docked = shop.docked
    docked.say('setup = "echo begun; sleep 3; echo done > /usr/local/marker"\n')
    docked.add(f"cat /usr/local/marker; {WORK}")
    with crashing(docked) as (told, crash, _):
        assert any(event["event"] == "output" and event["stage"] == "setup" for event in told)
    wait_until(lambda: shop.containers() == [], what="the engine has removed the build's container")
    check_recovery(docked, crash, worked=False)
    assert len(shop.snapshots()) == 1


def test_a_forwarder_that_is_killed_is_there_again_for_the_next_connection(docked: Docked) -> None:
    asked = ask("evil.example:443")
    docked.add(f"{asked}; echo first; {AWAIT_GATE}; {asked}; echo x > work.txt")
    with running(docked.taskq, "run", "--follow") as runner:
        assert runner.stdout is not None
        told = [*takewhile(lambda line: "first" not in line, runner.stdout)]
        (forwarder,) = forwarders(docked.state)
        os.kill(forwarder, signal.SIGKILL)
        wait_until(lambda: forwarder not in forwarders(docked.state), what="it is gone")
        docked.open_gate()
        rest, _ = runner.communicate(timeout=60)
        assert runner.returncode == 0
    assert sum("403 Forbidden" in line for line in [*told, *rest.splitlines()]) == 2
    (refused,) = docked.task()["run"]["observed"]["refused"]
    assert (refused["host"], refused["count"]) == ("evil.example", 2)
    assert holders(docked.state) == {}


def test_a_container_that_somebody_removes_fails_the_attempt_with_that_reason_and_keeps_its_work(
    docked: Docked,
) -> None:
    docked.add(HANG_ONCE)
    with running(docked.taskq, "run", "--json") as runner:
        assert runner.stdout is not None
        await_work(events(runner.stdout))
        (found,) = docked.containers()
        docked.engine.api.remove_container(found["Id"], force=True)
        runner.communicate(timeout=60)
        assert runner.returncode == 1
    task = docked.task()
    assert (task["status"], task["error"]["stage"], task["error"]["code"]) == ("failed", "build", "container_gone")
    assert found["Names"][0].removeprefix("/") in task["error"]["message"]
    assert works(docked, 1) == ["attempt-1"]
    assert docked.containers() == []
