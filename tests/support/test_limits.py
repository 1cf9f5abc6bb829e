from datetime import timedelta

import pytest

from orchestration.core.models import Limits
from orchestration.support.limits import LIMITS


def test_every_limit_of_the_model_can_be_said() -> None:
    assert tuple(LIMITS) == Limits._fields


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("build", "90s", timedelta(seconds=90)),
        ("output", "1MB", 2**20),
        ("files", "7", 7),
        ("memory", "2G", 2 * 1024**3),
        ("memory", "6MB", 6 * 1024**2),
        ("cpus", "0.5", 0.5),
        ("cpus", "2", 2.0),
        ("cpus", " 1024 ", 1024.0),
        ("pids", "1", 1),
    ],
)
def test_a_limit_is_read_in_its_own_unit(name: str, text: str, value: object) -> None:
    assert LIMITS[name](text) == value


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("memory", "1MB", "is too little"),
        ("memory", "much", "is no size"),
        ("cpus", "0", "must be at least 0.01"),
        ("cpus", "-1", "is no number of processors"),
        ("cpus", "1025", "at most 1024"),
        ("cpus", "nan", "is no number of processors"),
        ("cpus", "1e3", "is no number of processors"),
        ("cpus", "half", "is no number of processors"),
        ("cpus", "٢", "is no number of processors"),
        ("pids", "0", "must be above 0"),
        ("pids", "1.5", "is no whole number"),
        ("pids", "9999999999", "at most"),
        ("files", "-1", "must be above 0"),
        ("files", "True", "is no whole number"),
    ],
)
def test_a_limit_that_makes_no_sense_is_refused(name: str, text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        LIMITS[name](text)
