"""What happens when the runner, the supervisor or both die."""

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestration.adapters.sandbox.local.provider import LocalSandboxProvider
from orchestration.core.errors import SandboxError
from orchestration.core.ports import Command

OWN = f"{os.getpid()}s"
"""Makes what our processes sleep unlike what those of another test run do."""

RUNNER = """
import fcntl, os, sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from orchestration.adapters.sandbox.local.provider import LocalSandboxProvider
from orchestration.core.attempts import AttemptFolders, AttemptSpec
from orchestration.core.models import Limits
from orchestration.core.ports import Command
root, queue, use, script = sys.argv[1:]
folders = AttemptFolders(root=Path(root))
spec = AttemptSpec(version=1, queue=queue, task="T-1", attempt=1, token=1, text="", repo="/", base="main",
    base_commit="0", branch="b", worktree_path=None, agent="command", agent_command=None, model=None, sandbox="local",
    limits=Limits(), allow_empty=False, created_at=datetime.now(UTC), start_commit="0", previous_tip=None, collect=1)
lease = os.open(folders.lease, os.O_RDWR)
fcntl.flock(lease, fcntl.LOCK_EX)
with LocalSandboxProvider(use_bubblewrap=use == "True").open(spec, folders, lease=lease) as sandbox:
    sandbox.run(Command(argv=("/bin/sh", "-c", script), timeout=timedelta(seconds=60)))
"""


@pytest.fixture(params=[True, False], ids=["in-bubblewrap", "without"])
def wrapping(request: pytest.FixtureRequest, capability: Callable[[str], None]) -> Mapping[str, bool]:
    """Return how to make the provider: each test here runs inside bubblewrap and without."""
    if request.param:
        capability("bwrap")
    return {"use_bubblewrap": request.param}


@contextlib.contextmanager
def running_runner(attempt: Any, script: str, *, use_bubblewrap: bool) -> Iterator["subprocess.Popen[bytes]"]:
    """Start a runner as a process of its own, and end it at the end."""
    arguments = [str(attempt.folders.root), attempt.spec.queue, str(use_bubblewrap), script]
    runner = subprocess.Popen([sys.executable, "-c", RUNNER, *arguments], cwd=Path.cwd())
    try:
        yield runner
    finally:
        runner.kill()
        runner.wait()


