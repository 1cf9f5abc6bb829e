"""taskq with the docker sandbox, and what can be seen of its containers and processes from outside."""

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from orchestration.adapters.sandbox.docker.build import Build, context, run
from orchestration.adapters.sandbox.docker.engine import Engine
from orchestration.adapters.sandbox.docker.images import DEFAULT_DOCKER_IMAGE, tag
from orchestration.adapters.sandbox.docker.keeper import remove
from tests.adapters.sandbox.docker.throwaway import labelled
from tests.journeys.shell import Repo, Taskq

OWN = f"T-{os.getpid()}"
"""An id that no other test run on the same engine uses at the same time: containers are named after it."""
AWAIT_GATE = 'while [ ! -e "$TASKQ_OUT/gate" ]; do sleep 0.02; done'


@dataclass(frozen=True)
class Docked:
    """taskq's command line with docker, beside a repository, and the engine to look at."""

    taskq: Taskq
    repo: Repo
    engine: Engine

    @property
    def queue(self) -> str:
        return str(self.taskq.json("fsck")["queue"])

    @property
    def state(self) -> Path:
        return Path(self.taskq.environment["HOME"]) / ".local/state/taskq"

    def say(self, toolchain: str) -> str:
        """Commit a `.taskq.toml`; return the commit."""
        self.repo.write(".taskq.toml", toolchain)
        return self.repo.commit("Say what tasks need")

    def add(self, command: str, *flags: str, identifier: str = OWN) -> None:
        common = ("--id", identifier, "--repo", str(self.repo.path), "--task", "Work")
        self.taskq.run("add", *common, "--agent-command", command, *flags)

    def task(self, identifier: str = OWN) -> Any:
        return self.taskq.task(identifier)

    def folder(self, identifier: str = OWN) -> Path:
        """Return the folder of the current attempt."""
        return Path(self.task(identifier)["run"]["folder"])

    def open_gate(self, identifier: str = OWN) -> None:
        """Let the agent go on that waits with AWAIT_GATE."""
        (self.folder(identifier) / "out/gate").touch()

    def containers(self, *labels: str) -> list[Any]:
        """Return this queue's containers in any state, with these labels besides."""
        wanted = [f"taskq.queue={self.queue}", *labels]
        return list(self.engine.api.containers(all=True, filters={"label": wanted}))

    def running_containers(self) -> list[Any]:
        return [one for one in self.containers() if one["State"] == "running"]

    def with_environment(self, environment: Mapping[str, str]) -> "Docked":
        """Return the same with other variables over those that there are."""
        return replace(self, taskq=replace(self.taskq, environment={**self.taskq.environment, **environment}))


@pytest.fixture
def docked(taskq: Taskq, repo: Repo, capability: Callable[[str], None]) -> Iterator[Docked]:
    """docker as the default sandbox; fails when a test leaves a container of its queue."""
    capability("docker")
    engine = Engine(os.environ)
    found = {name: os.environ[name] for name in ("DOCKER_HOST", "DOCKER_CONTEXT") if name in os.environ}
    kept = {name: value for name, value in taskq.environment.items() if name != "TASKQ_DEFAULT_SANDBOX"}
    made = Docked(replace(taskq, environment={**kept, **found}, patience=100), repo, engine)
    yield made
    left = made.containers()
    for one in left:
        remove(engine, one["Id"])
    engine.close()
    assert [one["Names"] for one in left] == []


@dataclass(frozen=True)
class Shop:
    """*docked* starts from an image whose label *token* is on every image and container that comes of it."""

    docked: Docked
    token: str

    def containers(self) -> list[Any]:
        """Return what runs on such an image, the containers of builds among them."""
        return list(self.docked.engine.api.containers(all=True, filters={"label": self.token}))

    def snapshots(self) -> list[str]:
        """Return the images of the repository's setup."""
        wanted = {"label": [self.token, "taskq.snapshot"]}
        return [image["Id"] for image in self.docked.engine.api.images(filters=wanted)]


@pytest.fixture
def shop(docked: Docked) -> Iterator[Shop]:
    """An image of its own to start from; it goes, with whatever was built on it."""
    with labelled(docked.engine) as token:
        recipe = f"FROM {DEFAULT_DOCKER_IMAGE}\nLABEL {token}\n".encode()
        with context({"Dockerfile": recipe}) as packed:
            made = run(docked.engine, Build(what="the operator's image", context=packed), lambda _line: None)
        name = f"taskq-test/{token.partition('=')[2]}:latest"
        tag(docked.engine, made, name)
        yield Shop(docked.with_environment({"TASKQ_DEFAULT_IMAGE": name}), token)


def events(lines: Iterator[str]) -> Iterator[Any]:
    """Yield what `run --json` tells, while it does."""
    return map(json.loads, lines)


def processes_in(container: str) -> list[int]:
    """Return the host's processes that are in the control group of a container."""
    return [pid for pid in _processes() if container in _read(pid, "cgroup").decode()]


def holders(folder: Path) -> dict[int, str]:
    """Return who has a file below *folder* open, with its arguments: runners and forwarders do."""
    return {pid: _arguments(pid) for pid in _processes() if any(map(_below(folder), _open_files(pid)))}


def forwarders(folder: Path) -> list[int]:
    """Return the forwarders that write their record below *folder*."""
    return [pid for pid, arguments in holders(folder).items() if "egress.forwarder" in arguments]


def all_arguments() -> bytes:
    """Return the arguments of every process of the host."""
    return b"\n".join(_read(pid, "cmdline") for pid in _processes())


def all_environments() -> bytes:
    """Return the environment of every process of the host."""
    return b"\n".join(_read(pid, "environ") for pid in _processes())


def ask(authority: str) -> str:
    """Return a shell command that asks the proxy for a tunnel to HOST:PORT, and prints what it answers first."""
    host = authority.rpartition(":")[0]
    request = f"CONNECT {authority} HTTP/1.1\\r\\nHost: {host}\\r\\n\\r\\n"
    return f"bash -c 'exec 3<>/dev/tcp/127.0.0.1/3128; printf \"{request}\" >&3; head -n 1 <&3'"


def _processes() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]


def _read(pid: int, name: str) -> bytes:
    """Return a file of a process; empty when it has ended."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/{name}").read_bytes()
    return b""


def _arguments(pid: int) -> str:
    return _read(pid, "cmdline").replace(b"\0", b" ").decode("utf-8", "replace")


def _open_files(pid: int) -> Iterator[Path]:
    with contextlib.suppress(OSError):
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                yield entry.readlink()


def _below(folder: Path) -> Callable[[Path], bool]:
    return lambda path: path.is_relative_to(folder)
