"""Refs of the operator's repository: resolved, listed, and moved only by compare-and-swap."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from orchestration.adapters.git.command import HostGit, Place
from orchestration.adapters.git.escape import shown
from orchestration.core import naming
from orchestration.core.attempts import AttemptSpec
from orchestration.core.errors import BusyError, GitError

ABSENT: Final = "0" * 40
DURABLE: Final = ("core.fsync=committed,loose-object,reference", "core.fsyncMethod=fsync", "fetch.unpackLimit=1")
"""For changes that the journal will rely on: on disk when git returns."""


def start_ref(spec: AttemptSpec) -> str:
    """Return the ref that pins where a ``--dirty-run`` starts."""
    return naming.base_ref(spec.queue, spec.task, spec.attempt).removesuffix("0") + "start"


def resolve(git: HostGit, repository: Path, name: str) -> str | None:
    """Return the commit that *name* stands for, or None."""
    wanted = f"{name}^{{commit}}"
    arguments = ("rev-parse", "--verify", "--quiet", "--end-of-options", wanted)
    answer = git.run(Place(git_dir=repository), *arguments, expected=(0, 1, 128))
    return answer.text or None


def move(git: HostGit, repository: Path, ref: str, *, to: str, expected: str, message: str) -> None:
    """Move *ref* from *expected* (`ABSENT`: it must not be there) to *to*, or nothing.

    Raises: BusyError when the ref is elsewhere now.
    """
    place = Place(git_dir=repository)
    arguments = ("update-ref", "-m", message, "--no-deref", ref, to, expected)
    try:
        git.run(place, *arguments, config=DURABLE)
    except GitError as error:
        if resolve(git, repository, ref) not in {to, None if expected == ABSENT else expected}:
            raise BusyError(f"{shown(ref)} was moved by somebody in the meantime", code="ref_moved") from error
        raise


def create(git: HostGit, repository: Path, ref: str, *, to: str, message: str) -> bool:
    """Make *ref*, with one process where that can be; False when it is there already, or *to* is not."""
    arguments = ("update-ref", "-m", message, "--no-deref", ref, to, ABSENT)
    return git.run(Place(git_dir=repository), *arguments, config=DURABLE, expected=(0, 1, 128)).code == 0


def delete(git: HostGit, repository: Path, ref: str, *, expected: str) -> None:
    """Delete *ref* if it is at *expected*."""
    git.run(Place(git_dir=repository), "update-ref", "--no-deref", "-d", ref, expected)


def listing(git: HostGit, repository: Path, *prefixes: str) -> Mapping[str, str]:
    """Return the refs below *prefixes* and the commits they name."""
    arguments = ("for-each-ref", "--format=%(objectname) %(refname)", "--", *prefixes)
    lines = git.run(Place(git_dir=repository), *arguments).text.split("\n")
    return {ref: commit for commit, _, ref in (line.partition(" ") for line in lines) if ref}


def of_tasks(git: HostGit, repository: Path, queue: str) -> Mapping[str, int]:
    """Return how many refs a queue has for each of its tasks."""
    names = listing(git, repository, f"refs/taskq/{queue}/")
    return Counter(parts[4] for parts in (name.split("/") for name in names) if len(parts) > 5)


def is_ancestor(git: HostGit, repository: Path, older: str, newer: str) -> bool:
    """Whether *newer* contains *older*."""
    arguments = ("merge-base", "--is-ancestor", older, newer)
    return git.run(Place(git_dir=repository), *arguments, expected=(0, 1)).code == 0


def tree_of(git: HostGit, repository: Path, commit: str) -> str:
    """Return the tree of *commit*."""
    arguments = ("rev-parse", "--verify", "--end-of-options", f"{commit}^{{tree}}")
    return git.run(Place(git_dir=repository), *arguments).text
