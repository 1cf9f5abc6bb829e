"""OpenChamber, a page for sessions of OpenCode, as a program of the host beside the sandbox.

Guarantees: it is shown the operator's worktree, and never the agent's tree; its passwords are in its environment, in
no argument; it ends with the block, and with us if we are killed.
Not responsible for: what it is. It is the person's own, found on their PATH, and tested here against a stand-in.
"""

import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from secrets import token_urlsafe
from typing import Final

from orchestration.adapters.review.kept import MODULE
from orchestration.adapters.review.listener import LOOPBACK
from orchestration.core.attempts import AttemptFolders
from orchestration.core.errors import ExternalError
from orchestration.core.ports import AgentServer
from orchestration.core.review import Page
from orchestration.support.files import make_private_folder, write_durably

NAME: Final = "openchamber"
_SERVED: Final = "opencode"
_START_SECONDS: Final = 30.0
_END_SECONDS: Final = 10.0
_NOWHERE: Final = f"http://{LOOPBACK}:9"
"""Where updates are asked for: the discard port, on which nothing answers."""
_INHERITED: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TERM", "TMPDIR")


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenChamber:
    """OpenChamber as it is installed: *program*, and the *opencode* that it insists on finding."""

    program: str
    opencode: str
    environment: Mapping[str, str]

    @contextmanager
    def opened(
        self, server: AgentServer, *, port: int, folders: AttemptFolders, worktree: Path, scratch: Path
    ) -> Iterator[Page]:
        """Run it while the block lasts, in front of the server that *port* of the host leads to.

        *scratch* is a private folder for what it keeps; *worktree* is the operator's.
        Raises: ExternalError when it does not start.
        """
        own, password = _free_port(), token_urlsafe(24)
        keep = scratch / NAME
        _choose(keep, worktree)
        variables = {
            **{name: self.environment[name] for name in _INHERITED if name in self.environment},
            **self._variables(server, port=port, folders=folders, keep=keep, password=password),
        }
        argv = (self.program, "serve", "--port", str(own), "--host", LOOPBACK, "--foreground")
        with _running(argv, variables, scratch / f"{NAME}.log", port=own):
            session = server.page.rpartition("/session/")[2]
            url = f"http://{LOOPBACK}:{own}/" + (f"?session={session}" if session else "")
            yield Page(title="OpenChamber", url=url, password=password)

    def _variables(
        self, server: AgentServer, *, port: int, folders: AttemptFolders, keep: Path, password: str
    ) -> dict[str, str]:
        return {
            "OPENCODE_HOST": f"http://{LOOPBACK}:{port}",
            "OPENCODE_SKIP_START": "true",
            "OPENCODE_SERVER_PASSWORD": server.password,
            "OPENCODE_BINARY": self.opencode,
            "XDG_CONFIG_HOME": str(folders.config),
            "XDG_DATA_HOME": str(folders.data / "home/.local/share"),
            "OPENCHAMBER_DATA_DIR": str(keep),
            "OPENCHAMBER_UI_PASSWORD": password,
            "OPENCHAMBER_UPDATE_API_URL": _NOWHERE,
        }


def find(environment: Mapping[str, str]) -> OpenChamber | None:
    """Return OpenChamber where it is on the PATH, with an OpenCode that it can name; else None."""
    path = environment.get("PATH", "")
    program, opencode = shutil.which(NAME, path=path), shutil.which(_SERVED, path=path)
    if program is None or opencode is None:
        return None
    return OpenChamber(program=program, opencode=opencode, environment=environment)


def _choose(keep: Path, worktree: Path) -> None:
    """Let it begin with the worktree."""
    make_private_folder(keep)
    project = {"id": "task", "path": str(worktree), "label": worktree.name}
    settings = {"lastDirectory": str(worktree), "projects": [project], "activeProjectId": "task"}
    write_durably(keep / "settings.json", json.dumps(settings).encode("ascii"))


@contextmanager
def _running(argv: tuple[str, ...], variables: Mapping[str, str], said: Path, *, port: int) -> Iterator[None]:
    """Run the program while the block lasts, once it listens on *port*. Raises: ExternalError."""
    with said.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - the person's own program
            (sys.executable, "-I", "-m", MODULE, *argv),
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd="/",
            env=dict(variables),
        )
    try:
        _await(process, port, said)
        yield
    finally:
        if process.stdin is not None:
            process.stdin.close()
        try:
            process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await(process: "subprocess.Popen[bytes]", port: int, said: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection((LOOPBACK, port), timeout=1):
            return
        time.sleep(0.05)
    last = said.read_bytes()[-300:].decode("utf-8", "backslashreplace").strip()
    raise ExternalError(f"OpenChamber did not start: {last!a}; use the agent's own page by taking it off the PATH")


def _free_port() -> int:
    with socket.create_server((LOOPBACK, 0)) as found:
        port: int = found.getsockname()[1]
        return port
