"""What the operator's own configuration says, as values: git reads it and nothing in it runs.

Work trees of the operator are written through a git dir of ours, so settings of how files look are carried over.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from orchestration.adapters.git.command import HostGit, Place

_CARRIED: Final = frozenset(
    {
        "core.autocrlf",
        "core.checkstat",
        "core.eol",
        "core.filemode",
        "core.ignorecase",
        "core.precomposeunicode",
        "core.symlinks",
        "core.trustctime",
    }
)
_FILTER: Final = re.compile(r"filter\.(.+)\.(?:clean|smudge|process)", re.DOTALL)
_TRUE: Final = frozenset({"true", "yes", "on", "1", ""})


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorConfig:
    """The values that hold in one checkout, whatever file they come from."""

    values: Mapping[str, str]

    @property
    def carried(self) -> tuple[str, ...]:
        """Return the settings that say how files look on disk, as ``key=value``."""
        return tuple(f"{key}={value}" for key, value in self.values.items() if key in _CARRIED)

    @property
    def filters(self) -> frozenset[str]:
        """Return the names of the filter drivers that the operator has."""
        matches = (_FILTER.fullmatch(key) for key in self.values)
        return frozenset(match[1] for match in matches if match is not None)

    @property
    def is_sparse(self) -> bool:
        """Whether the checkout holds only a part of the tree."""
        return self.values.get("core.sparsecheckout", "false").lower() in _TRUE

    def user_file(self, key: str, name: str) -> Path | None:
        """Return the user's file that *key* names, or git's default for it, ``git/<name>`` in the user's settings."""
        home = os.environ.get("HOME", "/nonexistent")
        settings = os.environ.get("XDG_CONFIG_HOME") or f"{home}/.config"
        chosen = self.values.get(key) or f"{settings}/git/{name}"
        path = Path(home + chosen[1:] if chosen.startswith("~/") else chosen)
        return path if path.is_file() else None


def read(git: HostGit, git_dir: Path) -> OperatorConfig:
    """Return what holds in the checkout with this git dir."""
    output = git.operator(Place(git_dir=git_dir), "config", "--list", "-z", "--show-scope", "--includes").stdout
    fields = output.decode("utf-8", "surrogateescape").split("\0")
    values: dict[str, str] = {}
    for scope, setting in zip(fields[0::2], fields[1::2], strict=False):
        if scope != "command":
            key, _, value = setting.partition("\n")
            values[key] = value
    return OperatorConfig(values=values)
