"""The supervisor of one attempt: a program of its own that owns the attempt's processes and outlives its runner.

Responsible for: starting commands, time limits, and the death of every descendant, however it hides (double forks,
new sessions, fork storms), before a command is reported as ended.
Guarantees: it ends only when its whole tree is dead, and holds the lease descriptor until then; it starts to end when
the runner's end of the socket closes, however the runner died.

Run as ``python -I -S supervisor.py SOCKET LEASE LABEL...``; it imports nothing of the package, so that it starts
quickly and runs where the package is not. As PID 1 of a PID namespace (bubblewrap) it has the kernel kill all others.
On systems without /proc (macOS) it reaches the command's process group only.

Requests are JSON behind a length of four bytes: ``{"argv", "env", "cwd", "timeout"}`` with stdin, stdout and stderr as
descriptors, or ``{"end": true}``, which ends the command that runs. One reply follows each command.
"""

import contextlib
import ctypes
import json
import os
import resource
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any, Final, NoReturn

SET_PDEATHSIG: Final = 1
SET_DUMPABLE: Final = 4
SET_CHILD_SUBREAPER: Final = 36
SET_NO_NEW_PRIVS: Final = 38
DEAF_TO: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP)
RESET: Final = (*DEAF_TO, signal.SIGPIPE, signal.SIGCHLD, signal.SIGXFSZ)
LENGTH: Final = struct.Struct("!I")
HAS_PROC: Final = os.access("/proc/self/stat", os.R_OK)
CHASES: Final = 2000


class Supervisor:
    """One attempt's processes. Single-threaded: PDEATHSIG is about the thread that forks."""

    def __init__(self, channel: socket.socket, alarm: int) -> None:
        self._channel = channel
        self._alarm = alarm
        self._pid = os.getpid()
        self._started: set[int] = set()
        self._statuses: dict[int, int] = {}

    def serve(self) -> None:
        """Run one command after the other until the runner is gone; then end everything."""
        try:
            while True:
                self._wait(None, on_channel=True)
                received = self._receive()
                if received is None:
                    return
                request, descriptors = received
                if "argv" in request:
                    self._reply(self._run(request, descriptors))
        except ConnectionError:
            return
        finally:
            self._end_tree()

    def _run(self, request: dict[str, Any], descriptors: list[int]) -> dict[str, Any]:
        began = time.monotonic()
        deadline = began + request["timeout"]
        try:
            child, failure = start(request, descriptors, parent=self._pid)
        except OSError as error:
            return {"failed": error.strerror}
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        self._started.add(child)
        outcome: dict[str, Any] = {"timed_out": False, "stopped": False, "error": failure}
        try:
            self._watch(child, deadline, outcome)
        finally:
            self._end_tree()
        code = os.waitstatus_to_exitcode(self._statuses.pop(child))
        outcome["code"], outcome["signal"] = (code, None) if code >= 0 else (None, -code)
        outcome["elapsed"] = time.monotonic() - began
        return outcome

    def _watch(self, child: int, deadline: float, outcome: dict[str, Any]) -> None:
        while self._reap() and child not in self._statuses:
            left = deadline - time.monotonic()
            if left <= 0:
                outcome["timed_out"] = True
                return
            if self._wait(left, on_channel=True):
                received = self._receive()
                if received is None:
                    raise ConnectionError
                if "end" in received[0]:
                    outcome["stopped"] = True
                    return

    def _end_tree(self) -> None:
        """Kill until the kernel says that there are no children: as subreaper, then there are no descendants."""
        while self._reap():
            if self._pid == 1:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(-1, signal.SIGKILL)
            elif HAS_PROC:
                kill_descendants(self._pid)
            else:
                for pid in self._started:
                    kill_group(pid)
            self._wait(0.02, on_channel=False)

    def _reap(self) -> bool:
        """Take the statuses of the dead; return whether any child is left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid in self._started:
                self._started.discard(pid)
                self._statuses[pid] = status

    def _wait(self, timeout: float | None, *, on_channel: bool) -> bool:
        """Wait for a child's death or a request; return whether it was a request."""
        watched: list[Any] = [self._alarm, self._channel] if on_channel else [self._alarm]
        ready, _, _ = select.select(watched, (), (), timeout)
        if self._alarm in ready:
            os.read(self._alarm, 4096)
            self._reap()
        return self._channel in ready

    def _receive(self) -> tuple[dict[str, Any], list[int]] | None:
        """Return a request and its descriptors; None when the runner is gone."""
        try:
            head, descriptors, _flags, _address = socket.recv_fds(self._channel, LENGTH.size, 3)
            for descriptor in descriptors:
                os.set_inheritable(descriptor, False)
            head += self._receive_exactly(LENGTH.size - len(head))
            return json.loads(self._receive_exactly(LENGTH.unpack(head)[0])), descriptors
        except ConnectionError:
            return None

    def _receive_exactly(self, size: int) -> bytes:
        parts = []
        while size:
            part = self._channel.recv(min(size, 1 << 16))
            if not part:
                raise ConnectionResetError
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def _reply(self, content: dict[str, Any]) -> None:
        text = json.dumps(content).encode("ascii")
        self._channel.sendall(LENGTH.pack(len(text)) + text)

    def greet(self) -> None:
        """Tell the runner that commands can come."""
        self._reply({"ready": True})


