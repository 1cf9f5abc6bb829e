"""A repository's base histories in a bare repository of ours, whose objects all its workspaces share read-only.

Guarantees: what is here came from the operator's repository and from no agent.
"""

import shlex
from pathlib import Path

from orchestration.adapters.git import refs
from orchestration.adapters.git.command import Place
from orchestration.adapters.git.environment import git_program
from orchestration.adapters.git.host import Host
from orchestration.adapters.git.layout import Layout


def refresh(host: Host, layout: Layout, *, ref: str, commit: str) -> Path:
    """Bring the history of *commit*, which *ref* names in the operator's repository, into the cache; return the cache.

    The caller holds the repository's lock.
    """
    cache = host.cache(layout)
    if not (cache / "HEAD").is_file():
        host.make_bare(cache)
    ours = f"refs/base/{commit}"
    if not _names(cache / ours, commit) and refs.resolve(host.git, cache, ours) != commit:
        fetch(host, layout, into=cache, ref=ref, to=ours)
    return cache


def _names(loose_ref: Path, commit: str) -> bool:
    """Whether the ref is a plain file that says *commit*: quicker than to ask git, which asks once it is packed."""
    try:
        return loose_ref.read_text(encoding="ascii") == f"{commit}\n"
    except OSError:
        return False


def fetch(host: Host, layout: Layout, *, into: Path, ref: str, to: str) -> None:
    """Fetch *ref* of the operator's repository as *to* of *into*, a repository of ours."""
    arguments = (
        "fetch",
        "--quiet",
        "--no-tags",
        "--no-write-fetch-head",
        "--no-recurse-submodules",
        "--no-auto-maintenance",
        f"--upload-pack={_upload_pack(layout)}",
        "--",
        layout.common_dir.as_uri(),
        f"+{ref}:{to}",
    )
    host.git.run(Place(git_dir=into), *arguments)


def _upload_pack(layout: Layout) -> str:
    """Return the command that serves the operator's repository.

    Whether git may work in a repository of another user was asked of the operator's own configuration at intake; the
    serving process sees none, so it is told of this one repository.
    """
    trusted = (f"safe.directory={folder}" for folder in (layout.common_dir, layout.common_dir.parent))
    settings = " ".join(f"-c {shlex.quote(setting)}" for setting in trusted)
    return f"{shlex.quote(git_program())} {settings} upload-pack"
