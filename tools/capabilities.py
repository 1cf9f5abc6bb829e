#!/usr/bin/env python3
"""What a machine can have beyond Python and git: how to look, and how to get it.

Responsible for: the one table that the tests' skips and the promises of CI go by.
Guarantees: looking starts short processes and changes nothing that lasts.
"""

import argparse
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Final

PROMISES: Final = "TASKQ_CI_PROMISES"
"""The environment variable with the names, separated by spaces, that must not be missing."""
ROOTLESS_PATH: Final = "/usr/share/docker.io/contrib"
"""Where Debian keeps what starts a rootless engine."""
BROWSER_FLAGS: Final = (
    "--headless",
    "--no-sandbox",  # which root cannot have
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
"""For a Chromium without a screen, that asks nobody anything."""
_PATIENCE: Final = 60
"""Seconds."""
_SMALL_DISK: Final = 16 * 1024**2
_PROBE_OF_ENGINE: Final = """
import os, sys
from orchestration.adapters.sandbox.docker import images
from orchestration.adapters.sandbox.docker.engine import Engine
from orchestration.core.errors import TaskqError
try:
    images.resolve(Engine(os.environ), images.DEFAULT_DOCKER_IMAGE)
except TaskqError as error:
    sys.exit(str(error))
"""
"""Looks by itself, because the engine's client leaves sockets open, of which Python complains."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capability:
    """*look* returns None when it is there, else what is wrong; *remedy* is how to get it."""

    look: Callable[[], str | None]
    remedy: str


def missing(name: str) -> str | None:
    """Return why the machine lacks *name*; None when it has it. Looks once per process."""
    return _look(name)


def find_python(version: str) -> Path | None:
    """Return a working interpreter of *version* such as ``3.13``: from PATH, pyenv or uv."""
    home = Path(pwd.getpwuid(os.getuid()).pw_dir)
    pyenv = Path(os.environ.get("PYENV_ROOT", home / ".pyenv"))
    found = [shutil.which(f"python{version}"), *sorted(pyenv.glob(f"versions/{version}.*/bin/python{version}"))]
    if uv := shutil.which("uv"):
        found.append(_output([uv, "python", "find", "--no-project", "--no-python-downloads", version]))
    probe = "import sys; print(*sys.version_info[:2], sep='.')"
    return next((Path(each) for each in found if each and _output([str(each), "-c", probe]) == version), None)


def main(arguments: list[str] | None = None) -> int:
    """Say what is here; with ``--require``, exit 1 when one of the named is not."""
    parser = argparse.ArgumentParser(description="Say which capabilities this machine has.")
    parser.add_argument("--require", nargs="*", default=[], choices=CAPABILITIES, metavar="NAME")
    parser.add_argument("--find-python", metavar="VERSION", help="print the path of this Python and nothing else")
    options = parser.parse_args(arguments)
    if options.find_python is not None:
        python = find_python(options.find_python)
        sys.stdout.write(f"{python or ''}\n")
        return 0 if python else 1
    for name in CAPABILITIES:
        why = missing(name)
        sys.stdout.write(f"{name:12} {'here' if why is None else f'missing: {why}; get it with: {remedy(name)}'}\n")
    lacking = [name for name in options.require if missing(name) is not None]
    if lacking:
        sys.stdout.write(f"promised, but not here: {', '.join(lacking)}\n")
    return 1 if lacking else 0


def remedy(name: str) -> str:
    """Return how to get *name*."""
    return CAPABILITIES[name].remedy


@cache
def _look(name: str) -> str | None:
    return CAPABILITIES[name].look()


def _runs(*argv: str) -> str | None:
    if shutil.which(argv[0]) is None:
        return f"there is no {argv[0]} on PATH"
    ended = _run(argv)
    if ended is None:
        return f"{argv[0]} did not end within {_PATIENCE} s"
    if ended.returncode == 0:
        return None
    complaint = ended.stderr.strip().splitlines() or [f"exit {ended.returncode}"]
    return f"{argv[0]} does not work: {complaint[-1]}"


def _output(argv: Sequence[str]) -> str:
    ended = _run(argv)
    return ended.stdout.strip() if ended is not None and ended.returncode == 0 else ""


def _run(argv: Sequence[str]) -> subprocess.CompletedProcess[str] | None:
    try:
        return subprocess.run(  # noqa: S603 - what this file names, and interpreters that it found
            argv, capture_output=True, text=True, errors="replace", check=False, timeout=_PATIENCE
        )
    except (OSError, subprocess.TimeoutExpired):
        return None


def _look_for_bubblewrap() -> str | None:
    return _runs("bwrap", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--unshare-pid", "true")


def _look_for_strace() -> str | None:
    return _runs("strace", "-f", "-o", os.devnull, "true")


def _look_for_packages() -> str | None:
    pip = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps")
    with tempfile.TemporaryDirectory() as folder:
        return _runs(*pip, "--only-binary=:all:", "--dest", folder, "click==8.1.8")


def _look_for_python_3_13() -> str | None:
    return None if find_python("3.13") else "no Python 3.13 on PATH, in pyenv or in uv"


def _look_for_mounts() -> str | None:
    if os.geteuid() != 0:
        return "only root can mount"
    return _runs("unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", tempfile.gettempdir())


def _look_for_loop_ext4() -> str | None:
    """Mount in a namespace of its own, so that nothing is left when it fails halfway."""
    if os.geteuid() != 0:
        return "only root can mount"
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder, "image")
        with image.open("wb") as device:
            device.truncate(_SMALL_DISK)
        return _runs("mkfs.ext4", "-q", "-F", str(image)) or _runs(
            "unshare", "--mount", "mount", "-t", "ext4", "-o", "loop", str(image), folder
        )


def _look_for_compiler() -> str | None:
    return _runs("cc", "-x", "c", "-include", "stdlib.h", "-fsyntax-only", os.devnull)


def _look_for_browser() -> str | None:
    with tempfile.TemporaryDirectory() as profile:
        return _runs("chromium", *BROWSER_FLAGS, f"--user-data-dir={profile}", "--dump-dom", "about:blank")


def _look_for_engine() -> str | None:
    ended = _run([sys.executable, "-c", _PROBE_OF_ENGINE])
    if ended is None:
        return f"the engine did not answer within {_PATIENCE} s"
    return None if ended.returncode == 0 else ended.stderr.strip().rpartition("\n")[2]


def _look_for_own_world(*programs: str) -> str | None:
    """Say what an engine beside the machine's own would lack: namespaces of its own, and *programs*."""
    if os.geteuid() != 0:
        return "only root can start an engine in a world of its own"
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin:{ROOTLESS_PATH}"
    lacking = [each for each in programs if shutil.which(each, path=path) is None]
    if lacking:
        return f"there is no {lacking[0]}"
    return _runs("unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "true")


CAPABILITIES: Final[Mapping[str, Capability]] = MappingProxyType(
    {
        "bwrap": Capability(look=_look_for_bubblewrap, remedy="apt-get install bubblewrap"),
        "strace": Capability(look=_look_for_strace, remedy="apt-get install strace"),
        "tmux": Capability(look=lambda: _runs("tmux", "-V"), remedy="apt-get install tmux"),
        "cc": Capability(look=_look_for_compiler, remedy="apt-get install gcc libc6-dev"),
        "docker": Capability(look=_look_for_engine, remedy="an engine that answers, and then: taskq build-image"),
        "userns-remap": Capability(
            look=lambda: _look_for_own_world("dockerd", "useradd"), remedy="apt-get install docker.io passwd"
        ),
        "rootless": Capability(
            look=lambda: _look_for_own_world("dockerd-rootless.sh", "rootlesskit", "slirp4netns", "newuidmap"),
            remedy="apt-get install docker.io rootlesskit slirp4netns uidmap",
        ),
        "podman": Capability(
            look=lambda: _look_for_own_world("podman", "runc", "catatonit"),
            remedy="apt-get install podman runc catatonit",
        ),
        "chromium": Capability(look=_look_for_browser, remedy="apt-get install chromium"),
        "pypi": Capability(look=_look_for_packages, remedy="a network, or pip configured for an index that is reached"),
        "mount": Capability(look=_look_for_mounts, remedy="running the tests as root on a machine that allows mounts"),
        "loop-ext4": Capability(
            look=_look_for_loop_ext4, remedy="apt-get install e2fsprogs, and root where loop devices can be mounted"
        ),
        "python3.13": Capability(look=_look_for_python_3_13, remedy="uv python install 3.13"),
    }
)


if __name__ == "__main__":
    sys.exit(main())