def is_held(lease: Path) -> bool:
    with lease.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def supervisors(queue: str) -> list[int]:
    """Return the supervisors of a queue, without their bubblewrap."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            arguments = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdecimal() else []
            if arguments[:1] == [sys.executable.encode()] and f"TASKQ_QUEUE_ID={queue}".encode() in arguments:
                found.append(int(entry.name))
    return found


def test_when_the_runner_is_killed_the_lease_is_held_until_the_last_process_is_dead(
    make_attempt: Callable[..., Any],
    living: Callable[[str], list[int]],
    wait_until: Callable[..., None],
    wrapping: Mapping[str, bool],
) -> None:
    attempt = make_attempt()
    script = f"trap '' TERM HUP INT; (setsid sleep 71001.{OWN} &) ; sleep 71001.{OWN}; :"
    with running_runner(attempt, script, **wrapping) as runner:
        wait_until(lambda: len(living(f"sleep\x0071001.{OWN}")) == 2)
        supervisor = supervisors(attempt.spec.queue)[0]
        os.kill(supervisor, signal.SIGSTOP)
        runner.kill()
        runner.wait()
        assert is_held(attempt.folders.lease), "its supervisor could not end anything yet"
        assert living(f"71001.{OWN}")
        os.kill(supervisor, signal.SIGCONT)
        wait_until(lambda: not is_held(attempt.folders.lease))
        assert not living(f"71001.{OWN}")


def test_a_polite_signal_does_not_end_the_supervisor(
    make_attempt: Callable[..., Any], shell: Callable[..., Any], wrapping: Mapping[str, bool]
) -> None:
    attempt = make_attempt()
    provider = LocalSandboxProvider(**wrapping)
    with provider.open(attempt.spec, attempt.folders, lease=attempt.lease) as sandbox:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(supervisors(attempt.spec.queue)[0], number)
        assert shell(sandbox, "echo alive")[1] == "alive\n"


def test_a_killed_supervisor_is_a_sandbox_error_and_what_it_left_is_ended(
    make_attempt: Callable[..., Any], living: Callable[[str], list[int]], wrapping: Mapping[str, bool]
) -> None:
    attempt = make_attempt()
    provider = LocalSandboxProvider(**wrapping)

    def output(_stream: str, _chunk: bytes) -> None:
        os.kill(supervisors(attempt.spec.queue)[0], signal.SIGKILL)

    command = Command(
        argv=("/bin/sh", "-c", f"(setsid sleep 71002.{OWN} &) ; echo up; sleep 71002.{OWN}; :"),
        timeout=timedelta(seconds=60),
    )
    with (
        pytest.raises(SandboxError, match="supervisor is gone"),
        provider.open(attempt.spec, attempt.folders, lease=attempt.lease) as sandbox,
    ):
        sandbox.run(command, output)
    assert not living(f"71002.{OWN}")


@pytest.mark.full
def test_a_frozen_supervisor_does_not_hang_the_runner(
    make_attempt: Callable[..., Any], living: Callable[[str], list[int]], wrapping: Mapping[str, bool]
) -> None:
    attempt = make_attempt()
    provider = LocalSandboxProvider(**wrapping, grace=timedelta(seconds=0.5))

    def output(_stream: str, _chunk: bytes) -> None:
        os.kill(supervisors(attempt.spec.queue)[0], signal.SIGSTOP)

    command = Command(argv=("/bin/sh", "-c", f"echo up; sleep 71003.{OWN}; :"), timeout=timedelta(seconds=0.2))
    with (
        pytest.raises(SandboxError, match="outlived its time limit"),
        provider.open(attempt.spec, attempt.folders, lease=attempt.lease) as sandbox,
    ):
        sandbox.run(command, output)
    assert not living(f"71003.{OWN}")
    assert not supervisors(attempt.spec.queue)


def test_when_both_are_killed_reap_ends_the_rest(
    make_attempt: Callable[..., Any],
    living: Callable[[str], list[int]],
    wait_until: Callable[..., None],
) -> None:
    attempt = make_attempt()
    with running_runner(
        attempt, f"(setsid sleep 71004.{OWN} &) ; sleep 71004.{OWN}; :", use_bubblewrap=False
    ) as runner:
        wait_until(lambda: len(living(f"sleep\x0071004.{OWN}")) == 2)
        os.kill(runner.pid, signal.SIGSTOP)
        os.kill(supervisors(attempt.spec.queue)[0], signal.SIGKILL)
        wait_until(lambda: len(living(f"sleep\x0071004.{OWN}")) >= 1 and not supervisors(attempt.spec.queue))
    assert living(f"sleep\x0071004.{OWN}"), "the control: the grandchild lives on"
    assert LocalSandboxProvider().reap(attempt.spec.labels) >= 1
    assert not living(f"71004.{OWN}")


def test_reap_ends_a_living_attempt_with_its_supervisor(
    make_attempt: Callable[..., Any],
    living: Callable[[str], list[int]],
    wait_until: Callable[..., None],
    wrapping: Mapping[str, bool],
) -> None:
    attempt = make_attempt()
    with running_runner(attempt, f"env -i sleep 71005.{OWN} & sleep 71005.{OWN}; :", **wrapping) as runner:
        wait_until(lambda: len(living(f"sleep\x0071005.{OWN}")) == 2)
        os.kill(runner.pid, signal.SIGSTOP)
        assert LocalSandboxProvider().reap({"taskq.queue": attempt.spec.queue}) >= 3
        assert not living(f"sleep\x0071005.{OWN}")
        assert not supervisors(attempt.spec.queue)


def test_reap_of_one_task_does_not_touch_another_with_a_longer_name(
    make_attempt: Callable[..., Any], shell: Callable[..., Any]
) -> None:
    attempts = [make_attempt("T-1"), make_attempt("T-10")]
    provider = LocalSandboxProvider(use_bubblewrap=False)
    with contextlib.ExitStack() as stack:
        first, second = (
            stack.enter_context(provider.open(each.spec, each.folders, lease=each.lease)) for each in attempts
        )
        assert provider.reap(attempts[0].spec.labels) == 1
        with pytest.raises(SandboxError):
            shell(first, "echo alive")
        assert shell(second, "echo alive")[1] == "alive\n"


def test_reap_of_one_queue_does_not_touch_another(make_attempt: Callable[..., Any], shell: Callable[..., Any]) -> None:
    attempt = make_attempt()
    provider = LocalSandboxProvider(use_bubblewrap=False)
    with provider.open(attempt.spec, attempt.folders, lease=attempt.lease) as sandbox:
        assert provider.reap({**attempt.spec.labels, "taskq.queue": "another"}) == 0
        assert shell(sandbox, "echo alive")[1] == "alive\n"


def test_reap_spares_the_caller_and_its_ancestors(wait_until: Callable[..., None]) -> None:
    script = """
