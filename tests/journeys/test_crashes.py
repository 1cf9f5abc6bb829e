"""kill -9 at every point of an attempt: afterwards one command puts everything right, and no work is lost."""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.journeys.shell import Repo, Taskq
from tests.journeys.waiting import wait_until

WORK = "echo attempt-$TASKQ_ATTEMPT > work.txt; echo ready"
HANG_ONCE = f'{WORK}; if [ "$TASKQ_ATTEMPT" = 1 ]; then sleep 1000; fi'
MOMENTS = {
    "claim": {"event": "task_claimed"},
    "setup": {"event": "stage_started", "stage": "setup"},
    "plan": {"event": "stage_started", "stage": "plan"},
    "build": {"event": "output", "stage": "build"},
    "collect": {"event": "stage_started", "stage": "collect"},
    "teardown": {"event": "stage_started", "stage": "teardown"},
    "settling": {"event": "stage_ended", "stage": "teardown"},
    "settled": {"event": "task_settled"},
}
"""The event after which the runner is killed."""
WORKED = ("build", "collect", "teardown", "settling", "settled")
"""Moments at which the agent had written something."""


def add(taskq: Taskq, repo: Repo, command: str, identifier: str = "T-1") -> None:
    taskq.run("add", "--id", identifier, "--repo", str(repo.path), "--task", "Work", "--agent-command", command)


def state(taskq: Taskq) -> Path:
    return Path(taskq.environment["HOME"]) / ".local/state/taskq"


def queue_id(taskq: Taskq) -> str:
    return str(taskq.json("fsck")["queue"])


