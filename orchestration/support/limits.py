"""The limits of an attempt as people write them: one table for flags, front matter and configuration.

Guarantees: each reader takes text and raises a ValueError with a message for people.
"""

import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Final

from orchestration.support.quantities import duration, size

_SMALLEST_MEMORY: Final = 6 * 1024**2
"""No container engine gives less."""
_FEWEST_CPUS: Final = 0.01
_MOST_CPUS: Final = 1024.0
_MOST: Final = 2**31 - 1


def _memory(text: str) -> int:
    amount = size(text)
    if amount < _SMALLEST_MEMORY:
        raise ValueError(f"{text[:40]!a} is too little; give at least {_SMALLEST_MEMORY >> 20}MB")
    return amount


def _cpus(text: str) -> float:
    if not re.fullmatch(r"\d{1,9}(?:\.\d{1,9})?", text.strip(), re.ASCII):
        raise ValueError(f"{text[:40]!a} is no number of processors; write 2 or 0.5")
    number = float(text)
    if not _FEWEST_CPUS <= number <= _MOST_CPUS:
        raise ValueError(f"{text[:40]!a} must be at least {_FEWEST_CPUS} and at most {_MOST_CPUS:g}")
    return number


def _count(text: str) -> int:
    if not re.fullmatch(r"[+-]?\d{1,10}", text.strip(), re.ASCII):
        raise ValueError(f"{text[:40]!a} is no whole number")
    number = int(text)
    if not 1 <= number <= _MOST:
        raise ValueError(f"{number} must be above 0 and at most {_MOST}")
    return number


LIMITS: Final[Mapping[str, Callable[[str], timedelta | float]]] = MappingProxyType(
    {
        "setup": duration,
        "plan": duration,
        "build": duration,
        "collect": duration,
        "output": size,
        "bundle": size,
        "file": size,
        "files": _count,
        "memory": _memory,
        "cpus": _cpus,
        "pids": _count,
    }
)
"""By the field of ``core.models.Limits``, in its order."""
