"""The operator's side of git, as one object; each deed has a module of its own."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from orchestration.adapters.git import diff, intake, land, preserve, publish, worktree
from orchestration.adapters.git.host import Host
from orchestration.core.facts import Landed, Revision
from orchestration.core.models import Task
from orchestration.core.repository import RepositoryFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class GitRepository:
    """The port `Repository`. *queue* is the queue's own id; worktrees go below *worktree_root* unless a task says."""

    host: Host
    queue: str
    worktree_root: Path

    def inspect(self, repo: Path, base: str, branch: str | None) -> RepositoryFacts:
        """Look at a repository with one plain git process."""
        return intake.inspect(repo, base, branch)

    def publish(self, task: Task, revision: Revision) -> Revision:
        """Move the task's branch to the revision and make or update the worktree, unless a person changed them."""
        return publish.publish(self.host, worktree.site(self.queue, self.worktree_root, task), revision)

    def diff(self, revision: Revision, repo: Path, *, stat: bool = False, binary: bool = False) -> Iterable[bytes]:
        """Yield the diff from the revision's base to its commit."""
        return diff.diff(self.host, revision, repo, stat=stat, binary=binary)

    def land(self, task: Task, revision: Revision, *, at: datetime) -> Landed:
        """Fast-forward the base to the revision; a clean checkout of it is brought along."""
        return land.land(self.host, task, revision, at=at)

    def preserve(self, task: Task) -> str | None:
        """Keep what a person changed under a keep ref; None when all is kept already."""
        return preserve.preserve(self.host, worktree.site(self.queue, self.worktree_root, task), attempt=task.attempt)
