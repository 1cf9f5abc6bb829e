"""How OpenCode fails: the real program, in a real container, each failure with its code, and soon."""

import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from orchestration.core.errors import WorkFailedError
from orchestration.core.models import Limits
from tests.adapters.agent.opencode.conftest import Open, Operator
from tests.adapters.agent.opencode.test_work import WithoutServices, leftovers
from tests.model import replies
from tests.model.replies import Asked, Call, Hang, Refuse, Reply, Say
from tests.model.server import FakeModel, config

pytestmark = pytest.mark.full
SOON = {"retry-after-ms": "20"}


ANSWERS: Mapping[str, tuple[Reply, str, str]] = {
    "401": (replies.UNAUTHORIZED, "provider_auth", "Incorrect API key"),
    "500": (replace(replies.BROKEN, headers=SOON), "provider_unavailable", "(500)"),
    "429": (Refuse(status=429, message="Rate limit reached", headers=SOON), "provider_limit", "Rate limit"),
    "too long": (replies.TOO_LONG, "context_too_long", "maximum context length"),
    "cut": (Say(text="half of", cut=True), "provider_unavailable", "broke off"),
}
"""What a provider answers, the code that it leads to, and what of the answer is told."""


def test_what_a_provider_answers_is_a_typed_failure(attempt: Open, model: FakeModel) -> None:
    with attempt() as tried:
        for name, (reply, code, says) in ANSWERS.items():
            model.answer = lambda _asked, reply=reply: reply  # type: ignore[misc]  # bound now, as the loop goes on
            planned = tried.plan()
            assert planned is not None
            assert (name, planned.code, planned.session is not None) == (name, code, True)
            assert says in (planned.problem or "")
            assert leftovers(tried) == ""
        assert len(model.asked) < 40


def test_a_limit_that_ends_in_hours_ends_the_stage_now_and_says_when(attempt: Open, model: FakeModel) -> None:
    model.answer = lambda _asked: replies.limited(seconds=3 * 3600)
    with attempt() as tried:
        started = time.monotonic()
        built = tried.build()
        assert built.code == "provider_limit"
        assert built.retry_at is not None
        assert abs(built.retry_at - datetime.now(UTC) - timedelta(hours=3)) < timedelta(minutes=2)
        assert time.monotonic() - started < 60
        assert len(model.asked) == 1


def test_a_model_that_never_answers_meets_the_limit(attempt: Open, model: FakeModel) -> None:
    model.answer = lambda _asked: Hang()
    with attempt() as tried:
        built = tried.build(seconds=6)
        assert (built.code, built.exit.timed_out) == ("agent_timeout", True)
        assert leftovers(tried) == ""


def test_a_model_that_cannot_be_reached_is_unavailable(attempt: Open, model: FakeModel, operator: Operator) -> None:
    operator.configure(config("http://127.0.0.1:9/v1"))
    with attempt() as tried:
        assert tried.build().code == "provider_unavailable"


def test_an_unknown_model_is_refused_before_anything_is_asked(attempt: Open, model: FakeModel) -> None:
    with attempt(model="fake/fake-2") as tried:
        built = tried.build()
        assert built.code == "unknown_model"
        assert "did you mean 'fake/fake-1'" in (built.problem or "")
    assert model.asked == []


def test_without_a_model_or_a_log_in_it_says_how_to_get_one(attempt: Open, operator: Operator) -> None:
    operator.configure({})
    with attempt() as tried:
        planned = tried.plan()
        assert planned is not None
        assert planned.code == "no_model"
        assert "opencode auth login" in (planned.problem or "")


def test_an_agent_that_the_repository_took_away_is_no_reason_to_use_another(attempt: Open, model: FakeModel) -> None:
    with attempt(files={"opencode.json": '{"agent": {"build": {"disable": true}}}'}) as tried:
        assert tried.build().code == "unknown_agent"
    assert model.asked == []


@pytest.mark.parametrize("content", ['{"model": ', '{"model": 7}'], ids=["no-json", "no-model"])
def test_a_broken_configuration_in_the_repository_is_named(attempt: Open, content: str) -> None:
    with attempt(files={"opencode.json": content}) as tried:
        built = tried.build()
        assert built.code == "bad_agent_config"
        assert "opencode.json" in (built.problem or "")


def in_circles(asked: Asked) -> Reply:
    call = Call(tool="bash", arguments={"command": "true", "description": "again"})
    return Say(calls=(call,) * 4)


def test_the_permission_to_go_in_circles_is_not_given(attempt: Open, model: FakeModel) -> None:
    model.answer = in_circles
    with attempt() as tried:
        built = tried.build()
        assert built.code == "permission_asked"
    assert len(model.asked) == 1


def test_too_little_memory_is_said_to_be_that(attempt: Open) -> None:
    with attempt(limits=Limits(memory=192 * 1024**2)) as tried:
        built = tried.build()
        assert built.code == "out_of_memory"
        assert "limits.memory" in (built.problem or "")


def test_a_flood_of_text_grows_nothing_and_is_kept_short(attempt: Open, model: FakeModel) -> None:
    model.answer = lambda _asked: Say(flood=6 * 1024**2)
    with attempt() as tried:
        tried.build()
        assert len(tried.seen.stdout) < 1024**2


def test_a_session_that_is_gone_is_said_to_be(attempt: Open) -> None:
    with attempt() as tried:
        assert tried.build(session="ses_0000000000000000000000000a").code == "no_session"
        serving = tried.agent.serve(tried.sandbox, tried.job(session="ses_0000000000000000000000000a"), tried.seen)
        assert serving is not None
        with pytest.raises(WorkFailedError, match="no session"), serving:
            pass
        assert leftovers(tried) == ""


def test_without_services_a_failure_has_the_same_code(attempt: Open, model: FakeModel) -> None:
    with attempt() as tried:
        tried.sandbox = WithoutServices(tried.sandbox)  # type: ignore[assignment]  # it passes the rest on
        model.answer = lambda _asked: replies.UNAUTHORIZED
        assert tried.build().code == "provider_auth"
        tried.spec = replace(tried.spec, model="fake/fake-2")
        assert tried.build().code == "unknown_model"
        (tried.folders.workspace / "opencode.json").write_text(
            '{"agent": {"build": {"disable": true}}}', encoding="utf-8"
        )
        tried.spec = replace(tried.spec, model=None)
        assert tried.build().code == "unknown_agent"
