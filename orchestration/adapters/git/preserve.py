"""What a person changed in a task's worktree or branch, kept under a ref before anything is destroyed.

Guarantees: neither their files nor their index are touched; what is kept has been read back from the repository.
Ignored files, and repositories inside the worktree, are no part of it; the latter refuse.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestration.adapters.git import checkout as checkouts
from orchestration.adapters.git import quarantine, refs
from orchestration.adapters.git.checkout import State, View
from orchestration.adapters.git.command import Place
from orchestration.adapters.git.escape import shown
from orchestration.adapters.git.host import Host
from orchestration.adapters.git.layout import Checkout
from orchestration.adapters.git.worktree import Site
from orchestration.core import naming
from orchestration.core.errors import GitError


def preserve(host: Host, site: Site, *, attempt: int) -> str | None:
    """Keep what a person changed, once; return its commit, or None when a person changed nothing."""
    with host.lock(site.layout):
        kept = _kept(host, site)
        changed = _keep_worktree(host, site, kept, attempt)
        moved = _keep_branch(host, site, _kept(host, site), attempt)
        return changed or moved


def at_risk(host: Host, site: Site, checkout: Checkout) -> str | None:
    """Return what would be lost with the worktree, or None when all that a person could have made is under a ref."""
    view = checkouts.view(host, site.layout, checkout)
    state, head = view.state(), _head(host, site, checkout)
    if state.submodules:
        return f"has the submodule {shown(state.submodules[0])} filled; empty it with: git submodule deinit"
    if not _is_changed(host, site, state, head):
        is_safe = head is None or checkout.branch is not None or _is_held(host, site, head)
        return None if is_safe else "is on a commit that no ref holds; preserve it first"
    if kept_as(host, site, view, state) is not None:
        return None
    return f"holds changes that are kept nowhere else ({state.summary}); preserve them first"


def kept_as(host: Host, site: Site, view: View, state: State) -> str | None:
    """Return the kept commit that holds the worktree exactly as it is, files and index, or None."""
    with host.scratch(site.layout.objects, host.lens(site.layout) / "objects") as scratch:
        snapshot = _snapshot(view, scratch, state, _head(host, site, view.checkout))
        return _same(host, scratch, _kept(host, site), snapshot)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Snapshot:
    """A worktree as trees. *staged* is what its index held, where that is neither HEAD nor what the files are."""

    tree: str
    head: str | None
    staged: str | None


def _keep_worktree(host: Host, site: Site, kept: Mapping[str, str], attempt: int) -> str | None:
    checkout = site.checkout
    if checkout is None or not checkout.folder.is_dir() or not checkout.index_file.exists():
        return None
    view = checkouts.view(host, site.layout, checkout)
    state, head = view.state(), _head(host, site, checkout)
    if not _is_changed(host, site, state, head):
        if head is None or checkout.branch is not None or _is_held(host, site, head):
            return None
        return _store(host, site, site.layout.common_dir, head, _free_ref(site, kept, attempt))
    with host.scratch(site.layout.objects, host.lens(site.layout) / "objects") as scratch:
        snapshot = _snapshot(view, scratch, state, head)
        same = _same(host, scratch, kept, snapshot)
        if same is not None:
            return same
        return _store(host, site, scratch, _commit(host, site, scratch, snapshot), _free_ref(site, kept, attempt))


def _commit(host: Host, site: Site, scratch: Path, snapshot: _Snapshot) -> str:
    """Return a commit on HEAD with the files, and the index as a second parent where it says something else."""
    git, place = host.git, Place(git_dir=scratch)
    on_head = () if snapshot.head is None else ("-p", snapshot.head)
    on_index: tuple[str, ...] = ()
    if snapshot.staged is not None:
        message = f"{site.task}: what was staged in the worktree"
        on_index = ("-p", git.run(place, "commit-tree", *on_head, "-m", message, snapshot.staged).text)
    message = f"{site.task}: what was in the worktree"
    return git.run(place, "commit-tree", *on_head, *on_index, "-m", message, snapshot.tree).text


def _keep_branch(host: Host, site: Site, kept: Mapping[str, str], attempt: int) -> str | None:
    tip = refs.resolve(host.git, site.layout.common_dir, site.branch_ref)
    if tip is None or _is_held(host, site, tip):
        return tip if tip in kept.values() else None
    return _store(host, site, site.layout.common_dir, tip, _free_ref(site, kept, attempt))


def _store(host: Host, site: Site, source: Path, commit: str, ref: str) -> str:
    """Put *commit* of *source* under *ref* of the operator's repository and read it back."""
    git, repository = host.git, site.layout.common_dir
    if source != repository:
        git.run(Place(git_dir=source), "update-ref", quarantine.INCOMING, commit)
        quarantine.fetch(git, site.layout, source, quarantine.INCOMING, ref, checked=False)
    else:
        refs.move(git, repository, ref, to=commit, expected=refs.ABSENT, message=f"taskq: keep {site.task}")
    if refs.resolve(git, repository, ref) != commit:
        raise GitError(f"{ref} does not name {commit} after it was kept; nothing may be removed", code="not_preserved")
    git.run(Place(git_dir=repository), "rev-list", "--objects", "--quiet", "-n", "1", "--end-of-options", ref)
    return commit


