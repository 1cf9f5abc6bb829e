"""The surroundings of every git process of the host: built from nothing, nothing inherited.

Guarantees: no variable, system file or user file of the operator reaches git, but through `operator_environment`.
"""

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final

from orchestration.core.errors import GitError

WALL: Final = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.sshCommand=false",
    "core.gitProxy=false",
    "core.editor=false",
    "core.pager=cat",
    "core.attributesFile=/dev/null",
    "core.excludesFile=/dev/null",
    "core.alternateRefsCommand=true",
    "core.untrackedCache=false",
    "core.splitIndex=false",
    "core.protectHFS=true",
    "core.protectNTFS=true",
    "core.filesRefLockTimeout=5000",
    "core.packedRefsTimeout=5000",
    "credential.helper=",
    "sequence.editor=false",
    "gpg.program=false",
    "commit.gpgSign=false",
    "tag.gpgSign=false",
    "protocol.ext.allow=never",
    "gc.auto=0",
    "maintenance.auto=false",
    "safe.bareRepository=explicit",
    "submodule.recurse=false",
    "fetch.recurseSubmodules=false",
    "fetch.writeCommitGraph=false",
    "fetch.prune=false",
    "diff.ignoreSubmodules=none",
    "advice.detachedHead=false",
)
"""The second wall, on every command line; the first is that git never reads a configuration that an agent wrote."""

_OPERATORS: Final = ("HOME", "XDG_CONFIG_HOME", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM")


@cache
def _program(search: str) -> str | None:
    candidates = (Path(folder, "git").absolute() for folder in search.split(os.pathsep) if folder)
    return next((str(path) for path in candidates if path.is_file() and os.access(path, os.X_OK)), None)


def git_program() -> str:
    """Return git's absolute path.

    Raises: GitError (``git_missing``).
    """
    found = _program(os.environ.get("PATH", os.defpath))
    if found is None:
        raise GitError("git is not on PATH; install git 2.39 or newer", code="git_missing")
    return found


def host_environment(home: Path) -> Mapping[str, str]:
    """Return all variables of a git process whose home is *home*, an empty folder of ours."""
    return {
        "PATH": f"{git_program().rpartition('/')[0]}:/usr/bin:/bin",
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home),
        "LANG": "C",
        "LC_ALL": "C",
        "GIT_ADVICE": "0",
        "GIT_ALLOW_PROTOCOL": "file",
        "GIT_ASKPASS": "false",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_SYSTEM": "/dev/null",
        "GIT_LITERAL_PATHSPECS": "1",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_PAGER": "cat",
        "GIT_TERMINAL_PROMPT": "0",
        "SSH_ASKPASS": "false",
    }


def operator_environment() -> Mapping[str, str]:
    """Return the same for a look at the operator's own repository, whose own configuration decides whether git may."""
    hidden = ("XDG_CONFIG_HOME", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_NOSYSTEM", "GIT_CONFIG_SYSTEM")
    ours = host_environment(Path("/nonexistent"))
    kept = {name: value for name, value in ours.items() if name not in hidden}
    return kept | {name: os.environ[name] for name in _OPERATORS if name in os.environ}


def walled(arguments: tuple[str, ...], config: tuple[str, ...] = ()) -> list[str]:
    """Return the command line: git, the wall, *config* (``key=value``), then *arguments*."""
    settings = [part for setting in (*WALL, *config) for part in ("-c", setting)]
    return [git_program(), "--no-pager", *settings, *arguments]
