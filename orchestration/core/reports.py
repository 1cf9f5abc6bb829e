"""What commands report of the state of things."""

from dataclasses import dataclass
from pathlib import Path

from orchestration.core.snapshot import Damage


@dataclass(frozen=True, slots=True, kw_only=True)
class FsckReport:
    """What a check found. *torn* is the size of a tail that a crash cut short; the next change sets it aside itself.

    *blobs* says of each missing or altered blob what it is; repair cannot bring one back. *index* says what is wrong
    with the index. *kept* names the files in ``history/`` that a repair has just written, *lost* the tasks of which it
    set changes aside.
    What keeps nobody from working: *chain* says where numbers do not follow each other, *unnamed* are blobs that no
    task has any more, *dangling* are attempts and refs of no task, *notes* is what could not be looked at.
    """

    queue: str | None
    seq: int
    lines: int
    tasks: int
    damage: tuple[Damage, ...]
    torn: int
    poison: str | None
    blobs: tuple[str, ...]
    index: str | None = None
    kept: tuple[Path, ...] = ()
    lost: tuple[str, ...] = ()
    chain: tuple[str, ...] = ()
    unnamed: tuple[str, ...] = ()
    dangling: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def is_sound(self) -> bool:
        """Whether there is nothing to repair and nothing is missing."""
        return not (self.damage or self.torn or self.poison or self.blobs or self.index)


@dataclass(frozen=True, slots=True, kw_only=True)
class CompactReport:
    """What became of the journal, in bytes; *history* is where the old one is, None when it stayed as it was."""

    before: int
    after: int
    tasks: int
    history: Path | None
