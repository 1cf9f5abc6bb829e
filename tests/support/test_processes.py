"""Who a process is, and whether it still lives."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from orchestration.support import processes
from orchestration.support.processes import ancestry, family, identity, is_alive, owner, process, send_signal


@pytest.fixture
def sleeper() -> Iterator["subprocess.Popen[bytes]"]:
    """Yield a process that sleeps; ended at the end."""
    child = subprocess.Popen(["sleep", "73001"])
    yield child
    child.kill()
    child.wait()


def test_this_process_is_alive() -> None:
    assert is_alive(identity()) is True


def test_the_identity_is_the_same_whenever_asked() -> None:
    assert identity() == identity()


@pytest.mark.parametrize(
    ("difference", "answer"),
    [({"started": "1"}, False), ({"boot": "another"}, False), ({"pid": 2**22 + 1}, False), ({"host": "another"}, None)],
    ids=["recycled-pid", "reboot", "no-such-pid", "other-host"],
)
def test_another_process_boot_or_host_is_noticed(difference: dict[str, str | int], answer: bool | None) -> None:  # noqa: FBT001 - a parameter of the test
    assert is_alive(replace(identity(), **difference)) is answer  # type: ignore[arg-type]  # the table has the right types


def test_a_process_that_ended_is_not_alive_even_when_nobody_has_waited_for_it() -> None:
    told = subprocess.run(
        [sys.executable, "-c", "from orchestration.support.processes import identity as i; print(i())"],
        capture_output=True,
        check=True,
        text=True,
        env={"PYTHONPATH": str(Path.cwd())},
    )
    assert f"host={identity().host!r}" in told.stdout
    child = subprocess.Popen(["true"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    found = process(child.pid)
    assert found is not None
    assert found.is_dead
    assert is_alive(replace(identity(), pid=child.pid, started=found.started)) is False
    child.wait()
    assert process(child.pid) is None


def test_a_name_with_parentheses_and_spaces_does_not_confuse(tmp_path: Path) -> None:
    program = tmp_path / ") S 1 (x y"
    program.symlink_to("/bin/sleep")
    child = subprocess.Popen([program, "73002"])
    try:
        found = process(child.pid)
        assert found is not None
        assert found.parent == os.getpid()
        assert owner(child.pid) == os.getuid()
    finally:
        child.kill()
        child.wait()


def test_a_family_is_a_process_and_its_descendants(sleeper: "subprocess.Popen[bytes]") -> None:
    everyone = processes.processes()
    own = {os.getpid(): everyone[os.getpid()]}
    assert sleeper.pid in family(own, everyone)
    assert os.getppid() not in family(own, everyone)
    assert {os.getpid(), os.getppid()} <= ancestry(os.getpid(), everyone)
    assert sleeper.pid not in ancestry(os.getpid(), everyone)


def test_a_signal_reaches_the_process_that_was_meant(sleeper: "subprocess.Popen[bytes]") -> None:
    found = process(sleeper.pid)
    assert found is not None
    assert send_signal(found, signal.SIGKILL) is True
    assert sleeper.wait() == -signal.SIGKILL


def test_a_signal_does_not_reach_a_later_process_of_the_same_pid(sleeper: "subprocess.Popen[bytes]") -> None:
    found = process(sleeper.pid)
    assert found is not None
    assert send_signal(replace(found, started="1"), signal.SIGKILL) is False
    assert sleeper.poll() is None


def test_a_signal_to_a_process_that_is_gone_is_no_error() -> None:
    child = subprocess.Popen(["true"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    found = process(child.pid)
    child.wait()
    assert found is not None
    assert send_signal(found, signal.SIGKILL) is False


@pytest.mark.skipif(not Path("/bin/ps").exists(), reason="there is no /bin/ps")
def test_without_proc_the_start_of_a_process_comes_from_ps(
    sleeper: "subprocess.Popen[bytes]", monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(processes, "PROC", tmp_path)
    found = process(sleeper.pid)
    assert found is not None
    assert (found.parent, found.is_dead) == (os.getpid(), False)
    assert found.started.endswith(str(2000 + int(found.started[-2:])))
    assert process(2**22 + 1) is None
    assert processes.processes() == {}
