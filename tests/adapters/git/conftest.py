"""Builders: an operator's repository from a template, taskq's parts over it, and an agent that runs plain git."""

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestration.adapters.git.disposal import GitDisposal
from orchestration.adapters.git.host import Host
from orchestration.adapters.git.repository import GitRepository
from orchestration.adapters.git.workspace import GitWorkspace
from orchestration.core.attempts import AttemptFolders, AttemptSpec
from orchestration.core.facts import Revision
from orchestration.core.models import Limits, Task
from orchestration.core.naming import TaskId
from orchestration.core.status import Status

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
QUEUE = "q1"


class FixedClock:
    def now(self) -> datetime:
        return NOW

    def monotonic(self) -> float:
        return 0.0


def plain_git(folder: Path, *arguments: str, env: Mapping[str, str] | None = None, stdin: bytes = b"") -> str:
    """Run the git that a person or an agent would run, with nothing of taskq's walls; return its output."""
    done = subprocess.run(
        ["git", *arguments],
        cwd=folder,
        env={**os.environ, **(env or {})},
        input=stdin,
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, f"git {arguments}: {done.stderr.decode(errors='replace')}"
    return done.stdout.decode("utf-8", "surrogateescape").strip()


@pytest.fixture(scope="session")
def git() -> Callable[..., str]:
    return plain_git


@pytest.fixture(scope="session")
def template(own_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a repository with two commits on main, that nobody changes."""
    repo = tmp_path_factory.mktemp("template") / "shop"
    repo.mkdir()
    plain_git(repo, "init", "--quiet", "-b", "main", "--template=")
    plain_git(repo, "config", "user.name", "Olga Operator")
    plain_git(repo, "config", "user.email", "olga@example.invalid")
    (repo / "src").mkdir()
    (repo / "src" / "cart.py").write_text("total = 1\n", encoding="utf-8")
    (repo / "README.md").write_text("shop\n", encoding="utf-8")
    plain_git(repo, "add", ".")
    plain_git(repo, "commit", "--quiet", "-m", "one")
    (repo / ".gitignore").write_text("*.log\n", encoding="utf-8")
    plain_git(repo, "add", ".")
    plain_git(repo, "commit", "--quiet", "-m", "two")
    return repo


@dataclass
class World:
    """One operator with one repository, and taskq's git parts over it."""

    folder: Path
    repo: Path

    @property
    def host(self) -> Host:
        return Host(
            cache_root=self.folder / "cache",
            state_root=self.folder / "state",
            identity_name="taskq agent",
            identity_email="agent@taskq.invalid",
        )

    @property
    def workspace(self) -> GitWorkspace:
        return GitWorkspace(host=self.host, clock=FixedClock())

    @property
    def repository(self) -> GitRepository:
        return GitRepository(host=self.host, queue=QUEUE, worktree_root=self.folder / "worktrees")

    @property
    def disposal(self) -> GitDisposal:
        return GitDisposal(host=self.host, queue=QUEUE, worktree_root=self.folder / "worktrees")

    def commit_of(self, name: str, repo: Path | None = None) -> str:
        return plain_git(repo or self.repo, "rev-parse", "--verify", f"{name}^{{commit}}")

    def task(self, identifier: str = "t-1", **changes: object) -> Task:
        values: dict[str, object] = {
            "id": TaskId(identifier),
            "repo": str(self.repo),
            "base": "main",
            "status": Status.BUILDING,
            "created_at": NOW,
            "updated_at": NOW,
            "attempt": 1,
            "base_commit": self.commit_of("main"),
        }
        return Task(**{**values, **changes})  # type: ignore[arg-type]  # a builder takes any field

    def spec(self, identifier: str = "t-1", **changes: object) -> AttemptSpec:
        base = self.commit_of("main")
        values: dict[str, object] = {
            "version": 1,
            "queue": QUEUE,
            "task": TaskId(identifier),
            "attempt": 1,
            "token": 1,
            "text": "do it",
            "repo": str(self.repo),
            "base": "main",
            "base_commit": base,
            "branch": f"task/{identifier.lower()}",
            "worktree_path": None,
            "agent": "command",
            "agent_command": None,
            "model": None,
            "sandbox": "local",
            "limits": Limits(),
            "allow_empty": False,
            "created_at": NOW,
            "start_commit": base,
            "previous_tip": None,
            "collect": 1,
        }
        return AttemptSpec(**{**values, **changes})  # type: ignore[arg-type]  # a builder takes any field

    def folders(self, spec: AttemptSpec) -> AttemptFolders:
        folders = AttemptFolders(root=self.folder / "attempts" / spec.task / str(spec.attempt))
        for folder in (folders.out, folders.inbox, folders.data):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folders

    def prepare(self, spec: AttemptSpec) -> AttemptFolders:
        folders = self.folders(spec)
        self.workspace.prepare(spec, folders)
        return folders

    def collect(self, spec: AttemptSpec, folders: AttemptFolders) -> subprocess.CompletedProcess[bytes]:
        """Run the collect command as a sandbox would: in the workspace, in a clean environment."""
        return subprocess.run(
            self.workspace.collect_command(spec),
            cwd=folders.workspace,
            env=sandbox_environment(folders),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=60,
        )

    def take(self, spec: AttemptSpec, folders: AttemptFolders) -> Revision | None:
        """Collect and accept a bundle, as the pipeline does."""
        done = self.collect(spec, folders)
        assert done.returncode == 0, done.stderr.decode()
        bundle = folders.inbox / "work.bundle"
        shutil.copyfile(folders.out / "work.bundle", bundle)
        return self.workspace.accept_bundle(spec, folders, bundle)

    def agent(self, folders: AttemptFolders, *arguments: str, stdin: bytes = b"") -> str:
        """Run git as the agent does, in its workspace."""
        return plain_git(folders.workspace, *arguments, env=sandbox_environment(folders), stdin=stdin)

    def work(self, identifier: str = "t-1", files: Mapping[str, str] | None = None, **changes: object) -> Revision:
        """Let an agent write *files* and return what was collected."""
        spec = self.spec(identifier, **changes)
        folders = self.prepare(spec)
        for name, content in (files or {"src/cart.py": "total = 2\n"}).items():
            (folders.workspace / name).parent.mkdir(parents=True, exist_ok=True)
            (folders.workspace / name).write_text(content, encoding="utf-8")
        revision = self.take(spec, folders)
        assert revision is not None
        return revision

    def collected(
        self,
        identifier: str = "t-1",
        files: Mapping[str, str] | None = None,
        *,
        attempt: int = 1,
        start_commit: str | None = None,
    ) -> Revision:
        """Return a revision as `work` does, made in the operator's repository by one git process."""
        base, ref = self.commit_of("main"), f"refs/taskq/{QUEUE}/attempt/{identifier}/{attempt}.1"
        commit = [f"commit {ref}", "committer An Agent <agent@example.invalid> 1700000000 +0000", "data 4", "work"]
        commit += [f"from {start_commit or base}"]
        for name, content in (files or {"src/cart.py": "total = 2\n"}).items():
            commit += [f"M 100644 inline {name}", f"data {len(content)}", content]
        plain_git(self.repo, "fast-import", "--quiet", stdin="\n".join([*commit, "done", ""]).encode())
        return Revision(
            commit=self.commit_of(ref),
            base_commit=base,
            ref=ref,
            attempt=attempt,
            collect=1,
            collected_at=NOW,
            source="bundle",
        )

    def publish(
        self,
        identifier: str = "t-1",
        files: Mapping[str, str] | None = None,
        *,
        attempt: int = 1,
        start_commit: str | None = None,
    ) -> tuple[Task, Revision]:
        """Publish a collected revision; return the task with it, and the revision."""
        collected = self.collected(identifier, files, attempt=attempt, start_commit=start_commit)
        revision = self.repository.publish(self.task(identifier), collected)
        return self.task(identifier, revision=revision), revision

    def worktree(self, identifier: str = "t-1") -> Path:
        (found,) = (self.folder / "worktrees").glob(f"*/{identifier}")
        return found

    def refs(self, repo: Path | None = None) -> dict[str, str]:
        lines = plain_git(repo or self.repo, "for-each-ref", "--format=%(refname) %(objectname)").splitlines()
        return {name: commit for name, _, commit in (line.partition(" ") for line in lines)}

    def objects(self) -> set[str]:
        output = plain_git(self.repo, "cat-file", "--batch-all-objects", "--batch-check=%(objectname)")
        return set(output.split())

    def status(self, folder: Path | None = None) -> str:
        return plain_git(folder or self.repo, "status", "--porcelain")


def sandbox_environment(folders: AttemptFolders) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folders.data),
        "TASKQ_OUT": str(folders.out),
        "TASKQ_SANDBOX": "1",
        "GIT_CONFIG_NOSYSTEM": "1",
    }


@pytest.fixture
def world(template: Path, tmp_path: Path) -> World:
    repo = tmp_path / "shop"
    shutil.copytree(template, repo, symlinks=True)
    return World(folder=tmp_path, repo=repo)
