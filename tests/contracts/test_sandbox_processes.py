"""Nothing that a command started outlives it, in any sandbox: timeouts, stops, fleeing processes."""

import threading
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from orchestration.core.attempts import AttemptFolders
from orchestration.core.errors import SandboxError
from orchestration.core.ports import Command, Exit, Sandbox, SandboxProvider, Stream
from tests.contracts.sandboxes import OWN, PATIENCE, Opened, living, wait_until


def test_a_timeout_reaches_a_double_forked_grandchild_in_its_own_session(box: Opened) -> None:
    seen_alive: list[list[int]] = []

    def output(_stream: Stream, _chunk: bytes) -> None:
        seen_alive.append(living(f"70002.{OWN}"))

    script = f"(setsid /bin/sh -c 'echo up; trap \"\" TERM HUP INT; sleep 70002.{OWN}; :' &) ; sleep 70002.{OWN}"
    command = Command(argv=("/bin/sh", "-c", script), timeout=timedelta(seconds=0.5))
    exit_ = box.sandbox.run(command, output)
    assert exit_.timed_out
    assert not exit_.succeeded
    assert seen_alive[0], "the control: it was there"
    assert not living(f"70002.{OWN}")


@pytest.mark.parametrize(
    "how",
    ["/bin/sh", "setsid /bin/sh", "setsid env -i /bin/sh", "nohup setsid -f /bin/sh"],
    ids=["child", "own-session", "no-environment", "daemon"],
)
def test_what_a_command_leaves_behind_is_gone_when_run_returns(box: Opened, how: str) -> None:
    seen_alive: list[list[int]] = []

    def output(_stream: Stream, chunk: bytes) -> None:
        if b"up" in chunk:
            seen_alive.append(living(f"70003.{OWN}"))
            (box.folders.out / "seen").touch()

    script = f"""({how} -c 'echo up; sleep 70003.{OWN}; :' &)
        while [ ! -e "$TASKQ_OUT/seen" ]; do sleep 0.01; done; exit 4"""
    exit_ = box.sandbox.run(Command(argv=("/bin/sh", "-c", script), timeout=PATIENCE), output)
    assert exit_.code == 4
    assert seen_alive[0], "the control: it was there"
    assert not living(f"70003.{OWN}")


HOPPER = """
use POSIX ();
my $end = time + 15;
if (fork) { syswrite STDOUT, "hopping"; sleep 30 }
while (time < $end) {
    my $child = fork;
    POSIX::_exit(0) if $child;
    POSIX::setsid();
}
"""


def test_a_process_that_forks_and_flees_without_end_is_caught(box: Opened) -> None:
    script = box.folders.workspace / f"hopper-{OWN}.pl"
    script.write_text(HOPPER, encoding="utf-8")
    began = time.monotonic()
    exit_, seen = box.run("perl", script.name, seconds=0.5)
    assert exit_.timed_out
    assert seen.stdout == b"hopping"
    assert not living(f"hopper-{OWN}")
    assert time.monotonic() - began < 12, "it was killed, it did not just end by itself"


def test_a_fork_storm_is_ended(box: Opened) -> None:
    storm = f"n=0; while [ $n -lt 300 ]; do (sleep 70006.{OWN} &) ; n=$((n+1)); done; echo all; wait; sleep 70006.{OWN}"
    exit_, _ = box.shell(storm, seconds=0.6)
    assert exit_.timed_out
    assert not living(f"70006.{OWN}")


def test_stop_from_another_thread_ends_the_command(own_box: Opened) -> None:
    running = threading.Event()
    results: list[Exit] = []

    def work() -> None:
        command = Command(argv=("/bin/sh", "-c", f"echo up; sleep 70007.{OWN}"), timeout=PATIENCE)
        results.append(own_box.sandbox.run(command, lambda _stream, _chunk: running.set()))

    thread = threading.Thread(target=work)
    thread.start()
    assert running.wait(20)
    own_box.sandbox.stop()
    thread.join(20)
    assert (results[0].stopped, results[0].timed_out, results[0].succeeded) == (True, False, False)
    assert not living(f"70007.{OWN}")


def test_after_stop_no_command_is_run(own_box: Opened) -> None:
    own_box.sandbox.stop()
    with pytest.raises(SandboxError, match="stopped") as caught:
        own_box.shell('touch "$TASKQ_OUT/ran"')
    assert caught.value.code == "sandbox_stopped"
    assert not (own_box.folders.out / "ran").exists()


def test_after_a_timeout_the_next_command_is_run(box: Opened) -> None:
    assert box.run("sleep", f"70008.{OWN}", seconds=0.1)[0].timed_out
    assert box.run("true")[0].succeeded


def test_leaving_the_block_ends_a_command_that_still_runs(
    provider: SandboxProvider, box: Opened, tmp_path: Path
) -> None:
    folders = AttemptFolders(root=tmp_path / "second")
    folders.root.mkdir()
    errors: list[Exception] = []
    with (tmp_path / "lease").open("w", encoding="utf-8") as lease:
        with provider.open(replace(box.spec, attempt=2), folders, lease=lease.fileno()) as sandbox:
            thread = threading.Thread(target=_run_and_note, args=(sandbox, errors))
            thread.start()
            wait_until(lambda: living(f"70009.{OWN}"))
        thread.join(20)
    assert not living(f"70009.{OWN}")
    assert isinstance(errors[0], SandboxError)


def _run_and_note(sandbox: Sandbox, errors: list[Exception]) -> None:
    try:
        sandbox.run(Command(argv=("sleep", f"70009.{OWN}"), timeout=PATIENCE))
    except SandboxError as error:
        errors.append(error)
