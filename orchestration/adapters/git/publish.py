"""The operator sees the work: the task's branch moves, and its worktree is made or follows.

Guarantees: where a person has changed branch or worktree, neither is touched and the revision says so.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace

from orchestration.adapters.git import checkout as checkouts
from orchestration.adapters.git import layout as layouts
from orchestration.adapters.git import refs, worktree
from orchestration.adapters.git.checkout import State, View
from orchestration.adapters.git.escape import shown
from orchestration.adapters.git.host import Host
from orchestration.adapters.git.worktree import Site
from orchestration.core.errors import GitError
from orchestration.core.models import Revision


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ground:
    """What publishing found: an obstacle in words, or where branch and worktree are now."""

    obstacle: str | None = None
    tip: str | None = None
    view: View | None = None
    state: State | None = None


def publish(host: Host, site: Site, revision: Revision) -> Revision:
    """Return *revision* as published, or with ``published`` False and a flag that says why."""
    with host.lock(site.layout):
        ours = our_tips(host, site, revision)
        ground = _survey(host, site, ours)
        if ground.obstacle is not None:
            flag = f"not published: {ground.obstacle}"
            return replace(revision, published=False, flags=(*revision.flags, flag))
        return replace(revision, flags=(*revision.flags, *_act(host, site, revision.commit, ground)))


def our_tips(host: Host, site: Site, revision: Revision) -> frozenset[str]:
    """Return the commits at which the branch is where we put it, or where it began."""
    prefix = f"refs/taskq/{site.queue}/attempt/{site.task}/"
    collected = refs.listing(host.git, site.layout.common_dir, prefix).values()
    return frozenset({*collected, revision.base_commit, revision.commit})


def _survey(host: Host, site: Site, ours: Collection[str]) -> _Ground:
    tip = refs.resolve(host.git, site.layout.common_dir, site.branch_ref)
    branch = shown(site.branch)
    if tip is not None and tip not in ours:
        return _Ground(obstacle=f"branch {branch} is at {tip[:12]}, which taskq did not collect")
    for checkout in layouts.checkouts(site.layout):
        if checkout.branch == site.branch and not (checkout.is_linked and site.is_ours(checkout)):
            return _Ground(obstacle=f"branch {branch} is checked out in {shown(str(checkout.folder))}")
    found = site.checkout
    folder = shown(str(site.folder))
    if found is None:
        is_free = not site.folder.is_symlink() and not site.folder.exists()
        obstacle = None if is_free else f"{folder} is there already and is not the task's worktree"
        return _Ground(obstacle=obstacle, tip=tip)
    if not site.is_ours(found):
        return _Ground(obstacle=f"{folder} is a worktree that taskq did not make for this task")
    if worktree.is_unfinished(found) or not found.folder.exists():
        return _Ground(tip=tip)
    if found.branch != site.branch or found.operation is not None:
        what = found.operation or "another branch"
        return _Ground(obstacle=f"{what} is under way in the worktree {folder}")
    return _survey_files(host, site, ours, _Ground(tip=tip, view=checkouts.view(host, site.layout, found)))


def _survey_files(host: Host, site: Site, ours: Collection[str], ground: _Ground) -> _Ground:
    folder = shown(str(site.folder))
    if ground.view is None:
        return ground
    try:
        state = ground.view.state()
    except GitError as error:
        return _Ground(obstacle=f"the worktree {folder} cannot be read: {error}")
    trees = {refs.tree_of(host.git, site.layout.common_dir, commit) for commit in ours}
    if state.changed or state.untracked or state.tree not in trees:
        return _Ground(obstacle=f"the worktree {folder} has changes of its own: {state.summary}")
    return replace(ground, state=state)


def _act(host: Host, site: Site, commit: str, ground: _Ground) -> tuple[str, ...]:
    git, repository = host.git, site.layout.common_dir
    old = ground.state.tree if ground.state is not None else None
    if ground.view is not None and old is not None:
        ground.view.move(old, commit, only_try=True)
    if ground.tip != commit:
        expected = ground.tip or refs.ABSENT
        message = f"taskq: collect {site.task}"
        refs.move(git, repository, site.branch_ref, to=commit, expected=expected, message=message)
    if ground.view is None or old is None:
        return worktree.make(host, site, commit)
    ground.view.move(old, commit)
    return ()
