"""Which of two tasks is more urgent: priority, with linear ageing, so that nothing waits for ever.

All tasks age at the same pace, so the order of two of them never changes: it can be one number, kept in an index.
"""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from orchestration.core.models import Task

AGEING: Final = timedelta(days=1)
"""How much waiting makes up for one step of priority."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_STEP: Final = AGEING // _MICROSECOND
_LARGEST: Final = 2**62


def urgency(priority: int, created_at: datetime) -> int:
    """Return the place of a task in the order of urgency, in microseconds: the smaller, the more urgent.

    It fits 64 bits whatever the priority is; beyond a million years of ageing priorities are taken as equal.
    """
    return max(-_LARGEST, min(_LARGEST, microseconds(created_at) - priority * _STEP))


def urgency_of(task: "Task") -> int:
    """Return the urgency of *task*."""
    return urgency(task.priority, task.created_at)


def microseconds(moment: datetime) -> int:
    """Return an aware time as microseconds since 1970."""
    return (moment - _EPOCH) // _MICROSECOND
