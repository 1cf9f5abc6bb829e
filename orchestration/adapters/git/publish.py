"""The operator sees the work: the task's branch moves, and its worktree is made or follows.

Guarantees: where a person has changed branch or worktree, neither is touched and the revision says so.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace

from orchestration.adapters.git import checkout as checkouts
from orchestration.adapters.git import layout as layouts
from orchestration.adapters.git import preserve, refs, worktree
from orchestration.adapters.git.checkout import State, View
from orchestration.adapters.git.escape import shown
from orchestration.adapters.git.host import Host
from orchestration.adapters.git.worktree import Site
from orchestration.core.errors import GitError
from orchestration.core.facts import Revision


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ground:
    """What publishing found: an obstacle in words, or where branch and worktree are now."""

    obstacle: str | None = None
    tip: str | None = None
    view: View | None = None
    state: State | None = None
    old: str | None = None
    """What the worktree's files are: a tree, or a commit that holds what a person changed."""


def publish(host: Host, site: Site, revision: Revision) -> Revision:
    """Return *revision* as published, or with ``published`` False and a flag that says why."""
    with host.lock(site.layout):
        ground = _survey(host, site, revision)
        if ground.obstacle is not None:
            flag = f"not published: {ground.obstacle}"
            return replace(revision, published=False, flags=(*revision.flags, flag))
        return replace(revision, flags=(*revision.flags, *_act(host, site, revision.commit, ground)))


def _known(host: Host, site: Site, revision: Revision) -> frozenset[str]:
    """Return the commits that branch and worktree may leave.

    These are where we put them, where the branch began, and what was kept of a person's changes and is in *revision*.
    """
    git, repository = host.git, site.layout.common_dir
    root = f"refs/taskq/{site.queue}"
    collected = refs.listing(git, repository, f"{root}/attempt/{site.task}/").values()
    kept = refs.listing(git, repository, f"{root}/keep/{site.task}/").values()
    continued = (commit for commit in kept if refs.is_ancestor(git, repository, commit, revision.commit))
    return frozenset({*collected, *continued, revision.base_commit, revision.commit})


def _survey(host: Host, site: Site, revision: Revision) -> _Ground:
    ours = _known(host, site, revision)
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
        trees = {refs.tree_of(host.git, site.layout.common_dir, commit) for commit in ours}
        is_clean = not state.changed and not state.untracked and state.tree in trees
        old = state.tree if is_clean else preserve.kept_as(host, site, ground.view, state)
    except GitError as error:
        return _Ground(obstacle=f"the worktree {folder} cannot be read: {error}")
    if not is_clean and old not in ours:
        return _Ground(obstacle=f"the worktree {folder} has changes of its own: {state.summary}")
    return replace(ground, state=state, old=old)


def _act(host: Host, site: Site, commit: str, ground: _Ground) -> tuple[str, ...]:
    git, repository = host.git, site.layout.common_dir
    view, old = ground.view, ground.old
    if view is not None and ground.state is not None and old is not None:
        view.absorb(ground.state)
        view.move(old, commit, only_try=True)
    if ground.tip != commit:
        expected = ground.tip or refs.ABSENT
        message = f"taskq: collect {site.task}"
        refs.move(git, repository, site.branch_ref, to=commit, expected=expected, message=message)
    if view is None or old is None:
        return worktree.make(host, site, commit)
    view.move(old, commit)
    return ()
