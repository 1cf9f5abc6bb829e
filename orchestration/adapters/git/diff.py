"""A revision's diff, rendered from objects through a repository of ours: no setting and no attribute has a say."""

from collections.abc import Generator
from pathlib import Path

from orchestration.adapters.git import layout
from orchestration.adapters.git.command import Place
from orchestration.adapters.git.host import Host
from orchestration.core.facts import Revision


def diff(host: Host, revision: Revision, repo: Path, *, stat: bool, binary: bool) -> Generator[bytes, None, None]:
    """Yield the diff from base to commit in chunks; raw bytes of hostile work: escape before showing."""
    place = Place(git_dir=host.lens(layout.find(repo)))
    form = ("--stat=100", "--summary") if stat else ("--patch", *(("--binary",) if binary else ()))
    yield from host.git.stream(
        place,
        "diff-tree",
        "-r",
        "--no-ext-diff",
        "--no-textconv",
        "--no-color",
        "--find-renames",
        "--submodule=short",
        *form,
        "--end-of-options",
        revision.base_commit,
        revision.commit,
    )
