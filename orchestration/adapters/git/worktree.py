"""The task's worktree: where it is, whether it is ours, making and taking away.

Guarantees: only a worktree that carries our mark for this task is ever changed or removed.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from orchestration.adapters.git import checkout as checkouts
from orchestration.adapters.git import layout as layouts
from orchestration.adapters.git.command import Place
from orchestration.adapters.git.host import Host, erase
from orchestration.adapters.git.layout import Checkout, Layout
from orchestration.core import naming
from orchestration.core.errors import GitError
from orchestration.core.models import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Where a task's work shows in the operator's repository."""

    queue: str
    task: str
    layout: Layout
    branch: str
    folder: Path

    @property
    def checkout(self) -> Checkout | None:
        """Return the worktree that is registered for the folder, whoever made it."""
        return layouts.checkout_of(self.layout, self.folder)

    @property
    def branch_ref(self) -> str:
        """Return the full name of the task's branch."""
        return f"refs/heads/{self.branch}"

    def is_ours(self, checkout: Checkout) -> bool:
        """Whether we made *checkout* for this task, or began to."""
        mark = checkout.mark
        if mark is not None:
            return mark.get("queue") == self.queue and mark.get("task") == self.task
        return checkout.branch == self.branch and is_unfinished(checkout)


def site(queue: str, worktree_root: Path, task: Task) -> Site:
    """Return where the task's branch and worktree are, or would be."""
    found = layouts.find(Path(task.repo))
    default = naming.worktree_path(
        worktree_root, repository=found.root, common_dir=found.common_dir, identifier=task.id
    )
    return Site(
        queue=queue,
        task=task.id,
        layout=found,
        branch=naming.check_branch(task.branch or naming.branch_for(task.id)),
        folder=Path(task.worktree_path) if task.worktree_path else default,
    )


def is_unfinished(checkout: Checkout) -> bool:
    """Whether a crash left a worktree registered, but with nothing in it yet."""
    if checkout.index_file.exists():
        return False
    return not checkout.folder.exists() or {entry.name for entry in checkout.folder.iterdir()} <= {".git"}


def make(host: Host, site: Site, commit: str) -> tuple[str, ...]:
    """Make the worktree on the task's branch, which is at *commit*; return what a reviewer should know.

    The caller holds the repository's lock and has found nothing in the way.
    """
    left = site.checkout
    if left is not None:
        discard(left)
    site.folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    has_own_settings = _allow_own_settings(host, site.layout)
    place = Place(git_dir=site.layout.common_dir)
    host.git.run(place, "worktree", "add", "--no-checkout", "--quiet", "--", str(site.folder), site.branch)
    made = site.checkout
    if made is None:
        raise GitError(f"git made no worktree at {site.folder}", code="no_worktree")
    if has_own_settings:
        file = str(made.git_dir / "config.worktree")
        host.git.run(place, "config", "--file", file, "core.hooksPath", str(host.no_hooks))
    mark = {"queue": site.queue, "task": site.task, "branch": site.branch}
    (made.git_dir / layouts.MARK).write_text(json.dumps(mark) + "\n", encoding="utf-8")
    checkouts.view(host, site.layout, made).populate(commit)
    return () if has_own_settings else ("the worktree shares the repository's hooks, because that is bare",)


def discard(checkout: Checkout) -> None:
    """Take the worktree and its registration away, running nothing; the caller has checked that it may go."""
    if checkout.folder.exists():
        erase(checkout.folder)
    erase(checkout.git_dir)


def _allow_own_settings(host: Host, layout: Layout) -> bool:
    """Let worktrees have settings of their own, as git-worktree(1) says; False where that would need moving others."""
    place, file = Place(git_dir=layout.common_dir), str(layout.common_dir / "config")
    key = "extensions.worktreeConfig"
    enabled = host.git.run(place, "config", "--file", file, "--type=bool", "--get", key, expected=(0, 1))
    if enabled.text == "true":
        return True
    if layouts.is_bare(layout.common_dir) or layouts.core_setting(layout.common_dir, "worktree"):
        return False
    host.git.run(place, "config", "--file", file, key, "true")
    return True
