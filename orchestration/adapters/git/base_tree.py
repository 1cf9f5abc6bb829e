"""The files of a base commit, read from the cache of base histories: never from a folder that an agent can write.

Guarantees: links, submodules and folders are not read; attributes of the repository change nothing of what comes out.
"""

import functools
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from orchestration.adapters.git.command import Place
from orchestration.adapters.git.escape import shown
from orchestration.adapters.git.host import Host
from orchestration.core.errors import RepositoryError

_REGULAR: Final = frozenset({"100644", "100755"})


@dataclass(frozen=True, slots=True, kw_only=True)
class GitBaseTree:
    """The port `BaseTree`."""

    host: Host
    repository: Path
    """The cache's bare repository."""
    commit: str

    def read(self, path: str, *, limit: int) -> bytes | None:
        """Return the content of the regular file *path*; what is there but is none is refused."""
        return _read(self, path, limit)

    def read_now(self, path: str, limit: int) -> bytes | None:
        """Do what `read` does, whether it was done before or not."""
        listed = self._list(self.commit, "--", path)
        if path not in listed:
            return None
        mode, blob = listed[path]
        if mode not in _REGULAR:
            raise RepositoryError(f"{shown(path)} of {self.commit[:12]} is no regular file", code="no_file")
        size = int(self._git("cat-file", "-s", blob))
        if size > limit:
            raise RepositoryError(f"{shown(path)} of {self.commit[:12]} is larger than {limit} bytes", code="too_large")
        return self._git("cat-file", "blob", blob)

    def blobs(self) -> Mapping[str, str]:
        """Return every regular file's path with the hash of its content."""
        return {path: blob for path, (mode, blob) in self._list("-r", self.commit).items() if mode in _REGULAR}

    def export(self, to: Path) -> None:
        """Write all files as a tar to the new host file *to*: as committed, owned by nobody in particular."""
        with self.host.temporary() as folder:
            tree = folder / "tree"
            tree.mkdir()
            place = Place(git_dir=self.repository, work_tree=tree, index=folder / "index")
            self.host.git.run(place, "read-tree", self.commit)
            self.host.git.run(place, "checkout-index", "--all", "--quiet", f"--prefix={tree}/")
            with tarfile.open(to, "x", format=tarfile.PAX_FORMAT) as archive:
                for entry in sorted(tree.iterdir()):
                    archive.add(entry, entry.name, filter=_anonymous)

    def _list(self, *arguments: str) -> dict[str, tuple[str, str]]:
        """Return mode and object of each path that ``ls-tree`` names."""
        found = {}
        for line in self._git("ls-tree", "-z", "--full-tree", *arguments).split(b"\0"):
            head, tab, path = line.partition(b"\t")
            if tab:
                mode, _, blob = head.decode("ascii").split(" ")
                found[path.decode("utf-8", "surrogateescape")] = (mode, blob)
        return found

    def _git(self, *arguments: str) -> bytes:
        return self.host.git.run(Place(git_dir=self.repository), *arguments).stdout


@functools.lru_cache(maxsize=64)
def _read(tree: GitBaseTree, path: str, limit: int) -> bytes | None:
    """Read a file of a commit once: a commit never changes, and many tasks have the same base."""
    return tree.read_now(path, limit)


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mtime = 0
    return member