def _snapshot(view: View, scratch: Path, state: State, head: str | None) -> _Snapshot:
    """Write files and index of a worktree as trees into *scratch*."""
    nested = [path for path in state.untracked if path.endswith("/")]
    if nested:
        message = (
            f"{shown(nested[0])} in {shown(str(view.checkout.folder))} is a repository of its own; move it elsewhere"
        )
        raise GitError(message, code="nested_repository")
    git, config = view.host.git, view.config.carried
    index = scratch / "index"
    shutil.copy2(view.checkout.index_file, index)
    place = Place(git_dir=scratch, work_tree=view.checkout.folder, index=index)
    paths = "".join(f"{path}\0" for path in (*state.changed, *state.untracked))
    stdin = paths.encode("utf-8", "surrogateescape")
    git.run(place, "update-index", "--add", "--remove", "-z", "--stdin", stdin=stdin, config=config)
    tree = git.run(place, "write-tree").text
    committed = None if head is None else refs.tree_of(git, scratch, head)
    staged = None if state.tree in {tree, committed} else state.tree
    return _Snapshot(tree=tree, head=head, staged=staged)


def _same(host: Host, scratch: Path, kept: Mapping[str, str], snapshot: _Snapshot) -> str | None:
    """Return the kept commit that holds *snapshot* already."""
    place = Place(git_dir=scratch)
    for commit in kept.values():
        words = host.git.run(place, "log", "-1", "--no-show-signature", "--format=%T %P", commit).text.split()
        tree, parents = words[0], words[1:]
        if snapshot.head is not None:
            on_head, parents = parents[:1] == [snapshot.head], parents[1:]
        else:
            on_head = True
        staged = refs.tree_of(host.git, scratch, parents[0]) if parents else None
        if tree == snapshot.tree and on_head and staged == snapshot.staged:
            return commit
    return None


def _head(host: Host, site: Site, checkout: Checkout) -> str | None:
    if checkout.branch is None:
        return checkout.commit
    return refs.resolve(host.git, site.layout.common_dir, f"refs/heads/{checkout.branch}")


def _is_changed(host: Host, site: Site, state: State, head: str | None) -> bool:
    committed = None if head is None else refs.tree_of(host.git, site.layout.common_dir, head)
    return bool(state.changed or state.untracked or state.tree != committed)


def _is_held(host: Host, site: Site, commit: str) -> bool:
    """Whether refs of ours, or a branch that is not the task's, contain *commit*."""
    git, repository = host.git, site.layout.common_dir
    prefixes = (f"refs/taskq/{site.queue}", "refs/heads", "refs/remotes", "refs/tags")
    arguments = ("for-each-ref", "--contains", commit, "--format=%(refname)", "--", *prefixes)
    return any(
        ref and ref != site.branch_ref for ref in git.run(Place(git_dir=repository), *arguments).text.split("\n")
    )


def _kept(host: Host, site: Site) -> Mapping[str, str]:
    prefix = f"refs/taskq/{site.queue}/keep/{site.task}/"
    return refs.listing(host.git, site.layout.common_dir, prefix)


def _free_ref(site: Site, kept: Mapping[str, str], attempt: int) -> str:
    number = 1
    while (ref := naming.keep_ref(site.queue, naming.task_id(site.task), attempt, number)) in kept:
        number += 1
    return ref
