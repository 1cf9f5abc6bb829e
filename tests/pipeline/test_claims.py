import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestration.core.facts import Usage
from orchestration.pipeline import claims

COUNTS = st.none() | st.integers()


@given(COUNTS, COUNTS, st.none() | st.floats())
def test_a_number_that_cannot_be_is_unknown_and_every_other_stays(
    given_in: int | None, given_out: int | None, cost: float | None
) -> None:
    said = Usage(input_tokens=given_in, output_tokens=given_out, cost_usd=cost)
    used = claims.usage(said)
    assert used is not None
    for name in ("input_tokens", "output_tokens", "cost_usd"):
        kept, told = getattr(used, name), getattr(said, name)
        assert kept is None or (kept == told and 0 <= kept <= 10**15)
        assert kept == told or told is None or not 0 <= told <= 10**15
    json.dumps([used.input_tokens, used.output_tokens, used.cost_usd], allow_nan=False)


def test_no_usage_is_none() -> None:
    assert claims.usage(None) is None


@pytest.mark.parametrize("said", ["ses_0123456789abcdefABCDEF", "0b8e2a7c-9d6f-4f43", "a", "x" * 128])
def test_an_id_of_a_session_is_one(said: str) -> None:
    assert claims.session(said) == said


@pytest.mark.parametrize("said", [None, "", "x" * 129, "--help", "a b", "a\nb", "\ud800", "../x", "ses_\x1b[2J"])
def test_what_can_be_no_id_is_no_session(said: str | None) -> None:
    assert claims.session(said) is None


def test_usages_add_up_where_they_are_known() -> None:
    plan = Usage(input_tokens=1, cost_usd=0.5, cache_read_tokens=7)
    build = Usage(input_tokens=2, output_tokens=3, cost_usd=0.25)
    assert plan + build == Usage(input_tokens=3, output_tokens=3, cost_usd=0.75, cache_read_tokens=7)
