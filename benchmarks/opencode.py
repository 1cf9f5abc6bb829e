"""What taskq adds to OpenCode: its server and a task's plan and build, against the same by hand in the same container.

Needs an engine and the image (`taskq build-image`); the model is a fake one on loopback, which answers at once. Every
row has a container of its own, which taskq's provider has opened before the clock starts; only the last two open it
within their time. By hand: one exec for the server, one for each call of HTTP (`benchmarks.bare_opencode`).
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from benchmarks.bare_opencode import ByHand
from benchmarks.harness import Row, Work, main
from benchmarks.startup import repository, surroundings
from orchestration.adapters.agent.opencode import prompts, seeds, server
from orchestration.adapters.agent.opencode.agent import OpenCodeAgent
from orchestration.adapters.agent.opencode.operator import read_operator
from orchestration.adapters.sandbox.docker.container import INSIDE, proxy_variables
from orchestration.adapters.sandbox.docker.engine import Engine
from orchestration.adapters.sandbox.docker.provider import DockerSandboxProvider
from orchestration.adapters.sandbox.docker.users import users_for
from orchestration.adapters.sandbox.environment import environment
from orchestration.core.attempts import AttemptFolders, AttemptSpec
from orchestration.core.models import Limits
from orchestration.core.naming import TaskId
from orchestration.core.ports import AgentJob, AgentResult, AgentServer, Sandbox, discard_output

MODEL: Final = "fake/fake-1"
TEXT: Final = "write hello.txt: hi"
AT_MOST: Final = 1.10
AGAIN_AT_MOST: Final = 1.5
_LIFETIME: Final = timedelta(minutes=10)
_DISABLED: Final = ("AUTOUPDATE", "LSP_DOWNLOAD", "MODELS_FETCH", "SHARE")
_ROOT: Final = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """An open container of one attempt."""

    sandbox: Sandbox
    spec: AttemptSpec
    folders: AttemptFolders
    agent: OpenCodeAgent

    def job(self, session: str | None = None) -> AgentJob:
        """Return what the agent is to do, in *session* where there is one."""
        return AgentJob(spec=self.spec, folders=self.folders, timeout=_LIFETIME, session=session)


@dataclass(kw_only=True)
class Bench:
    """Opens containers, one at a time; the last one goes with the next, so that its end is nobody's time."""

    folder: Path
    engine: Engine
    provider: DockerSandboxProvider
    environ: dict[str, str]
    _last: ExitStack = field(default_factory=ExitStack, init=False)

    def close(self) -> None:
        """End the last container; again is no error."""
        self._last.close()

    def attempt(self, name: str) -> AttemptFolders:
        """Make the folders of an attempt with a repository to work at."""
        folders = AttemptFolders(root=self.folder / name)
        folders.root.mkdir()
        repository(folders.workspace, self.environ)
        return folders

    def open(self, folders: AttemptFolders) -> Place:
        """Open a container on *folders*, as taskq does for this agent."""
        agent = OpenCodeAgent(self.environ)
        spec = _spec(folders.root.name)
        needs = agent.needs(spec)
        spec = replace(spec, allow=needs.allow, allow_private=needs.allow_private)
        lease = self._last.enter_context(folders.lease.open("w", encoding="utf-8"))
        sandbox = self._last.enter_context(self.provider.open(spec, folders, lease=lease.fileno()))
        return Place(sandbox=sandbox, spec=spec, folders=folders, agent=agent)

    def keep(self, served: AbstractContextManager[AgentServer]) -> None:
        """Let an agent's server run until the container goes."""
        self._last.enter_context(served)

    def ready(self, name: str) -> Place:
        """End the last container, and open one for a new attempt."""
        self.close()
        return self.open(self.attempt(name))

    def by_hand(self, place: Place) -> ByHand:
        """Return what works by hand in the container of *place*."""
        operator = read_operator(self.environ)
        config = seeds.settings(place.spec, operator, seeds.used_providers(place.spec, operator))
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        variables = environment(place.spec, INSIDE, kind="docker", path=path) | proxy_variables(place.spec)
        alone = {f"OPENCODE_DISABLE_{name}": "1" for name in _DISABLED}
        return ByHand(
            engine=self.engine,
            container=str(place.sandbox.facts.id),
            user=users_for(self.engine.facts(), (os.getuid(), os.getgid())).agent,
            environment=variables | alone,
            config=json.dumps({**config, "autoupdate": False, "share": "disabled"}).encode(),
        )


