"""What a reviewer needs on one screen, and where an attempt's output is."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal

from orchestration.core.attempts import AttemptFolders, AttemptResult
from orchestration.core.facts import SandboxFacts
from orchestration.core.models import Task
from orchestration.pipeline.record import EVENTS, RAW

STAGES: Final = ("setup", "plan", "build", "collect", "verify")
LogKind = Literal["log", "events", "raw"]
"""What programs wrote; what an agent told, in our words; the same as the agent gave it."""
_ENDS: Final[Mapping[LogKind, str]] = MappingProxyType({"log": ".log", "events": EVENTS, "raw": RAW})


@dataclass(frozen=True, slots=True, kw_only=True)
class Brief:
    """A task with the observed result of its current attempt."""

    task: Task
    result: AttemptResult | None

    @property
    def sandbox(self) -> SandboxFacts | None:
        """What was observed of the attempt's sandbox, from the task, or from the result when the task is over it."""
        if self.task.run is not None and self.task.run.observed is not None:
            return self.task.run.observed
        return self.result.sandbox if self.result is not None else None

    @property
    def added(self) -> int:
        """Lines added, binary files not counted."""
        return sum(change.added or 0 for change in self.task.revision.files) if self.task.revision else 0

    @property
    def removed(self) -> int:
        """Lines removed, binary files not counted."""
        return sum(change.removed or 0 for change in self.task.revision.files) if self.task.revision else 0


def log_files(
    folders: AttemptFolders, *, stage: str | None = None, kind: LogKind = "log"
) -> Iterator[tuple[str, Path]]:
    """Yield the stages that wrote a log of this *kind*, in order, with its file."""
    for name in STAGES:
        path = folders.logs / f"{name}{_ENDS[kind]}"
        if stage in {None, name} and path.is_file():
            yield name, path
