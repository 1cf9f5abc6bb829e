"""A command of the guest's own user can neither look into the guest nor speak in its name."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from orchestration.core.ports import Command
from tests.adapters.sandbox.guest.guests import PATIENCE, Guest, Seen, guest_over_pipes

PRY = """
import ctypes, json, os, signal, time
libc = ctypes.CDLL(None, use_errno=True)
def opens(path, mode):
    try:
        with open(path, mode, buffering=0) as file:
            return mode != "rb" or bool(file.read(1)) or "fd" in path
    except OSError:
        return False
def lists(path):
    try:
        return bool(os.listdir(path))
    except OSError:
        return False
def traces(pid):
    if libc.ptrace(16, pid, 0, 0) != 0:
        return False
    os.waitpid(pid, 0x40000000)
    libc.ptrace(17, pid, 0, 0)
    return True
def pry(pid):
    return {
        "environ": opens(f"/proc/{pid}/environ", "rb"),
        "mem": opens(f"/proc/{pid}/mem", "r+b"),
        "fds": lists(f"/proc/{pid}/fd"),
        "stdout": opens(f"/proc/{pid}/fd/1", "wb"),
        "trace": traces(pid),
    }
child = os.fork()
if child == 0:
    os.execve("/bin/sleep", ["sleep", "60"], {"A": "B"})
while open(f"/proc/{child}/environ", "rb").read() != b"A=B\\0":
    time.sleep(0.001)
print(json.dumps({"guest": pry(os.getppid()), "child": pry(child), "uid": os.getuid()}))
"""


WAYS: Final = {"environ", "mem", "fds", "stdout", "trace"}
ORDINARY: Final = 1000 if os.geteuid() == 0 else None
"""Who a guest is in a sandbox: not root, who may trace everybody."""


@pytest.fixture
def other_guest(program: Path) -> Iterator[Guest]:
    with guest_over_pipes(program, Path("/"), user=ORDINARY) as guest:
        yield guest


def pried_open(guest: Guest) -> tuple[set[str], set[str]]:
    """Return what of the guest, and what of its own child, a command of the same user can open."""
    seen = Seen()
    command = Command(argv=("python3", "-c", PRY), timeout=PATIENCE)
    guest.session.run(command, seen, environment={"PATH": "/usr/local/bin:/usr/bin:/bin"}, cwd="/")
    assert seen.stderr == b""
    found = json.loads(seen.stdout)
    assert found["uid"] != 0
    return {name for name in WAYS if found["guest"][name]}, {name for name in WAYS if found["child"][name]}


def test_a_command_cannot_look_into_the_guest_or_speak_for_it(other_guest: Guest) -> None:
    of_guest, of_child = pried_open(other_guest)
    assert of_guest == set()
    assert of_child == WAYS, "the control: a process like any other is open"


def test_a_guest_like_any_other_program_would_be_open(compiled: Callable[..., Path]) -> None:
    careless = compiled("-O2", "-static", without=" || prctl(PR_SET_DUMPABLE, 0L)")
    with guest_over_pipes(careless, Path("/"), user=ORDINARY) as guest:
        of_guest, _ = pried_open(guest)
    assert of_guest == WAYS, "the control: without its one line it is open"


def test_the_guests_own_environment_is_not_its_commands(other_guest: Guest) -> None:
    _, seen = other_guest.run("env")
    assert b"canary" not in seen.stdout


def test_commands_gain_no_privileges(other_guest: Guest) -> None:
    _, seen = other_guest.run("grep", "NoNewPrivs", "/proc/self/status")
    assert seen.stdout.split() == [b"NoNewPrivs:", b"1"]