def rows(bench: Bench) -> tuple[Row, ...]:
    """Return both sides of the server's start, of a plan with its build, and of opening an attempt anew."""
    start, work, fresh = "server to ready, by hand", "server, plan and build, by hand", "container and server, fresh"
    return (
        Row(name=start, prepare=lambda number: bench.by_hand(bench.ready(f"hand-start-{number}")).start),
        Row(
            name="server to ready, taskq",
            prepare=lambda number: _start(bench.ready(f"start-{number}"), bench.environ),
            against=start,
            at_most=AT_MOST,
        ),
        Row(name=work, prepare=lambda number: _work_by_hand(bench, bench.ready(f"hand-work-{number}"))),
        Row(
            name="server, plan and build, taskq",
            prepare=lambda number: _work(bench.ready(f"work-{number}")),
            against=work,
            at_most=AT_MOST,
        ),
        Row(name=fresh, prepare=lambda number: _fresh(bench, number)),
        Row(
            name="container and server of an attempt in review, again",
            prepare=_again(bench),
            against=fresh,
            at_most=AGAIN_AT_MOST,
        ),
    )


def _start(place: Place, environ: dict[str, str]) -> Work:
    def work() -> None:
        _serve(place, environ)

    return work


def _serve(place: Place, environ: dict[str, str]) -> server.Server:
    services = place.sandbox.services
    if services is None:
        raise RuntimeError("this sandbox has no services")
    seeded = seeds.seed(place.sandbox, place.spec, read_operator(environ))
    return server.start(services, seeded, lifetime=_LIFETIME)


def _work(place: Place) -> Work:
    def work() -> None:
        _plan_and_build(place)
        _check(place)

    return work


def _plan_and_build(place: Place) -> str | None:
    """Return the session."""
    planned = place.agent.plan(place.sandbox, place.job(), discard_output)
    session = None if planned is None else _succeeded(planned).session
    return _succeeded(place.agent.build(place.sandbox, place.job(session), discard_output)).session


def _work_by_hand(bench: Bench, place: Place) -> Work:
    hand = bench.by_hand(place)
    job = place.job()

    def work() -> None:
        hand.start()
        session = hand.session()
        hand.prompt(session, agent="plan", model=MODEL, text=prompts.plan(job))
        hand.prompt(session, agent="build", model=MODEL, text=prompts.build(place.job(session)))
        hand.end()
        _check(place)

    return work


def _fresh(bench: Bench, number: int) -> Work:
    bench.close()
    folders = bench.attempt(f"fresh-{number}")
    return lambda: _serve(bench.open(folders), bench.environ).session("a session")


def _again(bench: Bench) -> Callable[[int], Work]:
    place = bench.ready("reviewed")
    session = _plan_and_build(place)

    def prepare(_number: int) -> Work:
        bench.close()
        return work

    def work() -> None:
        opened = bench.open(place.folders)
        served = opened.agent.serve(opened.sandbox, opened.job(session), discard_output)
        if served is None:
            raise RuntimeError("this attempt has no session")
        bench.keep(served)

    return prepare


def _succeeded(result: AgentResult) -> AgentResult:
    if result.problem is not None:
        raise RuntimeError(result.problem)
    return result


def _check(place: Place) -> None:
    if (place.folders.workspace / "hello.txt").read_text(encoding="utf-8") != "hi\n":
        raise RuntimeError("the agent did not do what it was told")


def _spec(name: str) -> AttemptSpec:
    return AttemptSpec(
        version=1,
        queue=f"bench-{os.getpid()}",
        task=TaskId(name),
        attempt=1,
        token=1,
        text=TEXT,
        repo="/repo",
        base="main",
        base_commit="0" * 40,
        branch="main",
        worktree_path=None,
        agent="opencode",
        agent_command=None,
        model=MODEL,
        sandbox="docker",
        limits=Limits(),
        allow_empty=True,
        created_at=datetime.now(UTC),
        start_commit="0" * 40,
        previous_tip=None,
        collect=1,
        network="allowlist",
    )


@contextlib.contextmanager
def model(home: Path) -> Iterator[None]:
    """Run a fake model that the OpenCode of *home* is set up for."""
    config = home / ".config" / "opencode" / "opencode.json"
    argv = [sys.executable, "-m", "tests.model", "--config", str(config)]
    with subprocess.Popen(argv, cwd=_ROOT, stdout=subprocess.PIPE) as process:
        try:
            if process.stdout is None or not process.stdout.readline():
                raise RuntimeError("the fake model did not start")
            yield
        finally:
            process.terminate()


def run(folder: Path) -> int:
    """Measure in *folder*; 1 when a target was missed."""
    environ = surroundings(folder)
    engine = Engine(os.environ)
    bench = Bench(
        folder=folder, engine=engine, provider=DockerSandboxProvider(engine, cache=folder / "cache"), environ=environ
    )
    with contextlib.closing(engine), model(Path(environ["HOME"])), contextlib.closing(bench):
        return main("OpenCode: taskq against the same by hand", rows(bench))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        sys.exit(run(Path(scratch)))
