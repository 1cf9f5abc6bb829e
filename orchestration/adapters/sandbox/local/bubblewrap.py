"""What a sandbox sees of the host where bubblewrap works: all of it read-only, less secrets, sockets and processes.

Guarantees: only the attempt's workspace, git, data and out folders can be written; no process of the host is visible;
no capability is left, for root neither; known places of the operator's secrets are empty.
Not responsible for: the network. It is the host's own: `local` is a waiver of isolation.
"""

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from orchestration.core.attempts import AttemptFolders

BLANKED: Final = (Path("/tmp"), Path("/run"))  # noqa: S108 - hidden from sandboxes, not used
"""Folders of the host that are empty inside: other programs' temporary files and sockets."""

SECRETS: Final = (
    ".ssh",
    ".gnupg",
    ".aws",
    ".azure",
    ".docker",
    ".kube",
    ".netrc",
    ".pgpass",
    ".pypirc",
    ".npmrc",
    ".git-credentials",
    ".password-store",
    ".vault-token",
    ".bash_history",
    ".python_history",
    ".zsh_history",
    ".cargo/credentials",
    ".cargo/credentials.toml",
    ".claude.json",
    ".claude/.credentials.json",
    ".codex/auth.json",
    ".m2/settings.xml",
    ".config/containers/auth.json",
    ".config/gcloud",
    ".config/gh",
    ".config/git/credentials",
    ".config/hub",
    ".config/taskq",
    ".local/share/keyrings",
    ".local/share/opencode/auth.json",
)
"""Places below the operator's home that are hidden when they exist."""

_ISOLATION: Final = (
    "--new-session",
    "--unshare-pid",
    "--as-pid-1",
    "--unshare-ipc",
    "--unshare-uts",
    "--cap-drop",
    "ALL",
    "--ro-bind",
    "/",
    "/",
    "--dev",
    "/dev",
    "--proc",
    "/proc",
)


@functools.cache
def find_working() -> str | None:
    """Return the path of a bubblewrap that can isolate here, or None; tried once per process."""
    program = shutil.which("bwrap")
    if program is None:
        return None
    probe = [program, *_ISOLATION, *_blank(), "--", "/bin/sh", "-c", ":"]
    try:
        done = subprocess.run(  # noqa: S603 - our own arguments only
            probe, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=20, env={"PATH": os.defpath}
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return program if done.returncode == 0 else None


def wrap(program: str, folders: AttemptFolders, *, home: Path, path: str, readable: Iterable[Path]) -> tuple[str, ...]:
    """Return the start of a command line that runs the rest of it inside.

    The order is the meaning: later mounts lie over earlier ones. Everything read-only, blank folders, what must be seen
    in spite of them, secrets, and last the attempt's own folders, wherever they are.
    """
    return (
        program,
        *_ISOLATION,
        *_blank(),
        *_show(_needed(home, path, readable)),
        *_hide(home),
        *_open(folders),
        *_borrowed(folders, visible=tuple(_needed(home, path, readable))),
        "--chdir",
        "/",
        "--",
    )


def _blank() -> Iterator[str]:
    for folder in BLANKED:
        if folder.is_dir() and not folder.is_symlink():
            yield from ("--tmpfs", str(folder))


def _needed(home: Path, path: str, readable: Iterable[Path]) -> Iterator[Path]:
    """Yield what must stay readable: the home's tools, programs on PATH, our interpreter, the caller's folders."""
    yield home
    yield from (Path(entry) for entry in path.split(os.pathsep) if entry.startswith("/"))
    yield from (Path(sys.prefix), Path(sys.base_prefix), Path(sys.executable).parent, Path(__file__).parent)
    yield Path("/etc/resolv.conf")
    yield from readable


def _show(paths: Iterable[Path]) -> Iterator[str]:
    """Bind again, read-only, what lies below a blank folder; under the name in use and under the resolved one."""
    wanted = {name: None for path in paths for name in (path, path.resolve())}
    for each in sorted(wanted):
        if each not in BLANKED and any(each.is_relative_to(folder) for folder in BLANKED) and each.exists():
            yield from ("--ro-bind", str(each), str(each))


def _hide(home: Path) -> Iterator[str]:
    """Cover secrets where they really are: a ``.ssh`` that is a link into a folder of dotfiles is covered there."""
    for name in SECRETS:
        place = (home / name).resolve()
        if place.is_dir():
            yield from ("--tmpfs", str(place))
        elif place.is_file():
            yield from ("--ro-bind", "/dev/null", str(place))


def _open(folders: AttemptFolders) -> Iterator[str]:
    for folder in (folders.workspace, folders.git, folders.data, folders.out):
        yield from ("--bind", str(folder), str(folder))
    for folder in (folders.config, folders.secrets):
        if folder.is_dir():
            yield from ("--ro-bind", str(folder), str(folder))


def _borrowed(folders: AttemptFolders, *, visible: Iterable[Path]) -> Iterator[str]:
    """Show the link to the base's objects where it lies below a blank folder and nothing else shows it."""
    link = folders.base
    is_hidden = any(link.is_relative_to(folder) for folder in BLANKED)
    if link.is_symlink() and is_hidden and not any(link.is_relative_to(path) for path in visible):
        yield from ("--symlink", str(link.readlink()), str(link))