import subprocess, sys
from orchestration.adapters.sandbox.local.provider import LocalSandboxProvider
child = subprocess.Popen(["sleep", "71006"])
print(LocalSandboxProvider().reap({"taskq.queue": sys.argv[1]}), child.wait())
"""
    queue = f"queue-of-{os.getpid()}"
    marks = {"TASKQ_QUEUE_ID": queue, "TASKQ_SANDBOX": "local"}
    done = subprocess.run(
        ["/bin/sh", "-c", '"$@"; exit $?', "sh", sys.executable, "-c", script, queue],
        env={**os.environ, **marks, "PYTHONPATH": str(Path.cwd())},
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert done.stdout == b"1 -9\n"


@pytest.mark.parametrize(("labels", "why"), [({}, "everything"), ({"other": "x"}, "other")])
def test_reap_refuses_labels_that_would_hit_too_much(labels: dict[str, str], why: str) -> None:
    with pytest.raises((ValueError, KeyError), match=why):
        LocalSandboxProvider().reap(labels)


def test_a_supervisor_that_cannot_start_says_why(
    make_attempt: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "python").write_text("#!/bin/sh\necho 'no such interpreter here' >&2\nexit 3\n", encoding="utf-8")
    (tmp_path / "python").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    attempt = make_attempt()
    with (
        pytest.raises(SandboxError, match="no such interpreter here"),
        LocalSandboxProvider(use_bubblewrap=False).open(attempt.spec, attempt.folders, lease=attempt.lease),
    ):
        pass


def test_a_supervisor_that_is_not_there_is_a_sandbox_error(
    make_attempt: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "nothing"))
    attempt = make_attempt()
    with (
        pytest.raises(SandboxError, match="cannot start"),
        LocalSandboxProvider(use_bubblewrap=False).open(attempt.spec, attempt.folders, lease=attempt.lease),
    ):
        pass


def test_the_lease_is_not_released_by_the_sandbox_while_the_runner_holds_it(
    make_attempt: Callable[..., Any], shell: Callable[..., Any], wrapping: Mapping[str, bool]
) -> None:
    attempt = make_attempt()
    fcntl.flock(attempt.lease, fcntl.LOCK_EX)
    provider = LocalSandboxProvider(**wrapping)
    with provider.open(attempt.spec, attempt.folders, lease=attempt.lease) as sandbox:
        shell(sandbox, "true")
    assert is_held(attempt.folders.lease)
    fcntl.flock(attempt.lease, fcntl.LOCK_UN)
    assert not is_held(attempt.folders.lease)


def test_no_supervisor_is_left_when_the_block_is_left_by_an_error(
    make_attempt: Callable[..., Any], wrapping: Mapping[str, bool]
) -> None:
    attempt = make_attempt()
    provider = LocalSandboxProvider(**wrapping)
    with (
        pytest.raises(ZeroDivisionError),
        provider.open(attempt.spec, attempt.folders, lease=attempt.lease),
    ):
        raise ZeroDivisionError
    assert not supervisors(attempt.spec.queue)
