import contextlib
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestration.support import quantities

NOW = datetime(2026, 11, 21, 1, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "seconds"), [("45s", 45), ("30m", 1800), ("1.5h", 5400), ("2d", 172800), ("7", 7), ("250ms", 0.25)]
)
def test_durations_are_read(text: str, seconds: float) -> None:
    assert quantities.duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "0", "0s", "-1s", "1y", "nan", "inf", "1e9", "999999d", "1 h 2", "\uff19s"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        quantities.duration(text)


@pytest.mark.parametrize(("text", "size"), [("10", 10), ("10B", 10), ("2K", 2048), ("1.5MB", 1572864), ("1GiB", 2**30)])
def test_sizes_are_read(text: str, size: int) -> None:
    assert quantities.size(text) == size


@pytest.mark.parametrize("text", ["", "0", "-1", "1T", "9999999999G", "MB"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="size"):
        quantities.size(text)


def test_moments_are_absolute_or_from_now() -> None:
    assert quantities.moment("+2h", now=NOW) == NOW + timedelta(hours=2)
    assert quantities.moment("2026-11-21T03:00Z", now=NOW) == datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
    assert quantities.moment("2026-11-21T03:00+02:00", now=NOW) == NOW


@pytest.mark.parametrize("text", ["tomorrow", "25:00", "+", "2026-13-01", "0000-00-00", "9999999"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"time|duration"):
        quantities.moment(text, now=NOW)


@given(st.text(st.characters(), max_size=50))
def test_any_text_is_read_or_refused_as_a_bad_value(text: str) -> None:
    for read in (quantities.duration, quantities.size, lambda text: quantities.moment(text, now=NOW)):
        with contextlib.suppress(ValueError):
            assert read(text) is not None


@pytest.mark.parametrize(
    ("seconds", "spelled"), [(0.44, "0.4s"), (12, "12s"), (185, "3m05s"), (7800, "2h10m"), (59.6, "1m00s")]
)
def test_durations_are_spelled_for_people(seconds: float, spelled: str) -> None:
    assert quantities.spell_duration(timedelta(seconds=seconds)) == spelled
