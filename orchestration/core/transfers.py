"""What is told of tasks and queues that were moved: exports, imports, archives, backups and restores."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestration.core.models import Task
from orchestration.core.snapshot import Damage


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportReport:
    """What was written. *problems* name what could not be, or not in full; the rest was written all the same.

    *archives* are the files of tasks that were moved out of the queue, which are in no export.
    """

    tasks: int
    problems: tuple[str, ...]
    archives: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportReport:
    """What an import did, or with *dry_run* would do.

    *mapped* counts per field of a task, *kept* per member that taskq does not know, *changed* per sentence of what is
    not as it was. *renamed* maps ids as they were to what they are now.
    """

    tasks: int
    skipped: tuple[str, ...]
    mapped: Mapping[str, int]
    kept: Mapping[str, int]
    changed: Mapping[str, int]
    renamed: Mapping[str, str]
    dry_run: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupReport:
    """What a backup holds. *size* is the sum of its files' sizes; *damage* is what was wrong and went in as it is."""

    path: Path
    queue: str | None
    seq: int
    tasks: int
    files: int
    size: int
    damage: tuple[Damage, ...] = ()
    problems: tuple[str, ...] = ()
    """What else is wrong: a mark of doubt, blobs that are missing or altered."""


@dataclass(frozen=True, slots=True)
class Archived:
    """A task that is in no queue any more, and the file that has it."""

    task: Task
    file: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveReport:
    """Which tasks were moved out of the queue, or with *dry_run* would be, and into which files.

    *kept* says of each other one that is old enough why it stays.
    """

    archived: tuple[str, ...]
    kept: Mapping[str, str]
    files: tuple[Path, ...]
    dry_run: bool