@contextmanager
def running(taskq: Taskq, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    process = taskq.popen(*arguments)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def run_until(taskq: Taskq, moment: str, *, delay: float = 0) -> None:
    """Run the queue and kill the runner at *moment*, or *delay* seconds later if it is still there then."""
    with running(taskq, "run", "--json") as runner:
        assert runner.stdout is not None
        events = map(json.loads, runner.stdout)
        assert any(MOMENTS[moment].items() <= event.items() for event in events), f"no event of {moment} came"
        with contextlib.suppress(subprocess.TimeoutExpired):
            if delay:
                runner.wait(delay)
        runner.kill()


def processes_of(queue: str) -> list[str]:
    """Return the command lines of what runs under the queue's mark: agents by environment, supervisors by argv."""
    mark = f"TASKQ_QUEUE_ID={queue}".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (folder / "cmdline").read_bytes()
            if mark in words.split(b"\0") or mark in (folder / "environ").read_bytes().split(b"\0"):
                found.append(f"{folder.name}: {words!r}")
    return found


def is_locked(path: Path) -> bool:
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def locks(taskq: Taskq) -> list[Path]:
    queue = Path(taskq.environment["TASKQ_QUEUE"])
    return [path for root in (state(taskq), queue) for path in (*root.rglob("*.lock"), *root.rglob("lease"))]


def check_repository(repo: Repo) -> None:
    repo.git("fsck", "--full", "--strict")
    assert "prunable" not in repo.git("worktree", "list", "--porcelain")
    assert repo.git("status", "--porcelain") == ""
    assert list((repo.path / ".git").rglob("*.lock")) == []


def check_all_is_quiet(taskq: Taskq, repo: Repo) -> None:
    tasks = taskq.json("status")
    assert [task["id"] for task in tasks if task["status"] in {"planning", "building", "verifying"}] == []
    assert not any(task["held"] for task in tasks)
    assert processes_of(queue_id(taskq)) == []
    assert [path for path in locks(taskq) if is_locked(path)] == []
    taskq.run("fsck")
    check_repository(repo)


def works_of_attempt(repo: Repo, number: int) -> list[str]:
    """Return what work.txt is under each ref that the attempt's work was collected to."""
    refs = repo.git("for-each-ref", "--format=%(refname)", "refs/taskq").splitlines()
    mine = [ref for ref in refs if f"/attempt/T-1/{number}." in ref]
    return [repo.git("show", f"{ref}:work.txt") for ref in mine]


def crash_and_recover(taskq: Taskq, repo: Repo, moment: str, *, delay: float = 0, recover: str = "cleanup") -> None:
    add(taskq, repo, HANG_ONCE if moment == "build" else WORK)
    run_until(taskq, moment, delay=delay)
    wait_until(lambda: not taskq.task("T-1")["held"], what="nothing holds the attempt")

    if recover == "cleanup":
        taskq.run("cleanup")
        check_all_is_quiet(taskq, repo)
    taskq.run("run")
    task = taskq.task("T-1")
    assert task["status"] == "review", task
    assert task["attempt"] <= 2
    assert [change["path"] for change in task["revision"]["files"]] == ["work.txt"]
    assert task["revision"]["published"], task["revision"]
    worktree = Path(task["worktree_path"])
    assert (worktree / "work.txt").read_text(encoding="utf-8") == f"attempt-{task['attempt']}\n"
    check_all_is_quiet(taskq, repo)
    if moment in WORKED:
        assert "attempt-1" in works_of_attempt(repo, 1)

    taskq.run("approve", "T-1", "--land", "ff")
    cleaned = taskq.json("cleanup")
    assert [report["kept"] for report in cleaned] == [[]]
    assert not list(state(taskq).glob("*/attempts/T-1/*"))


@pytest.mark.parametrize("moment", ["collect"])
def test_a_runner_killed_at_a_stage_leaves_nothing_that_one_command_does_not_mend(
    taskq: Taskq, repo: Repo, moment: str
) -> None:
    crash_and_recover(taskq, repo, moment)


@pytest.mark.full
@pytest.mark.parametrize("recover", ["cleanup", "run"])
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_runner_killed_at_any_stage_is_recovered_by_either_command(
    taskq: Taskq, repo: Repo, moment: str, recover: str
) -> None:
    crash_and_recover(taskq, repo, moment, recover=recover)


@pytest.mark.full
@pytest.mark.timeout(600)
@pytest.mark.parametrize("delay", [round(0.01 * step, 2) for step in range(1, 60, 3)])
def test_a_runner_killed_at_any_moment_of_an_attempt_is_recovered(taskq: Taskq, repo: Repo, delay: float) -> None:
    crash_and_recover(taskq, repo, "claim", delay=delay, recover="run")


def test_what_runs_is_seen_while_it_runs(taskq: Taskq, repo: Repo) -> None:
    """The control of `check_all_is_quiet`: each of its looks finds something while an agent works."""
    add(taskq, repo, HANG_ONCE)
    with running(taskq, "run", "--follow") as runner:
        assert runner.stdout is not None
        assert any("ready" in line for line in runner.stdout)
        assert len(processes_of(queue_id(taskq))) >= 2
        assert any(is_locked(path) for path in locks(taskq))
        assert taskq.task("T-1")["held"]


def supervisors(queue: str) -> list[int]:
    return [int(line.partition(":")[0]) for line in processes_of(queue) if "supervisor.py" in line]


def test_when_only_the_supervisor_is_killed_the_attempt_fails_its_work_is_kept_and_nothing_runs(
    taskq: Taskq, repo: Repo
) -> None:
    add(taskq, repo, HANG_ONCE)
    with running(taskq, "run", "--follow") as runner:
        assert runner.stdout is not None
        assert any("ready" in line for line in runner.stdout)
        for pid in supervisors(queue_id(taskq)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        runner.communicate(timeout=60)
        assert runner.returncode == 1
    task = taskq.task("T-1")
    assert (task["status"], task["error"]["stage"], task["error"]["code"]) == ("failed", "build", "sandbox")
    assert works_of_attempt(repo, 1) == ["attempt-1"]
    check_all_is_quiet(taskq, repo)


def test_when_runner_and_supervisor_are_killed_at_once_the_next_command_ends_what_is_left(
    taskq: Taskq, repo: Repo
) -> None:
    add(taskq, repo, HANG_ONCE)
    with running(taskq, "run", "--follow") as runner:
        assert runner.stdout is not None
        assert any("ready" in line for line in runner.stdout)
        runner.send_signal(signal.SIGSTOP)
        for pid in supervisors(queue_id(taskq)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        runner.kill()
    taskq.run("cleanup")
    check_all_is_quiet(taskq, repo)
    assert works_of_attempt(repo, 1) == ["attempt-1"]


def test_a_state_folder_that_was_removed_meanwhile_costs_the_attempt_and_no_more(taskq: Taskq, repo: Repo) -> None:
    add(taskq, repo, HANG_ONCE)
    with running(taskq, "run", "--follow") as runner:
        assert runner.stdout is not None
        assert any("ready" in line for line in runner.stdout)
        runner.kill()
        runner.wait()
        wait_until(lambda: not taskq.task("T-1")["held"], what="nothing holds the attempt")
    shutil.rmtree(state(taskq))
    taskq.run("run")
    task = taskq.task("T-1")
    assert (task["status"], task["attempt"]) == ("review", 2)
    check_all_is_quiet(taskq, repo)


def test_a_state_folder_that_goes_while_an_agent_works_fails_the_attempt_and_not_the_runner(
    taskq: Taskq, repo: Repo
) -> None:
    add(taskq, repo, HANG_ONCE)
    with running(taskq, "run", "--json") as runner:
        assert runner.stdout is not None
        events: Iterator[Any] = map(json.loads, runner.stdout)
        assert any(event["event"] == "output" for event in events)
        queue = queue_id(taskq)
        shutil.rmtree(state(taskq) / queue, ignore_errors=True)
        for pid in supervisors(queue):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        (ended,) = [event for event in events if event["event"] == "run_ended"]
    assert ended["in_doubt"] == []
    assert ended["settled"] == {"failed": 1}
    assert processes_of(queue) == []
    failed = taskq.task("T-1")
    assert failed["error"]["code"] == "sandbox"
    assert failed["revision"] is None
    taskq.run("retry", "T-1")
    taskq.run("run")
    assert taskq.task("T-1")["status"] == "review"


@pytest.fixture
def small_disk(tmp_path: Path, capability: Callable[[str], None]) -> Iterator[Path]:
    capability("mount")
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.parametrize("filler", ['"$TASKQ_OUT/fill"', "fill.log"])
def test_a_state_folder_that_fills_up_fails_the_attempt_with_that_reason_and_keeps_what_was_done(
    taskq: Taskq, repo: Repo, small_disk: Path, filler: str
) -> None:
    taskq = Taskq({**taskq.environment, "XDG_STATE_HOME": str(small_disk)}, taskq.cwd)
    add(taskq, repo, f"{WORK}; cat /dev/zero > {filler}; exit 0")
    taskq.run("run", code=1)
    task = taskq.task("T-1")
    assert task["status"] == "failed", task
    assert task["error"]["code"] != "bug", task["error"]
    assert "disk is full" in task["error"]["message"] or "No space" in task["error"]["message"], task["error"]
    assert not task["held"]
    folder = Path(task["run"]["folder"])
    assert (folder / "workspace/work.txt").read_text(encoding="utf-8") == "attempt-1\n"

    taskq.run("cancel", "T-1")
    (report,) = taskq.json("cleanup")
    assert any("could not be collected" in kept for kept in report["kept"])
    assert (folder / "workspace/work.txt").exists()


@pytest.mark.parametrize("form", ["--follow", "--json"])
def test_a_reader_that_goes_away_does_not_disturb_the_run(taskq: Taskq, repo: Repo, form: str) -> None:
    add(taskq, repo, f"{WORK}; i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done; echo more >> work.txt")
    with running(taskq, "run", form) as runner:
        assert runner.stdout is not None
        runner.stdout.readline()
        runner.stdout.close()
        assert runner.stderr is not None
        assert "Traceback" not in runner.stderr.read()
        runner.wait(timeout=60)
        runner.stdout = None
    task = taskq.task("T-1")
    assert (task["status"], task["error"]) == ("review", None)
    assert repo.git("show", f"{task['revision']['ref']}:work.txt") == "attempt-1\nmore"
