"""Nothing that a command started outlives it: time limits, stops, fleeing processes, a host that goes away."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestration.core.errors import SandboxError
from orchestration.core.ports import Exit, Stream
from tests.adapters.sandbox.guest.guests import OWN, Guest, guest_over_socket

Living = Callable[[str], list[int]]
WaitUntil = Callable[[Callable[[], object]], None]

HOPPER = r"""
#include <time.h>
#include <unistd.h>
int main(void)
{
    time_t end = time(NULL) + 12;
    for (int i = 0; i < 3; i++)
        if (fork() == 0)
            while (time(NULL) < end) {
                if (fork() > 0)
                    _exit(0);
                setsid();
            }
    if (write(1, "hopping", 7) == 7)
        sleep(30);
}
"""
"""Three processes that fork, leave their session and exit, some ten thousand times a second."""


def test_a_time_limit_reaches_a_double_forked_grandchild_in_its_own_session(guest: Guest, living: Living) -> None:
    seen_alive: list[list[int]] = []
    script = f"(setsid /bin/sh -c 'echo up; trap \"\" TERM HUP INT; sleep 72002.{OWN}; :' &) ; sleep 72002.{OWN}"
    exit_ = guest.run_into(
        lambda _stream, _chunk: seen_alive.append(living(f"72002.{OWN}")), "/bin/sh", "-c", script, seconds=0.5
    )
    assert (exit_.timed_out, exit_.stopped, exit_.signal, exit_.succeeded) == (True, False, signal.SIGKILL, False)
    assert seen_alive[0], "the control: it was there"
    assert not living(f"72002.{OWN}")


@pytest.mark.parametrize(
    "how",
    ["/bin/sh", "setsid /bin/sh", "setsid env -i /bin/sh", "nohup setsid -f /bin/sh"],
    ids=["child", "own-session", "no-environment", "daemon"],
)
def test_what_a_command_leaves_behind_is_gone_when_run_returns(guest: Guest, living: Living, how: str) -> None:
    seen_alive: list[list[int]] = []

    def output(_stream: Stream, chunk: bytes) -> None:
        if b"up" in chunk:
            seen_alive.append(living(f"72003.{OWN}"))
            (guest.folder / "seen").touch()

    script = f"({how} -c 'echo up; sleep 72003.{OWN}; :' &)\nwhile [ ! -e seen ]; do sleep 0.01; done; exit 4"
    assert guest.run_into(output, "/bin/sh", "-c", script).code == 4
    assert seen_alive[0], "the control: it was there"
    assert not living(f"72003.{OWN}")


def test_without_adoption_of_orphans_one_would_survive(
    compiled: Callable[..., Path], tmp_path: Path, living: Living, wait_until: WaitUntil
) -> None:
    careless = compiled("-O2", "-static", without="prctl(PR_SET_CHILD_SUBREAPER, 1L) || ")
    with guest_over_socket(careless, tmp_path) as guest:
        exit_, _ = guest.shell(f"(setsid sleep 72014.{OWN} >/dev/null 2>&1 &); sleep 0.2")
    assert exit_.succeeded
    survivors = living(f"72014.{OWN}")
    for pid in survivors:
        os.kill(pid, signal.SIGKILL)
    assert len(survivors) == 1, "the control: what the tests above look for can be seen"
    wait_until(lambda: not living(f"72014.{OWN}"))


def test_processes_that_fork_and_flee_without_end_are_caught(guest: Guest, living: Living) -> None:
    hopper = guest.folder / f"hopper-{OWN}"
    subprocess.run(["cc", "-O2", "-o", hopper, "-x", "c", "-"], input=HOPPER, text=True, check=True)
    began = time.monotonic()
    exit_, seen = guest.run(str(hopper), seconds=0.3)
    assert exit_.timed_out
    assert seen.stdout == b"hopping"
    assert not living(f"hopper-{OWN}")
    assert time.monotonic() - began < 10, "they were killed, they did not just end by themselves"


def test_a_fork_storm_is_ended(guest: Guest, living: Living) -> None:
    storm = f"n=0; while [ $n -lt 300 ]; do (sleep 72006.{OWN} &) ; n=$((n+1)); done; echo all; wait; sleep 72006.{OWN}"
    exit_, _ = guest.shell(storm, seconds=0.6)
    assert exit_.timed_out
    assert not living(f"72006.{OWN}")


def test_stopped_processes_are_ended_too(guest: Guest, living: Living) -> None:
    exit_, _ = guest.shell(f"sleep 72004.{OWN} & kill -STOP $!; (setsid sleep 72004.{OWN} &); kill -STOP $$", seconds=1)
    assert exit_.timed_out
    assert not living(f"72004.{OWN}")


def test_stop_from_another_thread_ends_the_command(guest: Guest, living: Living) -> None:
    running = threading.Event()
    results: list[Exit] = []

    def work() -> None:
        results.append(
            guest.run_into(
                lambda _stream, _chunk: running.set(), "/bin/sh", "-c", f"echo up; sleep 72007.{OWN}; echo not reached"
            )
        )

    thread = threading.Thread(target=work)
    thread.start()
    assert running.wait(20)
    guest.session.stop()
    thread.join(20)
    assert (results[0].stopped, results[0].timed_out, results[0].succeeded) == (True, False, False)
    assert not living(f"72007.{OWN}")


def test_after_stop_no_command_is_run(guest: Guest) -> None:
    guest.session.stop()
    with pytest.raises(SandboxError, match="stopped") as caught:
        guest.run("touch", "ran")
    assert caught.value.code == "sandbox_stopped"
    assert not (guest.folder / "ran").exists()


def test_after_a_time_limit_the_next_command_is_run(guest: Guest) -> None:
    assert guest.run("sleep", f"72008.{OWN}", seconds=0.1)[0].timed_out
    assert guest.run("true")[0].succeeded


def test_a_time_limit_of_nothing_is_kept(guest: Guest) -> None:
    assert guest.run("sleep", f"72010.{OWN}", seconds=0)[0].timed_out


def test_a_time_limit_of_centuries_is_no_time_limit(guest: Guest) -> None:
    exit_, _ = guest.run("true", seconds=8e13)
    assert exit_.succeeded


def test_closing_the_session_ends_the_command_and_the_guest(
    program: Path, tmp_path: Path, living: Living, wait_until: WaitUntil
) -> None:
    errors: list[SandboxError] = []
    with guest_over_socket(program, tmp_path) as guest:
        thread = threading.Thread(target=_run_and_note, args=(guest, f"72009.{OWN}", errors))
        thread.start()
        wait_until(lambda: living(f"72009.{OWN}"))
        guest.session.close()
        thread.join(20)
        assert guest.process.wait(20) == 0
    assert not living(f"72009.{OWN}")
    assert [error.code for error in errors] == ["guest_lost"]


def test_a_guest_whose_host_is_gone_ends_what_fled_and_then_itself(
    program: Path, tmp_path: Path, living: Living, wait_until: WaitUntil
) -> None:
    errors: list[SandboxError] = []
    with guest_over_socket(program, tmp_path) as guest:
        script = f"(setsid nohup sleep 72011.{OWN} &); (setsid yes >/dev/null &); sleep 72011.{OWN}"
        thread = threading.Thread(target=_shell_and_note, args=(guest, script, errors))
        thread.start()
        wait_until(lambda: len(living(f"sleep\00072011.{OWN}")) == 2)
        guest.session.close()
        assert guest.process.wait(20) == 0
        assert not living(f"72011.{OWN}"), "they are gone before the guest is"
        thread.join(20)


def test_the_main_process_dies_with_a_guest_that_is_killed(
    program: Path, tmp_path: Path, living: Living, wait_until: WaitUntil
) -> None:
    errors: list[SandboxError] = []
    with guest_over_socket(program, tmp_path) as guest:
        thread = threading.Thread(target=_run_and_note, args=(guest, f"72012.{OWN}", errors))
        thread.start()
        wait_until(lambda: living(f"72012.{OWN}"))
        guest.process.kill()
        thread.join(20)
        wait_until(lambda: not living(f"72012.{OWN}"))
    assert [error.code for error in errors] == ["guest_lost"]


def test_a_process_with_a_hostile_name_is_ended(guest: Guest, living: Living) -> None:
    named = guest.folder / ") S 1 1 (" / f"72013.{OWN}"
    named.parent.mkdir()
    named.with_name(") 1 1").write_bytes(Path("/bin/sleep").read_bytes())
    named.with_name(") 1 1").chmod(0o755)
    exit_, _ = guest.shell(f"(setsid './) S 1 1 (/) 1 1' 72013.{OWN} &); sleep 72013.{OWN}", seconds=0.5)
    assert exit_.timed_out
    assert not living(f"72013.{OWN}")


def test_the_guest_itself_and_its_neighbours_are_left_alone(guest: Guest) -> None:
    with subprocess.Popen(["sleep", "60"]) as neighbour:
        assert guest.run("sleep", "60", seconds=0.1)[0].timed_out
        assert neighbour.poll() is None
        assert os.getpgid(neighbour.pid) == os.getpgid(guest.process.pid), "even one in its own process group"
        neighbour.kill()


def _run_and_note(guest: Guest, token: str, errors: list[SandboxError]) -> None:
    _shell_and_note(guest, f"exec sleep {token}", errors)


def _shell_and_note(guest: Guest, script: str, errors: list[SandboxError]) -> None:
    try:
        guest.shell(script)
    except SandboxError as error:
        errors.append(error)
