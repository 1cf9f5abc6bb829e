"""An approved revision comes into its base, as a fast-forward and by compare-and-swap.

Guarantees: all or nothing; a clean checkout of the base follows, a changed one refuses; nothing else is touched.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from orchestration.adapters.git import changes, refs
from orchestration.adapters.git import checkout as checkouts
from orchestration.adapters.git import layout as layouts
from orchestration.adapters.git.checkout import View
from orchestration.adapters.git.command import Place
from orchestration.adapters.git.escape import shown
from orchestration.adapters.git.host import Host
from orchestration.adapters.git.layout import Layout
from orchestration.core import naming
from orchestration.core.errors import BusyError, GitError, RepositoryError, UsageError
from orchestration.core.facts import Landed, Revision
from orchestration.core.models import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """The base's move: ref and commits."""

    ref: str
    old: str
    new: str


def land(host: Host, task: Task, revision: Revision, *, at: datetime) -> Landed:
    """Fast-forward the task's base to the revision; landing what is landed already changes nothing."""
    found = layouts.find(Path(task.repo))
    landed = Landed(commit=revision.commit, how="ff", base=task.base, at=at)
    with host.lock(found):
        step = _step(host, found, task, revision)
        if refs.is_ancestor(host.git, found.common_dir, step.new, step.old):
            return landed
        if not refs.is_ancestor(host.git, found.common_dir, step.old, step.new):
            message = (
                f"{shown(task.base)} has moved on since {task.id} began, so {step.new[:12]} is no fast-forward of it; "
                f"send the task back to run it from the new {shown(task.base)}, or merge its branch yourself"
            )
            raise RepositoryError(message, code="not_fast_forward")
        views = [
            _followable(host, found, checkout, step)
            for checkout in layouts.checkouts(found)
            if checkout.branch == task.base
        ]
        _move(host, found, step, views, message=f"taskq: land {task.id}")
    return landed


def _step(host: Host, found: Layout, task: Task, revision: Revision) -> _Step:
    where = shown(str(found.root))
    try:
        ref = f"refs/heads/{naming.check_branch(task.base)}"
        old = refs.resolve(host.git, found.common_dir, ref)
    except UsageError:
        old = None
    if old is None:
        message = f"'{shown(task.base)}' is no local branch of {where}, so nothing can be landed on it"
        raise RepositoryError(message, code="no_branch")
    kept = refs.resolve(host.git, found.common_dir, revision.ref)
    if kept != revision.commit:
        message = f"{revision.ref} of {where} no longer names {revision.commit[:12]}, which was approved"
        raise RepositoryError(message, code="revision_gone")
    return _Step(ref=ref, old=old, new=revision.commit)


def _followable(host: Host, found: Layout, checkout: layouts.Checkout, step: _Step) -> View:
    """Return the view of a checkout of the base that can follow the move.

    Raises: BusyError, RepositoryError.
    """
    folder = shown(str(checkout.folder))
    if checkout.operation is not None:
        raise BusyError(f"{checkout.operation} is under way in {folder}; finish or abort it first", code="dirty")
    view = checkouts.view(host, found, checkout)
    if view.config.is_sparse:
        message = f"{folder} is a sparse checkout, which taskq cannot bring along; switch it to another branch first"
        raise RepositoryError(message, code="sparse")
    state = view.state()
    if state.changed or state.tree != refs.tree_of(host.git, found.common_dir, step.old):
        message = f"{folder} has uncommitted changes: {state.summary}; commit or stash them first"
        raise BusyError(message, code="dirty")
    filtered = _filtered(view, step)
    if filtered is not None:
        message = (
            f"{shown(filtered)} in {folder} goes through a filter, which taskq does not run; "
            f"switch {folder} to another branch first, or merge there yourself"
        )
        raise RepositoryError(message, code="filtered")
    try:
        view.move(step.old, step.new, only_try=True)
    except GitError as error:
        raise BusyError(f"{folder} cannot follow: {error}", code="dirty") from error
    return view


def _filtered(view: View, step: _Step) -> str | None:
    """Return a changed path that one of the operator's filter drivers would have to write."""
    if not view.config.filters:
        return None
    git, lens = view.host.git, view.place.git_dir
    paths = list(changes.paths(git, Place(git_dir=lens), step.old, step.new))
    user_files = (
        view.layout.common_dir / "info" / "attributes",
        view.config.user_file("core.attributesfile", "attributes"),
    )
    for file in user_files:
        if file is not None and file.is_file() and b"filter" in file.read_bytes():
            return paths[0] if paths else None
    with view.host.temporary() as folder:
        place = Place(git_dir=lens, index=folder / "index")
        git.run(place, "read-tree", step.new)
        asked = "".join(f"{path}\0" for path in paths).encode("utf-8", "surrogateescape")
        answer = git.run(place, "check-attr", "--cached", "--stdin", "-z", "filter", stdin=asked).stdout
    fields = answer.decode("utf-8", "surrogateescape").split("\0")
    pairs = zip(fields[0::3], fields[2::3], strict=False)
    return next((path for path, driver in pairs if driver in view.config.filters), None)


def _move(host: Host, found: Layout, step: _Step, views: list[View], *, message: str) -> None:
    git, repository = host.git, found.common_dir
    refs.move(git, repository, step.ref, to=step.new, expected=step.old, message=message)
    try:
        for view in views:
            view.move(step.old, step.new)
    except GitError:
        refs.move(git, repository, step.ref, to=step.old, expected=step.new, message=f"{message}, undone")
        raise
