"""Processes of this host, named so that a recycled pid, a reboot or another machine is noticed.

Responsible for: who this process is, whether another still lives, and signals that cannot hit a stranger.
Guarantees: an answer about a process is about that one, not about a later one with its pid.
Not responsible for: finding processes by what they are for.
"""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from orchestration.core.facts import Runner

PROC: Final = Path("/proc")
_BOOT: Final = PROC / "sys/kernel/random/boot_id"
_FIRST_PID_NAMESPACE: Final = "pid:[4026531836]"
_DEAD: Final = frozenset("ZXx")


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One process as the kernel describes it. *started* tells it from later ones with the same pid."""

    pid: int
    parent: int
    started: str
    is_dead: bool

    @property
    def key(self) -> tuple[int, str]:
        """What names this process for good."""
        return self.pid, self.started


def identity() -> Runner:
    """Return who this process is, in a form that other processes and later boots can check."""
    pid = os.getpid()
    found = process(pid)
    return Runner(host=_host(), pid=pid, started=found.started if found else "unknown", boot=_boot())


def is_alive(runner: Runner) -> bool | None:
    """Return whether *runner* still runs; None when it is on another host or in another container."""
    if runner.host != _host():
        return None
    if runner.boot != _boot():
        return False
    found = process(runner.pid)
    return found is not None and not found.is_dead and found.started == runner.started


def process(pid: int) -> Process | None:
    """Return what is known of *pid*, or None when there is no such process."""
    if not PROC.joinpath("self").exists():
        return _process_by_ps(pid)
    try:
        line = (PROC / str(pid) / "stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name in parentheses may hold anything; the fields after the last one are plain.
    fields = line[line.rindex(b")") + 2 :].split()
    return Process(pid=pid, parent=int(fields[1]), started=fields[19].decode(), is_dead=fields[0].decode() in _DEAD)


def processes() -> Mapping[int, Process]:
    """Return every process of this host by its pid; nothing on systems without /proc."""
    return {found.pid: found for pid in _pids() if (found := process(pid)) is not None}


def owner(pid: int) -> int | None:
    """Return the real user id of *pid*; None when it is gone. Its folder in /proc may belong to another."""
    try:
        status = (PROC / str(pid) / "status").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(status.partition(b"\nUid:")[2].split(maxsplit=1)[0])


def family(roots: Mapping[int, Process], everyone: Mapping[int, Process]) -> dict[int, Process]:
    """Return *roots* and all their descendants among *everyone*."""
    children: dict[int, list[Process]] = {}
    for each in everyone.values():
        children.setdefault(each.parent, []).append(each)
    found: dict[int, Process] = {}
    waiting = list(roots.values())
    while waiting:
        each = waiting.pop()
        if each.pid not in found:
            found[each.pid] = each
            waiting.extend(children.get(each.pid, ()))
    return found


def ancestry(pid: int, everyone: Mapping[int, Process]) -> frozenset[int]:
    """Return *pid* and the pids of all its ancestors."""
    line: set[int] = set()
    while pid in everyone and pid not in line:
        line.add(pid)
        pid = everyone[pid].parent
    return frozenset(line)


def send_signal(target: Process, number: signal.Signals) -> bool:
    """Signal exactly *target*; False when it is gone, whoever has its pid now."""
    try:
        handle = os.pidfd_open(target.pid)
    except ProcessLookupError:
        return False
    except (AttributeError, OSError):  # no macOS and no old kernel has pidfds
        return _is_same(target) and _kill(target.pid, number)
    try:
        if not _is_same(target):
            return False
        signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(handle)
    return True


def _is_same(target: Process) -> bool:
    found = process(target.pid)
    return found is not None and found.started == target.started


def _kill(pid: int, number: signal.Signals) -> bool:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def _pids() -> Iterator[int]:
    with contextlib.suppress(FileNotFoundError), os.scandir(PROC) as entries:
        for entry in entries:
            if entry.name.isdecimal():
                yield int(entry.name)


def _host() -> str:
    """Name this host; a container gets its PID namespace added, since a pid means something else there."""
    name = os.uname().nodename
    try:
        namespace = str((PROC / "self/ns/pid").readlink())
    except OSError:
        return name
    return name if namespace == _FIRST_PID_NAMESPACE else f"{name}/{namespace}"


def _boot() -> str:
    try:
        return _BOOT.read_text(encoding="ascii").strip()
    except OSError:
        return "unknown"


def _process_by_ps(pid: int) -> Process | None:
    shown = subprocess.run(  # noqa: S603 - a fixed program and a number
        ["/bin/ps", "-o", "ppid=,state=,lstart=", "-p", str(pid)],
        capture_output=True,
        check=False,
        env={"LC_ALL": "C"},
        encoding="ascii",
        errors="replace",
    )
    fields = shown.stdout.split(maxsplit=2)
    if len(fields) != 3:
        return None
    return Process(pid=pid, parent=int(fields[0]), started=fields[2].strip(), is_dead=fields[1].startswith("Z"))
