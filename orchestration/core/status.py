"""The eight stored statuses of a task and the one table of how they follow each other.

Responsible for: which transition is legal.
Not responsible for: facts that are computed, such as blocked, parked or stale.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class Status(StrEnum):
    """Where a task stands. The order here is the order on screen."""

    TODO = "todo"
    PLANNING = "planning"
    BUILDING = "building"
    VERIFYING = "verifying"
    REVIEW = "review"
    FAILED = "failed"
    DONE = "done"
    CANCELLED = "cancelled"


TRANSITIONS: Final[Mapping[Status, frozenset[Status]]] = MappingProxyType(
    {
        Status.TODO: frozenset({Status.PLANNING, Status.CANCELLED}),
        Status.PLANNING: frozenset({Status.BUILDING, Status.FAILED, Status.CANCELLED, Status.TODO}),
        Status.BUILDING: frozenset({Status.VERIFYING, Status.REVIEW, Status.FAILED, Status.CANCELLED, Status.TODO}),
        Status.VERIFYING: frozenset(
            {Status.BUILDING, Status.REVIEW, Status.DONE, Status.FAILED, Status.CANCELLED, Status.TODO}
        ),
        Status.REVIEW: frozenset({Status.DONE, Status.TODO, Status.CANCELLED}),
        Status.FAILED: frozenset({Status.TODO, Status.CANCELLED}),
        Status.DONE: frozenset({Status.REVIEW}),  # `undo`, while it is not landed
        Status.CANCELLED: frozenset(),
    }
)

RUNNING: Final = frozenset({Status.PLANNING, Status.BUILDING, Status.VERIFYING})
"""Statuses in which a runner holds the task."""
