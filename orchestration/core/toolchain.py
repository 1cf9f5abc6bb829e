"""What a repository says of the surroundings that its tasks need: ``.taskq.toml`` of the base commit, as a value."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

TOOLCHAIN_FILE: Final = ".taskq.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Toolchain:
    """At most one of *image* (a reference) and *dockerfile* (a path in the repository) is set.

    *setup* is a shell script that is run once per state of the repository's manifests, with network, and kept as a
    snapshot. *allow* are hosts and presets that the network is open to; *secrets* are names, never values.
    """

    image: str | None = None
    dockerfile: str | None = None
    setup: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    allow: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
