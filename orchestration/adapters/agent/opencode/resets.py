"""When a provider that refused may be asked again, as its answer says. Pure; of any input."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from types import MappingProxyType
from typing import Any, Final

_LONGEST: Final = timedelta(days=366)
_DEEPEST: Final = 8
_SPAN: Final = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?", re.ASCII)
_NUMBER: Final = re.compile(r"\d{1,16}(?:\.\d{1,9})?", re.ASCII)
_RESET: Final = re.compile(r"(?:x-ratelimit-reset|ratelimit-reset|anthropic-ratelimit-.+-reset|x-ratelimit-reset-.+)")


def retry_at(headers: Mapping[str, str], body: str, *, now: datetime) -> datetime | None:
    """Return the time that an answer with these *headers* (names in lower case) names; None when it names none."""
    for name, read in (("retry-after-ms", _milliseconds), ("retry-after", _moment)):
        found = _within(read(headers.get(name, ""), now), now)
        if found is not None:
            return found
    return _of_limits(headers, now) or _of_body(body, now)


def at_milliseconds(value: float | None, *, now: datetime) -> datetime | None:
    """Return the time so many milliseconds after 1970; None when that is not ahead, or beyond sense."""
    return None if value is None else _within(_since_epoch(value / 1000), now)


def _of_limits(headers: Mapping[str, str], now: datetime) -> datetime | None:
    """Return when the last of the limits that are used up is reset; of all limits when none is said to be."""
    resets = {name: _within(_moment(text, now), now) for name, text in headers.items() if _RESET.fullmatch(name)}
    used_up = [at for name, at in resets.items() if at and headers.get(name.replace("reset", "remaining")) == "0"]
    return max(used_up or [at for at in resets.values() if at], default=None)


def _of_body(body: str, now: datetime) -> datetime | None:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return None
    times = (_within(at, now) for at in _told(found, now, depth=0))
    return max((at for at in times if at is not None), default=None)


def _told(value: Any, now: datetime, *, depth: int) -> Iterator[datetime | None]:
    if depth > _DEEPEST:
        return
    if isinstance(value, dict):
        for key, inner in value.items():
            read = _KEYS.get(str(key).lower().replace("_", "").replace("-", ""))
            if read is not None and isinstance(inner, str | int | float):
                yield read(str(inner), now)
            yield from _told(inner, now, depth=depth + 1)
    elif isinstance(value, list):
        for inner in value:
            yield from _told(inner, now, depth=depth + 1)


def _moment(text: str, now: datetime) -> datetime | None:
    """Read seconds, a span such as ``6m0s``, seconds or milliseconds since 1970, or a date of HTTP or ISO 8601."""
    text = text.strip()
    if _NUMBER.fullmatch(text):
        number = float(text)
        if number >= 1e12:
            return _since_epoch(number / 1000)
        return _since_epoch(number) if number >= 1e9 else now + timedelta(seconds=number)
    span = _SPAN.fullmatch(text)
    if text and span:
        days, hours, minutes, seconds, milliseconds = (float(part or 0) for part in span.groups())
        return _after(now, ((days * 24 + hours) * 60 + minutes) * 60 + seconds + milliseconds / 1000)
    for read in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            at = read(text)
            return at.astimezone(UTC) if at.tzinfo is not None else at.replace(tzinfo=UTC)
        except (ValueError, OverflowError, TypeError, IndexError):
            continue
    return None


def _milliseconds(text: str, now: datetime) -> datetime | None:
    return _after(now, float(text) / 1000) if _NUMBER.fullmatch(text.strip()) else None


def _after(now: datetime, seconds: float) -> datetime | None:
    return now + timedelta(seconds=seconds) if seconds <= _LONGEST.total_seconds() else None


def _since_epoch(seconds: float) -> datetime | None:
    try:
        return datetime.fromtimestamp(seconds, tz=UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _within(at: datetime | None, now: datetime) -> datetime | None:
    return at if at is not None and now < at <= now + _LONGEST else None


_KEYS: Final[Mapping[str, Callable[[str, datetime], datetime | None]]] = MappingProxyType(
    {
        "resetat": _moment,
        "resetsat": _moment,
        "resettime": _moment,
        "resetsinseconds": _moment,
        "resetinseconds": _moment,
        "retryafter": _moment,
        "retryafterseconds": _moment,
        "retryafterms": _milliseconds,
        "retrydelay": _moment,
    }
)
"""What providers call it in an error's body, in lower case and without underscores."""
