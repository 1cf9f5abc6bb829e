"""What a task in a container costs at least: the engine's and git's calls of a task, in taskq's order, and no more.

Not responsible for: a queue, checks, limits of time and output, recovery. The commands are those that taskq was seen to
give (the settings of the container are taskq's own); nothing is recorded, and an error stops the run.
"""

import os
import subprocess
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from orchestration.adapters.git import collect
from orchestration.adapters.git.environment import host_environment, walled
from orchestration.adapters.git.refs import DURABLE
from orchestration.adapters.sandbox.attempt_files import hand_over, make_folders
from orchestration.adapters.sandbox.docker.container import INSIDE, host_settings, settings
from orchestration.adapters.sandbox.docker.engine import Engine
from orchestration.adapters.sandbox.docker.transport import EngineStream
from orchestration.adapters.sandbox.docker.users import Users
from orchestration.adapters.sandbox.environment import environment
from orchestration.core.attempts import AttemptFolders, AttemptSpec
from orchestration.core.models import Limits
from orchestration.core.naming import TaskId

_ZERO: Final = "0" * 40
_PROBE: Final = (
    'for each in . ../git ../data "$TASKQ_OUT"; do : >"$each/.probe" && rm -f "$each/.probe" || exit 1; done'
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bare:
    """One repository with its cache, as taskq has them before the first task."""

    folder: Path
    repo: Path
    image: str
    engine: Engine

    def run(self, tasks: int, *, workers: int, number: int) -> None:
        """Do *tasks* tasks, *workers* at a time; *number* is never given twice."""
        with ThreadPoolExecutor(workers) as threads:
            list(threads.map(self._task, [f"bare-{number}-{each}" for each in range(tasks)]))

    def make_cache(self) -> None:
        """Make the repository's cache of base histories."""
        _git({}, "init", "--quiet", "--bare", "--template=", str(self._cache))
        _git({"GIT_DIR": self._cache}, "fetch", "--quiet", str(self.repo), "main:refs/heads/main")

    @property
    def _cache(self) -> Path:
        return self.folder / "cache.git"

    def _task(self, name: str) -> None:
        folders = AttemptFolders(root=self.folder / name)
        base = _git({"GIT_DIR": self.repo / ".git"}, "rev-parse", "--verify", "refs/heads/main^{commit}")
        self._prepare(name, folders, base)
        spec = _spec(name, base, self.repo)
        users = _users()
        if users.owner is not None:
            hand_over((folders.workspace, folders.git, folders.data, folders.out, folders.config), users.owner)
        self._contain(spec, folders, users)

    def _prepare(self, name: str, folders: AttemptFolders, base: str) -> None:
        """Pin the base and make the workspace."""
        pinned = f"refs/bare/{name}"
        _git({"GIT_DIR": self.repo / ".git"}, "update-ref", "-m", "bare", pinned, base, _ZERO, config=DURABLE)
        make_folders(folders)
        for inner in ("objects/info", "objects/pack", "refs/heads", "refs/tags"):
            (folders.git / inner).mkdir(parents=True)
        (folders.git / "HEAD").write_text("ref: refs/heads/main\n", encoding="utf-8")
        (folders.git / "config").write_text("[core]\n\tbare = false\n", encoding="utf-8")
        (folders.git / "refs" / "heads" / "main").write_text(f"{base}\n", encoding="utf-8")
        (folders.git / "objects" / "info" / "alternates").write_text("../../base\n", encoding="utf-8")
        folders.base.symlink_to(self._cache / "objects")
        _git({"GIT_DIR": folders.git, "GIT_WORK_TREE": folders.workspace}, "read-tree", "-m", "-u", "HEAD")
        (folders.workspace / ".git").write_text("gitdir: ../git\n", encoding="utf-8")

    def _contain(self, spec: AttemptSpec, folders: AttemptFolders, users: Users) -> None:
        """Make a container, run the probe, the task and the collection in it, and remove it."""
        api = self.engine.api
        host = api.create_host_config(**host_settings(spec, folders))
        made = api.create_container(**settings(spec, image=self.image), host_config=host)["Id"]
        attached = EngineStream(api.attach_socket(made, params={"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}))
        try:
            api.start(made)
            attached.receive()
            argv = collect.command(spec, name="taskq agent", email="agent@taskq.invalid")
            script = f'{_PROBE} && /bin/sh -c true && "$@"'
            path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
            inside = environment(spec, INSIDE, kind="docker", path=path)
            ran = api.exec_create(
                made,
                ["/bin/sh", "-c", script, "sh", *argv],
                user=users.agent,
                stdin=True,
                workdir=str(INSIDE.workspace),
                environment=inside,
            )
            stream = EngineStream(api.exec_start(ran["Id"], socket=True))
            while stream.receive():
                pass
            stream.close()
        finally:
            attached.close()
            api.remove_container(made, force=True, v=True)
        if not (folders.out / "work.bundle").is_file():
            raise RuntimeError(f"the bare loop collected nothing: {stream.complaints!r}")


def _users() -> Users:
    is_root = os.getuid() == 0
    own = (1000, 1000) if is_root else (os.getuid(), os.getgid())
    return Users(inside=own, owner=own if is_root else None)


def _spec(name: str, base: str, repo: Path) -> AttemptSpec:
    return AttemptSpec(
        version=1,
        queue="bare",
        task=TaskId(name),
        attempt=1,
        token=1,
        text="true",
        repo=str(repo),
        base="main",
        base_commit=base,
        branch="main",
        worktree_path=None,
        agent="command",
        agent_command="true",
        model=None,
        sandbox="docker",
        limits=Limits(collect=timedelta(minutes=1)),
        allow_empty=True,
        created_at=datetime.now(UTC),
        start_commit=base,
        previous_tip=None,
        collect=1,
        network="none",
    )


def _environment(place: Mapping[str, Path]) -> dict[str, str]:
    return {**host_environment(Path("/nonexistent")), **{name: str(path) for name, path in place.items()}}


def _git(place: Mapping[str, Path], *arguments: str, config: tuple[str, ...] = ()) -> str:
    command = walled(arguments, config)
    done = subprocess.run(command, env=_environment(place), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"git {arguments[0]}: {done.stderr.strip()}")
    return done.stdout.strip()
