"""Work trees of the operator's repository, seen and moved through a git dir of ours.

Guarantees: no filter, hook, monitor or nested repository of the tree runs; only the checkout's files and index change.
"""

import os
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from orchestration.adapters.git import changes, operator_config
from orchestration.adapters.git.command import Place
from orchestration.adapters.git.escape import shown
from orchestration.adapters.git.host import Host
from orchestration.adapters.git.layout import Checkout, Layout
from orchestration.adapters.git.operator_config import OperatorConfig
from orchestration.core.errors import GitError

_NAMED: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """A checkout as it is. *tree* is what its index holds, None while paths are unmerged."""

    tree: str | None
    changed: tuple[str, ...]
    untracked: tuple[str, ...]
    submodules: tuple[str, ...]
    """Submodules that are filled: repositories of their own, whose insides are not looked at."""

    @property
    def summary(self) -> str:
        """Return the first paths that are not as committed."""
        paths = (*self.changed, *self.untracked)
        more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
        return ", ".join(shown(path) for path in paths[:_NAMED]) + more if paths else "staged changes"


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One checkout through our lens."""

    host: Host
    layout: Layout
    checkout: Checkout
    config: OperatorConfig

    @property
    def place(self) -> Place:
        """Return our git dir over the checkout's tree and index."""
        return Place(
            git_dir=self.host.lens(self.layout), work_tree=self.checkout.folder, index=self.checkout.index_file
        )

    def state(self) -> State:
        """Return what the checkout's files and index are, changing neither."""
        git, carried = self.host.git, self.config.carried
        with self.host.temporary() as folder:
            index = folder / "index"
            if self.checkout.index_file.exists():
                shutil.copy2(self.checkout.index_file, index)
            place = Place(git_dir=self.place.git_dir, work_tree=self.checkout.folder, index=index)
            git.run(place, "update-index", "-q", "--ignore-submodules", "--refresh", config=carried, expected=(0, 1))
            changed = git.run(
                place, "diff-files", "--name-only", "-z", "--ignore-submodules=all", "--no-ext-diff", config=carried
            )
            untracked = git.run(place, "ls-files", "--others", "-z", *self._excludes(), config=carried)
            staged = git.run(place, "ls-files", "--stage", "-z").stdout
            written = git.run(place, "write-tree", expected=(0, 128))
        return State(
            tree=written.text if written.code == 0 else None,
            changed=tuple(dict.fromkeys(_names(changed.stdout))),
            untracked=_names(untracked.stdout),
            submodules=tuple(path for path in gitlinks(staged) if _is_filled(self.checkout.folder / path)),
        )

    def populate(self, commit: str) -> None:
        """Fill the empty checkout with *commit*."""
        self.host.git.run(self.place, "read-tree", "-m", "-u", commit, config=self.config.carried)

    def absorb(self, state: State) -> None:
        """Stage what *state* found changed; the files stay as they are."""
        paths = "".join(f"{path}\0" for path in (*state.changed, *state.untracked))
        stdin = paths.encode("utf-8", "surrogateescape")
        arguments = ("update-index", "--add", "--remove", "-z", "--stdin")
        self.host.git.run(self.place, *arguments, stdin=stdin, config=self.config.carried)

    def move(self, old: str, new: str, *, only_try: bool = False) -> None:
        """Bring files and index from tree *old* to *new*, as a fast-forward does; what is in the way refuses.

        Raises: GitError; then nothing was changed, unless the disk failed.
        """
        git, carried = self.host.git, self.config.carried
        git.run(self.place, "update-index", "-q", "--ignore-submodules", "--refresh", config=carried, expected=(0, 1))
        options = ("-n",) if only_try else ()
        if only_try:
            self._refuse_overwriting(old, new)
        git.run(self.place, "read-tree", *options, "-m", "-u", old, new, config=carried)

    def _refuse_overwriting(self, old: str, new: str) -> None:
        """Refuse where a file that git does not track is in the way; git itself would overwrite an ignored one."""
        paths = changes.paths(self.host.git, Place(git_dir=self.place.git_dir), old, new)
        root = self.checkout.folder
        leaving = {root / path for path, status in paths.items() if status == "D"}
        for path in (path for path, status in paths.items() if status == "A"):
            blocking = _in_the_way(root, root / path, leaving)
            if blocking is not None:
                name = shown(str(blocking.relative_to(root)))
                raise GitError(f"{name} is there, is not tracked and would be overwritten", code="in_the_way")

    def _excludes(self) -> tuple[str, ...]:
        files = (
            self.layout.common_dir / "info" / "exclude",
            self.config.user_file("core.excludesfile", "ignore"),
        )
        known = (f"--exclude-from={file}" for file in files if file is not None and file.is_file())
        return ("--exclude-per-directory=.gitignore", *known)


def view(host: Host, layout: Layout, checkout: Checkout) -> View:
    """Look at *checkout*."""
    config = operator_config.read(host.git, checkout.git_dir)
    return View(host=host, layout=layout, checkout=checkout, config=config)


def gitlinks(staged: bytes) -> tuple[str, ...]:
    """Return the paths of submodules in the output of ``ls-files --stage -z``."""
    entries = (entry.split(b"\t", 1) for entry in staged.split(b"\0") if entry.startswith(b"160000 "))
    return tuple(path.decode("utf-8", "surrogateescape") for _, path in entries)


def _in_the_way(root: Path, path: Path, leaving: Collection[Path]) -> Path | None:
    """Return what of the disk a new file at *path* would overwrite; what is in *leaving* goes anyway."""
    for parent in (one for one in path.parents if root in one.parents):
        if (parent.is_symlink() or parent.is_file()) and parent not in leaving:
            return parent
    if path.is_symlink() or path.is_file():
        return None if path in leaving else path
    below = (Path(here) / name for here, _, names in os.walk(path) for name in names)
    return next((file for file in below if file not in leaving), None)


def _is_filled(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())


def _names(output: bytes) -> tuple[str, ...]:
    return tuple(name.decode("utf-8", "surrogateescape") for name in output.split(b"\0") if name)
