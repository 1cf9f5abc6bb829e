"""What commands report of the state of things."""

from dataclasses import dataclass
from pathlib import Path

from orchestration.core.snapshot import Damage


@dataclass(frozen=True, slots=True, kw_only=True)
class FsckReport:
    """What a check found. *torn* is the size of a tail that a crash cut short; the next change sets it aside itself.

    *blobs* says of each missing or altered blob what it is; repair cannot bring one back.
    *kept* names the files in ``history/`` that a repair has just written.
    """

    queue: str | None
    seq: int
    lines: int
    tasks: int
    damage: tuple[Damage, ...]
    torn: int
    poison: str | None
    blobs: tuple[str, ...]
    kept: tuple[Path, ...] = ()

    @property
    def is_sound(self) -> bool:
        """Whether there is nothing to repair and nothing is missing."""
        return not (self.damage or self.torn or self.poison or self.blobs)


@dataclass(frozen=True, slots=True, kw_only=True)
class CompactReport:
    """What became of the journal, in bytes; *history* is where the old one is, None when it stayed as it was."""

    before: int
    after: int
    tasks: int
    history: Path | None
