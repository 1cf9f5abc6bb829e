"""What taskq made in a repository is taken away: only ours, only when nothing would be lost."""

from dataclasses import dataclass
from pathlib import Path

from orchestration.adapters.git import layout as layouts
from orchestration.adapters.git import preserve, refs, worktree
from orchestration.adapters.git.escape import shown
from orchestration.adapters.git.host import Host
from orchestration.core.errors import BusyError
from orchestration.core.models import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class GitDisposal:
    """The port `Disposal`."""

    host: Host
    queue: str
    worktree_root: Path

    def remove_worktree(self, task: Task) -> bool:
        """Remove the task's worktree; False when there is none.

        Raises: BusyError when it is not ours, locked, or holds what is not preserved.
        """
        site = worktree.site(self.queue, self.worktree_root, task)
        folder = shown(str(site.folder))
        with self.host.lock(site.layout):
            found = site.checkout
            if found is None:
                return False
            if not site.is_ours(found):
                raise BusyError(f"{folder} is a worktree that taskq did not make for {task.id}", code="not_ours")
            if found.is_locked:
                raise BusyError(f"{folder} is locked; free it with: git worktree unlock", code="locked")
            is_there = found.folder.is_dir() and not worktree.is_unfinished(found)
            problem = preserve.at_risk(self.host, site, found) if is_there else None
            if problem is not None:
                raise BusyError(f"{folder} {problem}", code="not_preserved")
            worktree.discard(found)
            _remove_if_empty(site.folder.parent)
            return True

    def remove_branch(self, task: Task) -> bool:
        """Remove the task's branch if it is merged into its base; False when it was kept or is not there."""
        site = worktree.site(self.queue, self.worktree_root, task)
        git, repository = self.host.git, site.layout.common_dir
        with self.host.lock(site.layout):
            tip = refs.resolve(git, repository, site.branch_ref)
            if tip is None or any(one.branch == site.branch for one in layouts.checkouts(site.layout)):
                return False
            bases = (refs.resolve(git, repository, f"refs/heads/{task.base}"), task.base_commit)
            if site.branch == task.base:
                return False
            if not any(base and refs.is_ancestor(git, repository, tip, base) for base in bases):
                return False
            refs.delete(git, repository, site.branch_ref, expected=tip)
            return True


def _remove_if_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        return