def start(request: dict[str, Any], descriptors: list[int], *, parent: int) -> tuple[int, list[Any] | None]:
    """Fork and execute; return the child and, when it could not be executed, ``[errno, what was tried]``."""
    report, told = os.pipe()
    child = os.fork()
    if child == 0:
        become(request, descriptors, told, parent=parent)
    os.close(told)
    with os.fdopen(report, "rb") as source:
        text = source.read()
    return child, json.loads(text) if text else None


def become(request: dict[str, Any], descriptors: list[int], told: int, *, parent: int) -> NoReturn:
    """Turn this forked child into the command, in a session of its own that dies with the supervisor."""
    tried = request["cwd"]
    try:
        signal.set_wakeup_fd(-1)
        for number in RESET:
            signal.signal(number, signal.SIG_DFL)
        os.setsid()
        control(SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(127)
        for target, descriptor in enumerate(descriptors):
            os.dup2(descriptor, target)
        os.chdir(request["cwd"])
        tried = request["argv"][0]
        os.execvpe(tried, request["argv"], request["env"])  # noqa: S606 - what a sandbox is for
    except (OSError, ValueError) as error:
        os.write(told, json.dumps([getattr(error, "errno", None), tried]).encode("ascii"))
    finally:
        os._exit(127)


def kill_descendants(root: int) -> None:
    """Kill every descendant of *root*, each with its process group, then chase those that were born meanwhile.

    All groups below *root* are in sessions made below it, so no stranger can be in one.
    """
    newest = last_pid()
    table = {pid: (parent, group) for pid, parent, group in scan(all_pids())}
    doomed = {root}
    growing = True
    while growing:
        found = {pid for pid, (parent, _) in table.items() if parent in doomed} - doomed
        doomed |= found
        growing = bool(found)
    for pid in doomed - {root}:
        kill(pid)
        kill_group(table[pid][1])
    # A process that forks, leaves its session and exits, again and again, outruns a scan of /proc, but not this.
    for _ in range(CHASES):
        first, newest = newest + 1, last_pid()
        if newest < first:
            return
        for pid, parent, group in scan(range(first, newest + 1)):
            if parent in doomed:
                doomed.add(pid)
                kill(pid)
                kill_group(group)


def all_pids() -> Iterator[int]:
    """Yield every process id, the oldest first but for wrapped ones."""
    with os.scandir("/proc") as entries:
        for entry in entries:
            if entry.name.isdecimal():
                yield int(entry.name)


def scan(pids: Iterable[int]) -> Iterator[tuple[int, int, int]]:
    """Yield pid, parent and process group of each of *pids* that exists."""
    for pid in pids:
        try:
            descriptor = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            line = os.read(descriptor, 1024)
        except OSError:
            continue
        finally:
            os.close(descriptor)
        _state, parent, group = line[line.rindex(b")") + 2 :].split(maxsplit=3)[:3]
        yield pid, int(parent), int(group)


def last_pid() -> int:
    """Return the pid that was given out last."""
    descriptor = os.open("/proc/loadavg", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return int(os.read(descriptor, 256).split()[4])
    finally:
        os.close(descriptor)


def kill(pid: int) -> None:
    """Kill one process, if it is there."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)


def kill_group(group: int) -> None:
    """Kill a process group in one step that no fork escapes; never our own."""
    if group not in {0, 1, os.getpgrp()}:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)


def control(option: int, value: int) -> None:
    """Call prctl(2), where there is one."""
    if PRCTL is not None:
        PRCTL(option, value, 0, 0, 0)


PRCTL: Final = getattr(ctypes.CDLL(None), "prctl", None)


def main(arguments: list[str]) -> None:
    """Become the supervisor of the attempt that *arguments* describe."""
    channel, lease = (int(argument) for argument in arguments[:2])
    for descriptor in (channel, lease):
        os.set_inheritable(descriptor, False)
    for number in DEAF_TO:
        signal.signal(number, signal.SIG_IGN)
    control(SET_CHILD_SUBREAPER, 1)
    control(SET_NO_NEW_PRIVS, 1)
    # The command runs as the same user: it must not read our memory, environment or descriptors.
    control(SET_DUMPABLE, 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    alarm, ring = os.pipe()
    os.set_blocking(ring, False)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    signal.set_wakeup_fd(ring, warn_on_full_buffer=False)
    supervisor = Supervisor(socket.socket(fileno=channel), alarm)
    with contextlib.suppress(ConnectionError):
        supervisor.greet()
        supervisor.serve()


if __name__ == "__main__":
    main(sys.argv[1:])
