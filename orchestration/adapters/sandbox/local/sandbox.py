"""One attempt's sandbox on this host: commands through the supervisor, files through descriptors.

Guarantees: `run` returns or raises; neither a full pipe, a deaf program nor a dead supervisor makes it wait for ever.
"""

import contextlib
import errno
import os
import selectors
import threading
import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from orchestration.adapters.sandbox.archive import write_archive
from orchestration.adapters.sandbox.attempt_files import put_config
from orchestration.adapters.sandbox.hostile_files import components, fetch_file
from orchestration.adapters.sandbox.local.channel import Channel
from orchestration.adapters.sandbox.local.streams import Streams
from orchestration.core.attempts import AttemptFolders
from orchestration.core.errors import SandboxError
from orchestration.core.facts import SandboxFacts
from orchestration.core.ports import Command, Exit, Output, discard_output

_NO_SUCH_PROGRAM: Final = 127
_CANNOT_RUN: Final = 126


class LocalSandbox:
    """See `core.ports.Sandbox`.

    *grace* is how long, past its timeout, a command's death may take; *waivers* what is wider than the defaults.
    """

    def __init__(
        self,
        channel: Channel,
        folders: AttemptFolders,
        *,
        environment: Mapping[str, str],
        grace: timedelta,
        waivers: tuple[str, ...] = (),
    ) -> None:
        self._channel = channel
        self._folders = folders
        self._environment = environment
        self._grace = grace
        self._waivers = waivers
        self._turn = threading.Lock()
        self._state = threading.Lock()
        self._is_stopped = False
        self._is_running = False

    @property
    def facts(self) -> SandboxFacts:
        """See `core.ports.Sandbox.facts`: nothing is isolated from the network, and that is said."""
        return SandboxFacts(kind="local", network="open", waivers=self._waivers)

    @property
    def services(self) -> None:
        """See `core.ports.Sandbox.services`: nothing goes on beside commands here."""
        return

    def run(self, command: Command, output: Output = discard_output) -> Exit:
        """Run *command*; an unknown program is exit code 127 and a line on stderr, as a shell would have it."""
        with self._turn, Streams.opened(command.stdin, output) as streams:
            self._start(command, streams)
            try:
                reply = self._attend(command, streams)
                streams.drain()
            except BaseException:
                self._abandon()
                raise
        return _exit(reply, command.argv[0], output)

    def send(self, name: str, content: bytes) -> str:
        """Put the file in place in one step, so that no reader ever sees half of it.

        Raises: ValueError for a name that is not plain, StorageError.
        """
        put_config(self._folders, name, content)
        return str(self._folders.config / name)

    def fetch(self, name: str, to: Path, *, limit: int) -> None:
        """See `core.ports.Sandbox.fetch`."""
        fetch_file(self._folders.root, (self._folders.out.name, *components(name)), to, limit=limit)

    def archive(self, to: Path, *, limit: int, files: int) -> None:
        """See `core.ports.Sandbox.archive`."""
        write_archive(self._folders.root, self._folders.workspace.name, to, limit=limit, files=files)

    def stop(self) -> None:
        """See `core.ports.Sandbox.stop`."""
        with self._state:
            self._is_stopped = True
            if self._is_running:
                with contextlib.suppress(SandboxError):
                    self._channel.send({"end": True})

    def close(self) -> None:
        """Give back what the conversation holds, when a command that is cut off has let go of it."""
        self._channel.hang_up()
        if self._turn.acquire(timeout=self._grace.total_seconds()):
            self._channel.close()
            self._turn.release()

    def _start(self, command: Command, streams: Streams) -> None:
        request = {
            "argv": list(command.argv),
            "env": {**self._environment, **command.env},
            "cwd": str(self._folders.workspace),
            "timeout": command.timeout.total_seconds(),
        }
        with self._state:
            if self._is_stopped:
                raise SandboxError("the sandbox was stopped and runs no more commands", code="sandbox_stopped")
            self._channel.send(request, streams.theirs)
            self._is_running = True
        streams.close_theirs()

    def _attend(self, command: Command, streams: Streams) -> Mapping[str, Any]:
        """Carry bytes until the supervisor says that the command's whole tree is dead."""
        deadline = time.monotonic() + (command.timeout + self._grace).total_seconds()
        with selectors.DefaultSelector() as selector:
            selector.register(self._channel, selectors.EVENT_READ, None)
            streams.register(selector)
            while True:
                ready = [key.data for key, _ in selector.select(max(0.0, deadline - time.monotonic()))]
                for descriptor in ready:
                    if descriptor is not None:
                        streams.serve(descriptor, selector)
                if None in ready:
                    return self._finish()
                if time.monotonic() > deadline:
                    raise SandboxError("a command outlived its time limit; its processes cannot be killed")

    def _finish(self) -> Mapping[str, Any]:
        reply = self._channel.receive(self._grace.total_seconds())
        with self._state:
            self._is_running = False
        return reply

    def _abandon(self) -> None:
        """End a command that nobody attends any more, so that the next one meets a quiet sandbox."""
        if self._is_running:
            try:
                self._channel.send({"end": True})
                self._finish()
            except SandboxError:
                self._is_stopped = True


def _exit(reply: Mapping[str, Any], program: str, output: Output) -> Exit:
    if "failed" in reply:
        raise SandboxError(f"the sandbox cannot start a process: {reply['failed']}")
    elapsed = timedelta(seconds=reply["elapsed"])
    if reply["error"] is not None:
        number, tried = reply["error"]
        why = os.strerror(number) if number is not None else "it holds a NUL character"
        output("stderr", f"taskq: cannot run {tried!a}: {why}\n".encode())
        is_missing = number == errno.ENOENT and tried == program
        return Exit(code=_NO_SUCH_PROGRAM if is_missing else _CANNOT_RUN, elapsed=elapsed)
    return Exit(
        code=reply["code"],
        signal=reply["signal"],
        timed_out=reply["timed_out"],
        stopped=reply["stopped"],
        elapsed=elapsed,
    )
