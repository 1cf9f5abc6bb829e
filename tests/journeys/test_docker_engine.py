"""When the engine is not there, or the disk is full: an error that says what helps, and nothing is lost or left."""

import contextlib
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.journeys.containers import OWN, Docked, docked
from tests.journeys.test_interruptions import running
from tests.journeys.waiting import wait_until

__all__ = ["docked"]
pytestmark = [pytest.mark.full, pytest.mark.timeout(300)]


@pytest.mark.parametrize("address", ["unix://{tmp}/no.sock", "tcp://127.0.0.1:1"])
def test_without_an_engine_tasks_wait_and_no_attempt_is_spent(docked: Docked, tmp_path: Path, address: str) -> None:
    address = address.format(tmp=tmp_path)
    down = docked.with_environment({"DOCKER_HOST": address})
    down.add("echo x > work.txt")

    refused = down.taskq.run("run", code=3)
    assert address in refused.stderr
    assert "start it" in refused.stderr
    assert "Traceback" not in refused.stderr
    task = down.task()
    assert (task["status"], task["attempt"], task["charged"], task["run"]) == ("todo", 0, 0, None)

    examined = down.taskq.run("doctor", code=3).stdout
    (line,) = [line for line in examined.splitlines() if "docker:" in line]
    assert line.startswith("NO")
    assert "start it" in examined
    (docker,) = [health for health in down.taskq.json("doctor", code=3) if health["name"] == "docker"]
    assert (docker["usable"], bool(docker["remedy"])) == (False, True)

    docked.taskq.run("run")
    assert docked.task()["status"] == "review"


def test_a_task_for_the_local_sandbox_needs_no_engine(docked: Docked, tmp_path: Path) -> None:
    down = docked.with_environment({"DOCKER_HOST": f"unix://{tmp_path}/no.sock"})
    down.add("echo x > work.txt", "--sandbox", "local")
    down.taskq.run("run")
    assert down.task()["status"] == "review"


def await_agent(docked: Docked) -> None:
    """Wait for the file ``ready`` of the agent."""

    def is_ready() -> bool:
        run = docked.task()["run"]
        return run is not None and (Path(run["folder"]) / "out/ready").exists()

    wait_until(is_ready, what="the agent works")


def test_an_engine_that_goes_away_with_a_crash_leaves_the_task_for_the_next_run(docked: Docked, tmp_path: Path) -> None:
    docked.add('echo x > work.txt; if [ "$TASKQ_ATTEMPT" = 1 ]; then touch "$TASKQ_OUT/ready"; sleep 1000; fi')
    with running(docked.taskq, "run") as runner:
        await_agent(docked)
        runner.kill()
    down = docked.with_environment({"DOCKER_HOST": f"unix://{tmp_path}/no.sock"})
    assert "start it" in down.taskq.run("run", code=3).stderr
    assert down.task()["status"] == "building", "what the crash left cannot be taken out now, and is not given up"
    docked.taskq.run("run")
    task = docked.task()
    assert (task["status"], task["attempt"]) == ("review", 2)
    assert docked.containers() == []


def test_a_default_image_that_is_not_here_is_said_before_any_attempt(docked: Docked) -> None:
    lacking = docked.with_environment({"TASKQ_DEFAULT_IMAGE": "registry.invalid/none:1"})
    lacking.add("echo x > work.txt")
    refused = lacking.taskq.run("run", code=3).stderr
    assert "there is no image registry.invalid/none:1 here" in refused
    assert "docker pull registry.invalid/none:1" in refused
    assert lacking.task()["attempt"] == 0


@pytest.fixture
def small_disk(tmp_path: Path, capability: Callable[[str], None]) -> Iterator[Path]:
    capability("mount")
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.parametrize("filler", ['"$TASKQ_OUT/fill"', "fill.log", '"$HOME/fill"'])
def test_a_disk_that_fills_up_fails_the_task_with_that_reason_and_leaves_no_container(
    docked: Docked, small_disk: Path, filler: str
) -> None:
    full = docked.with_environment({"XDG_STATE_HOME": str(small_disk)})
    full.add(f"echo attempt-1 > work.txt; cat /dev/zero > {filler}; exit 0")
    full.taskq.run("run", code=1)
    assert full.containers() == []
    task = full.task()
    assert task["status"] == "failed"
    assert task["error"]["code"] != "bug", task["error"]
    assert "disk is full" in task["error"]["message"] or "No space" in task["error"]["message"], task["error"]
    assert not task["held"]
    folder = full.folder()
    assert (folder / "workspace/work.txt").read_text(encoding="utf-8") == "attempt-1\n"

    (folder / "out/fill").unlink(missing_ok=True)
    (folder / "workspace/fill.log").unlink(missing_ok=True)
    (folder / "data/home/fill").unlink(missing_ok=True)
    full.taskq.run("retry", OWN)
    full.taskq.run("cancel", OWN)
    (report,) = full.taskq.json("cleanup")
    assert any("could not be collected" in kept for kept in report["kept"]), report
    assert (folder / "workspace/work.txt").exists()
    assert full.containers() == []


def test_a_disk_that_is_full_before_the_container_is_made_fails_the_task_with_that_reason(
    docked: Docked, small_disk: Path
) -> None:
    full = docked.with_environment({"XDG_STATE_HOME": str(small_disk)})
    full.add("echo x > work.txt")
    fill(small_disk / "fill")
    assert shutil.disk_usage(small_disk).free == 0
    full.taskq.run("run", code=1)
    task = full.task()
    assert (task["status"], task["error"]["stage"]) == ("failed", "setup")
    assert task["error"]["code"] != "bug", task["error"]
    assert full.containers() == []
    (small_disk / "fill").unlink()
    full.taskq.run("retry", OWN)
    full.taskq.run("run")
    assert full.task()["status"] == "review"


def fill(path: Path) -> None:
    """Write to *path* until its disk takes no more."""
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(1 << 16))
