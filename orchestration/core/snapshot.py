"""The queue as one reader saw it, and what was damaged in it.

Named tuples, because `taskq add` loads them and they are quicker to make than dataclasses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestration.core.models import Task


class Damage(NamedTuple):
    """A line of the journal that cannot be believed. *line* counts from 1, *offset* is in bytes."""

    line: int
    offset: int
    why: str


class Snapshot(NamedTuple):
    """The queue as one reader saw it. *tasks* is keyed by id, in the order in which they were added."""

    queue: str | None
    seq: int
    tasks: Mapping[str, Task]
    damage: tuple[Damage, ...] = ()

    def find(self, identifier: str) -> Task | None:
        """Return the task of this id, case ignored, or None."""
        found = self.tasks.get(identifier)
        if found is not None:
            return found
        wanted = identifier.lower()
        return next((task for task in self.tasks.values() if task.id.lower() == wanted), None)
