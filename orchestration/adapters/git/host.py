"""Our own folders, locks and repositories on this host.

Guarantees: nothing here is inside the operator's repository or anything that an agent can write.
"""

import tempfile
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from orchestration.adapters.git import locks
from orchestration.adapters.git.command import HostGit
from orchestration.adapters.git.escape import shown
from orchestration.adapters.git.layout import Layout
from orchestration.support.trees import remove_tree

_FOLDERS: Final = ("objects", "objects/info", "refs")
"""What git wants to see before it takes a folder for a repository, and where we write; it makes the rest itself."""
_BARE: Final = "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = true\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """*cache_root* may be emptied at any time; *state_root* is one for all queues of the user, for its locks."""

    cache_root: Path
    state_root: Path
    identity_name: str
    identity_email: str

    @property
    def git(self) -> HostGit:
        """Return git with our empty home and the configured identity."""
        return HostGit(home=self._own / "home", name=self.identity_name, email=self.identity_email)

    @property
    def no_hooks(self) -> Path:
        """Return the empty folder that worktrees of ours have for a hooks path."""
        folder = self._own / "no-hooks"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder

    def lock(self, layout: Layout) -> AbstractContextManager[None]:
        """Hold the repository for a change of its refs, worktrees or cache."""
        return locks.hold(self._own / "locks" / f"{layout.key}.lock", what=shown(str(layout.root)))

    def cache(self, layout: Layout) -> Path:
        """Return where the repository's base histories are kept."""
        return self.cache_root / "repos" / f"{layout.key}.git"

    def lens(self, layout: Layout) -> Path:
        """Return a bare repository of ours that sees the operator's objects and none of the operator's settings."""
        lens = self._own / "lens" / f"{layout.key}.git"
        if not (lens / "HEAD").is_file():
            self.make_bare(lens, layout.objects)
        return lens

    @contextmanager
    def scratch(self, *borrowed: Path) -> Generator[Path, None, None]:
        """Give a bare repository of ours that is gone afterwards; *borrowed* are object stores that it sees."""
        with self.temporary() as folder:
            repository = folder / "scratch.git"
            self.make_bare(repository, *borrowed)
            yield repository

    @contextmanager
    def temporary(self) -> Generator[Path, None, None]:
        """Give a folder of ours that is gone afterwards."""
        parent = self._own / "scratch"
        parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=parent) as folder:
            yield Path(folder)

    def make_bare(self, target: Path, *borrowed: Path, branch: str = "none") -> None:
        """Make a repository at *target* in one step; one that somebody else just made there is as good."""
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=target.parent, prefix=".new-"))
        try:
            write_bare(fresh, *borrowed, branch=branch)
            fresh.rename(target)
        except OSError:
            remove_tree(fresh)
            if not (target / "HEAD").is_file():
                raise

    @property
    def _own(self) -> Path:
        return self.state_root / "git"


def write_bare(folder: Path, *borrowed: Path, branch: str) -> None:
    """Make a repository of the empty *folder*, which nobody else knows yet; *borrowed* are object stores that it sees.

    Written as plain files, as gitrepository-layout(5) has them: to start git for this would take most of the time
    that a small task's git takes in all.
    """
    for inner in _FOLDERS:
        (folder / inner).mkdir()
    (folder / "HEAD").write_text(f"ref: refs/heads/{branch}\n", encoding="utf-8")
    (folder / "config").write_text(_BARE, encoding="utf-8")
    borrow(folder, *borrowed)


def borrow(repository: Path, *stores: Path) -> None:
    """Let *repository* see the objects of *stores* as if they were its own."""
    if stores:
        info = repository / "objects" / "info"
        lines = "".join(f"{_quoted(store)}\n" for store in stores)
        (info / "alternates").write_text(lines, encoding="utf-8", errors="surrogateescape")


def erase(folder: Path) -> None:
    """Remove a folder of ours and all in it, following no link, also where an agent took our rights away."""
    if folder.is_symlink() or folder.is_file():
        folder.unlink()
    else:
        remove_tree(folder)


def _quoted(store: Path) -> str:
    text = str(store)
    if "\n" not in text:
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
