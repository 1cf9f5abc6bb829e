"""Engines of other kinds than the machine's own, each with its data in a folder that is gone afterwards.

Guarantees: each runs in mount, network and process namespaces of its own, so that the machine's engine, its bridge and
its files in /etc stay as they are, and so that ending one process ends all of it.
"""

import contextlib
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestration.adapters.sandbox.docker.engine import Engine
from orchestration.adapters.sandbox.docker.images import DEFAULT_DOCKER_IMAGE
from tools.capabilities import ROOTLESS_PATH

CHECKOUT = Path(__file__).parents[4]
OPERATOR = 3001
"""The uid and gid of the operator of a rootless engine, who exists in its namespaces only."""
_ALONE = ("unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc")
_PATIENCE = 60
_PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin:{ROOTLESS_PATH}"
_RUNC = """#!/bin/sh
# Podman asks for more open files and processes than a root without CAP_SYS_RESOURCE may give.
for each; do
    case $before in --bundle) asked=$each/config.json ;; --process) asked=$each ;; esac
    before=$each
done
[ -z "$asked" ] || sed -i -E 's/\\{"type":"RLIMIT_(NOFILE|NPROC)"[^}]*\\},?//g; s/,\\]/]/g' "$asked"
exec {runc} "$@"
"""


@dataclass(frozen=True)
class Other:
    """An engine that answers at *address*; *home* is a folder of its operator's, who is reached through *prefix*."""

    address: str
    home: Path
    uid: int = 0
    prefix: tuple[str, ...] = ()

    def run(self, *argv: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command as the operator, in the checkout, with nothing in its environment but what is named."""
        environment = {"PATH": _PATH, "HOME": str(self.home), "TMPDIR": str(self.home), "LANG": "C.UTF-8"}
        environment |= {"DOCKER_HOST": self.address, **variables}
        return subprocess.run(
            [*self.prefix, *argv],
            env={name: value for name, value in environment.items() if value},
            cwd=CHECKOUT,
            capture_output=True,
            encoding="utf-8",
            timeout=_PATIENCE,
            check=False,
        )

    @contextlib.contextmanager
    def engine(self) -> Iterator[Engine]:
        """Yield this process's way to the engine."""
        made = Engine({"DOCKER_HOST": self.address})
        try:
            yield made
        finally:
            made.close()


@contextlib.contextmanager
def remapped(image: Path) -> Iterator[Other]:
    """Yield a docker that remaps users; its user for that is added to an /etc of its own."""
    with _folder() as folder:
        flags = ["--userns-remap=default", "--bridge=none", "--iptables=false"]
        start = [*_own_etc(folder), f"exec {_dockerd('dockerd', folder)} {' '.join(flags)}"]
        home = folder / "home"
        home.mkdir()
        with _running(start, folder, {"PATH": _PATH}) as address:
            _load(address, image)
            yield Other(address, home)


@contextlib.contextmanager
def rootless(image: Path) -> Iterator[Other]:
    """Yield a docker of an operator who is not root, in a world where he exists and may use tunnels."""
    with _folder() as folder:
        home, run = folder / "home", folder / "run"
        for own in (home, run):
            own.mkdir(mode=0o700)
            os.chown(own, OPERATOR, OPERATOR)
        user = f"operator:x:{OPERATOR}:"
        etc = _own_etc(folder)
        _extend(folder, "passwd", f"{user}{OPERATOR}::{home}:/bin/sh\n")
        _extend(folder, "group", f"{user}\n")
        for name in ("subuid", "subgid"):
            _extend(folder, name, "operator:300000:65536\n")
        become = f"exec setpriv --reuid {OPERATOR} --regid {OPERATOR} --clear-groups"
        tunnels = ["mount -t tmpfs tmpfs /dev/net", "mknod -m 666 /dev/net/tun c 10 200"]
        start = [*etc, *tunnels, f"{become} {_dockerd('dockerd-rootless.sh', run, data=home)}"]
        enter = folder / "enter"
        enter.write_text("\n".join(["set -e", *etc, *_reachable(folder), f'{become} "$@"']), encoding="utf-8")
        environment = {"PATH": _PATH, "HOME": str(home), "XDG_RUNTIME_DIR": str(run)}
        with _running(start, folder, environment, listens_in=run) as address:
            _load(address, image)
            yield Other(address, home, OPERATOR, ("unshare", "--mount", "sh", str(enter)))


@contextlib.contextmanager
def podman(image: Path) -> Iterator[Other]:
    """Yield the service of a podman whose images and containers are its own."""
    with _folder() as folder:
        runc, home = folder / "runc", folder / "home"
        home.mkdir()
        runc.write_text(_RUNC.replace("{runc}", shutil.which("runc", path=_PATH) or "runc"), encoding="utf-8")
        runc.chmod(0o755)
        folders = f"--root {folder}/data --runroot {folder}/run --tmpdir {folder}/tmp"
        manager = f"--cgroup-manager cgroupfs --storage-driver overlay --runtime {runc}"
        start = [f"exec podman {folders} {manager} system service --time=0 unix://{folder}/docker.sock"]
        environment = {"PATH": _PATH, "HOME": str(home)}
        with _running(start, folder, environment) as address:
            _load(address, image)
            yield Other(address, home)


KINDS: Mapping[str, Callable[[Path], contextlib.AbstractContextManager[Other]]] = {
    "userns-remap": remapped,
    "rootless": rootless,
    "podman": podman,
}
"""By the capability that each needs."""


@contextlib.contextmanager
def packed_image(engine: Engine) -> Iterator[Path]:
    """Yield a file with the default image, as *engine* has it."""
    with tempfile.TemporaryDirectory(prefix="taskq-image-") as folder:
        packed = Path(folder) / "image.tar"
        with packed.open("wb") as target:
            for chunk in engine.api.get_image(DEFAULT_DOCKER_IMAGE):
                target.write(chunk)
        yield packed


def _load(address: str, image: Path) -> None:
    engine = Engine({"DOCKER_HOST": address})
    with image.open("rb") as packed:
        for said in engine.api.load_image(packed):
            assert "error" not in said, said
    engine.close()


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    """Yield a folder with a short path, as sockets want it, that other users can pass through."""
    made = Path(tempfile.mkdtemp(prefix="tq-"))
    made.chmod(0o711)
    try:
        yield made
    finally:
        _remove(made)


def _remove(folder: Path) -> None:
    """Remove a folder in which the last processes of an engine, which end by themselves, may still write."""
    deadline = time.monotonic() + 30
    while folder.exists():
        try:
            shutil.rmtree(folder)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def _own_etc(folder: Path) -> list[str]:
    """Return the commands that lay an /etc of its own over the machine's."""
    for name in ("etc", "etc-work"):
        (folder / name).mkdir()
    return [f"mount -t overlay overlay -o lowerdir=/etc,upperdir={folder}/etc,workdir={folder}/etc-work /etc"]


def _extend(folder: Path, name: str, line: str) -> None:
    found = Path("/etc", name)
    before = found.read_text(encoding="utf-8") if found.exists() else ""
    (folder / "etc" / name).write_text(before + line, encoding="utf-8")


def _reachable(folder: Path) -> list[str]:
    """Return the commands that show this interpreter and checkout to a user from whom a folder above hides them."""
    keep, cover, show = [], [], []
    for number, needed in enumerate((Path(sys.base_prefix), CHECKOUT)):
        closed = next((each for each in reversed(needed.parents) if not each.stat().st_mode & 0o001), None)
        if closed is not None:
            path, aside = shlex.quote(str(needed)), folder / f"aside-{number}"
            aside.mkdir()
            keep.append(f"mount --bind {path} {aside}")
            cover.append(f"mount -t tmpfs -o mode=755 tmpfs {shlex.quote(str(closed))}")
            show += [f"mkdir -p {path}", f"mount --bind {aside} {path}"]
    return [*keep, *dict.fromkeys(cover), *show]


def _dockerd(program: str, folder: Path, *, data: Path | None = None) -> str:
    where = f"--data-root {data or folder}/data --exec-root {folder}/exec --pidfile {folder}/pid"
    return f"{program} {where} -H unix://{folder}/docker.sock"


@contextlib.contextmanager
def _running(
    start: list[str], folder: Path, environment: Mapping[str, str], *, listens_in: Path | None = None
) -> Iterator[str]:
    """Run the script *start*, yield the address of its engine once it answers, and end it with all that it started."""
    path = (listens_in or folder) / "docker.sock"
    log = folder / "log"
    with log.open("wb") as told:
        script = "\n".join(["set -e", *start])
        argv = [*_ALONE, "/bin/sh", "-c", script]
        daemon = subprocess.Popen(argv, env=dict(environment), cwd=folder, stdout=told, stderr=told)
    try:
        _await_answer(path, daemon, log)
        yield f"unix://{path}"
    finally:
        _end(daemon)


def _end(daemon: "subprocess.Popen[bytes]") -> None:
    """End the engine's world: its first process, which does not follow ``unshare`` once it has become another user."""
    children = Path(f"/proc/{daemon.pid}/task/{daemon.pid}/children").read_text(encoding="ascii").split()
    for child in children:
        os.kill(int(child), signal.SIGKILL)
    if not children:
        daemon.kill()
    daemon.wait(_PATIENCE)


def _await_answer(path: Path, daemon: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not _listens(path):
        has_failed = daemon.poll() is not None or time.monotonic() > deadline
        assert not has_failed, log.read_text(encoding="utf-8", errors="replace")[-2000:]
        time.sleep(0.05)


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0
