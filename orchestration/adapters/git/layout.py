"""Where a repository's parts lie, read as plain files: no git process.

Responsible for: the common dir, the checkouts and which branch each is on, our mark on a worktree.
Not responsible for: whether git would accept the repository; `intake` asks git once.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from orchestration.adapters.git.escape import shown
from orchestration.core import naming
from orchestration.core.errors import RepositoryError

MARK: Final = "taskq"
"""The file in a worktree's own git dir that says whose worktree it is."""
_POINTER_BYTES: Final = 8192


class Layout(NamedTuple):
    """A repository of the operator's. *root* is the checkout's top, or the folder of a bare repository."""

    root: Path
    common_dir: Path

    @property
    def key(self) -> str:
        """Return the short stable hash that names what we keep for this repository."""
        return naming.repository_key(self.common_dir)

    @property
    def objects(self) -> Path:
        """Return the object store."""
        return self.common_dir / "objects"


class Checkout(NamedTuple):
    """A work tree of a repository. Exactly one of *branch* and *commit* is set, unless HEAD is unreadable."""

    folder: Path
    git_dir: Path
    branch: str | None
    commit: str | None
    is_linked: bool

    @property
    def index_file(self) -> Path:
        """Return the checkout's own index."""
        return self.git_dir / "index"

    @property
    def is_locked(self) -> bool:
        """Whether somebody said ``git worktree lock``."""
        return (self.git_dir / "locked").exists()

    @property
    def operation(self) -> str | None:
        """Return what is half done here, such as a rebase, or None."""
        signs = {
            "rebase-merge": "a rebase",
            "rebase-apply": "a rebase",
            "MERGE_HEAD": "a merge",
            "CHERRY_PICK_HEAD": "a cherry-pick",
            "REVERT_HEAD": "a revert",
            "BISECT_LOG": "a bisect",
        }
        return next((what for name, what in signs.items() if (self.git_dir / name).exists()), None)

    @property
    def mark(self) -> Mapping[str, str] | None:
        """Return our mark, or None when the worktree is not ours."""
        try:
            found = json.loads((self.git_dir / MARK).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else None


def find(repo: Path) -> Layout:
    """Return the repository that holds *repo*: a checkout's folder, one below it, or a git dir.

    Raises: RepositoryError.
    """
    if not repo.is_dir():
        what = "is no folder" if repo.exists() else "does not exist"
        raise RepositoryError(f"{shown(str(repo))} {what}; give the folder of a git repository", code="no_repository")
    start = repo.resolve()
    for folder in (start, *start.parents):
        if _is_git_dir(folder):
            common = _common_dir(folder)
            is_inside_checkout = folder.name == ".git" and not is_bare(common)
            return Layout(root=folder.parent if is_inside_checkout else folder, common_dir=common)
        git_dir = _git_dir_of(folder)
        if git_dir is not None:
            return Layout(root=folder, common_dir=_common_dir(git_dir))
    raise RepositoryError(f"{shown(str(repo))} is no git repository; make one with: git init", code="no_repository")


def checkouts(layout: Layout) -> Iterator[Checkout]:
    """Yield the main checkout, unless the repository is bare, then the linked worktrees."""
    common = layout.common_dir
    if not is_bare(common):
        configured = core_setting(common, "worktree")
        folder = (common / configured).resolve() if configured else common.parent
        yield _checkout(folder, common, is_linked=False)
    for admin in sorted((common / "worktrees").glob("*/")):
        pointer = _pointer(admin / "gitdir")
        if pointer is not None:
            yield _checkout((admin / pointer).parent, admin, is_linked=True)


def checkout_of(layout: Layout, folder: Path) -> Checkout | None:
    """Return the linked worktree that is registered for *folder*, whether the folder is there or not."""
    wanted = folder.parent.resolve() / folder.name
    linked = (checkout for checkout in checkouts(layout) if checkout.is_linked)
    return next((one for one in linked if one.folder.parent.resolve() / one.folder.name == wanted), None)


def is_bare(common_dir: Path) -> bool:
    """Whether the repository has no main checkout."""
    return (core_setting(common_dir, "bare") or "").lower() in {"true", "yes", "on", "1"}


def core_setting(common_dir: Path, name: str) -> str | None:
    """Return ``core.<name>`` of the repository's own files; includes are not followed."""
    found = None
    for file in (common_dir / "config", common_dir / "config.worktree"):
        section = ""
        for line in _lines(file):
            rest = line.strip()
            if rest.startswith("["):
                head, _, rest = rest[1:].partition("]")
                section = head.strip().lower()
            key, equals, value = rest.partition("=")
            if section == "core" and key.strip().lower() == name:
                found = value.strip().strip('"') if equals else "true"
    return found


def has_branch(layout: Layout, branch: str) -> bool:
    """Whether a local branch of this name is there, loose or packed."""
    if (layout.common_dir / "refs" / "heads" / branch).is_file():
        return True
    return any(line.endswith(f" refs/heads/{branch}") for line in _lines(layout.common_dir / "packed-refs"))


def branches(layout: Layout) -> list[str]:
    """Return the names of the local branches."""
    heads = layout.common_dir / "refs" / "heads"
    loose = {str(file.relative_to(heads)) for file in heads.rglob("*") if file.is_file()}
    lines = _lines(layout.common_dir / "packed-refs")
    packed = {line.split(" refs/heads/", 1)[1] for line in lines if " refs/heads/" in line}
    return sorted(loose | packed)


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8", errors="surrogateescape").split("\n")
    except OSError:
        return []


def _pointer(file: Path) -> str | None:
    """Return the path that a pointer file holds."""
    try:
        with file.open("rb") as stream:
            text = stream.read(_POINTER_BYTES).decode("utf-8", "surrogateescape")
    except OSError:
        return None
    return text.removeprefix("gitdir:").strip() or None


def _git_dir_of(folder: Path) -> Path | None:
    entry = folder / ".git"
    if entry.is_dir():
        return entry if _is_git_dir(entry) else None
    pointer = _pointer(entry) if entry.is_file() else None
    return None if pointer is None else (folder / pointer).resolve()


def _is_git_dir(folder: Path) -> bool:
    if not (folder / "HEAD").is_file():
        return False
    is_main = (folder / "objects").is_dir() and (folder / "refs").is_dir()
    return is_main or (folder / "commondir").is_file()


def _common_dir(git_dir: Path) -> Path:
    pointer = _pointer(git_dir / "commondir")
    return git_dir.resolve() if pointer is None else (git_dir / pointer).resolve()


def _checkout(folder: Path, git_dir: Path, *, is_linked: bool) -> Checkout:
    head = (_lines(git_dir / "HEAD") or [""])[0].strip()
    branch = head.removeprefix("ref: refs/heads/") if head.startswith("ref: refs/heads/") else None
    commit = None if branch is not None or head.startswith("ref:") else head or None
    return Checkout(folder=folder, git_dir=git_dir, branch=branch, commit=commit, is_linked=is_linked)
