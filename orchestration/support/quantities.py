"""Durations, sizes and times as people write them: ``90s``, ``30m``, ``10MB``, ``2026-11-21T03:00Z``, ``+2h``."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

_DURATION: Final = r"(\d+(?:\.\d+)?)(ms|s|m|h|d)?"
_SIZE: Final = r"(\d+(?:\.\d+)?)\s*(B|K|KB|KIB|M|MB|MIB|G|GB|GIB)?"
_SECONDS: Final = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, None: 1}
_LONGEST: Final = timedelta(days=366)
_LARGEST: Final = 2**50


def duration(text: str) -> timedelta:
    """Return the duration that *text* names: ``45s``, ``30m``, ``1.5h``, ``2d``; a bare number is seconds.

    Raises: ValueError with a message for people.
    """
    match = re.fullmatch(_DURATION, text.strip(), re.ASCII)
    if match is None:
        raise ValueError(f"{text[:40]!r} is no duration; write 45s, 30m, 2h or 1d")
    seconds = float(match[1]) * _SECONDS[match[2]]
    if not 0 < seconds <= _LONGEST.total_seconds():
        raise ValueError(f"the duration {text[:40]!r} must be above 0 and at most {_LONGEST.days}d")
    return timedelta(seconds=seconds)


def size(text: str) -> int:
    """Return the bytes that *text* names: ``10MB`` and ``10M`` are 10 * 1024**2; a bare number is bytes.

    Raises: ValueError with a message for people.
    """
    match = re.fullmatch(_SIZE, text.strip(), re.ASCII | re.IGNORECASE)
    if match is None:
        raise ValueError(f"{text[:40]!r} is no size; write 500K, 10MB or 2G")
    power = "BKMG".index((match[2] or "B")[0].upper())
    amount = int(float(match[1]) * 1024**power)
    if not 0 < amount <= _LARGEST:
        raise ValueError(f"the size {text[:40]!r} must be above 0 and at most {_LARGEST >> 40}T")
    return amount


def moment(text: str, *, now: datetime) -> datetime:
    """Return the time that *text* names: ISO 8601 (without an offset: local time) or ``+2h`` from *now*.

    Raises: ValueError with a message for people.
    """
    stripped = text.strip()
    if stripped.startswith("+"):
        return now + duration(stripped[1:])
    try:
        parsed = datetime.fromisoformat(stripped)
    except ValueError:
        raise ValueError(f"{text[:40]!r} is no time; write 2026-11-21T03:00, 2026-11-21T03:00Z or +2h") from None
    return parsed.astimezone(UTC)


def spell_duration(value: timedelta) -> str:
    """Return *value* as people read it: ``0.4s``, ``12s``, ``3m05s``, ``2h10m``."""
    seconds = value.total_seconds()
    if seconds < 10:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes_left = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes_left:02d}m"
    return f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"
