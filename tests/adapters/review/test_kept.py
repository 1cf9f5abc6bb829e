import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestration.adapters.review.kept import MODULE
from tests.journeys.waiting import wait_until

ENVIRONMENT = {"PATH": os.environ["PATH"]}


def start(script: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-I", "-m", MODULE, "/bin/sh", "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=ENVIRONMENT,
    )


@pytest.fixture
def kept(tmp_path: Path) -> Iterator["tuple[subprocess.Popen[bytes], int]"]:
    """A program with a child, which both ignore the first signal; and the child's pid."""
    process = start("trap '' TERM; sleep 1000 & echo $!; wait; sleep 1000")
    assert process.stdout is not None
    with process:  # which closes its stdin
        yield process, int(process.stdout.readline())


def is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_the_exit_code_is_the_program_s() -> None:
    with start("exit 7") as process:
        assert process.wait(20) == 7


def test_what_ends_by_a_signal_says_which() -> None:
    with start("kill -TERM $$") as process:
        assert process.wait(20) == 128 + signal.SIGTERM


def test_the_end_of_our_stdin_ends_the_program_and_its_children(
    kept: "tuple[subprocess.Popen[bytes], int]",
) -> None:
    process, child = kept
    assert is_alive(child)
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(20) == 128 + signal.SIGKILL
    wait_until(lambda: not is_alive(child), what="the child has ended")


def test_a_terminal_s_signals_are_for_whoever_started_it(kept: "tuple[subprocess.Popen[bytes], int]") -> None:
    process, child = kept
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        process.send_signal(number)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.3)
    assert is_alive(child)


def test_whoever_is_killed_leaves_nothing(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    keep = [sys.executable, "-I", "-m", MODULE, "/bin/sh", "-c", f"echo $$ > {pid}.new; mv {pid}.new {pid}; sleep 1000"]
    program = f"import subprocess, time; subprocess.Popen({keep!r}, stdin=subprocess.PIPE); time.sleep(1000)"
    with subprocess.Popen([sys.executable, "-c", program], env=ENVIRONMENT) as owner:
        wait_until(pid.exists, what="the program runs")
        child = int(pid.read_text(encoding="ascii"))
        assert is_alive(child)
        owner.kill()
    wait_until(lambda: not is_alive(child), what="the program has ended")
