"""How OpenCode fails: the real program, in a real container, each failure with its code, and soon."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from orchestration.core.errors import WorkFailedError
from orchestration.core.models import Limits
from tests.adapters.agent.opencode.conftest import Open, Operator, Seen
from tests.adapters.agent.opencode.test_work import WithoutServices, leftovers
from tests.model import replies
from tests.model.replies import Asked, Call, Hang, Refuse, Reply, Say
from tests.model.server import FakeModel, config

pytestmark = [pytest.mark.full, pytest.mark.timeout(400)]
SOON = {"retry-after-ms": "20"}


ANSWERS: Mapping[str, tuple[Reply, str, str]] = {
    "401": (replies.UNAUTHORIZED, "provider_auth", "Incorrect API key"),
    "500": (replace(replies.BROKEN, headers=SOON), "provider_unavailable", "(500)"),
    "429": (Refuse(status=429, message="Rate limit reached", headers=SOON), "provider_limit", "Rate limit"),
    "too long": (replies.TOO_LONG, "context_too_long", "maximum context length"),
    "cut": (Say(text="half of", cut=True), "provider_unavailable", "broke off"),
}
"""What a provider answers, the code that it leads to, and what of the answer is told."""


def in_circles(_asked: Asked) -> Reply:
    call = Call(tool="bash", arguments={"command": "true", "description": "again"})
    return Say(calls=(call,) * 4)


def test_what_a_provider_answers_is_a_typed_failure(attempt: Open, model: FakeModel) -> None:
    with attempt() as tried:
        for name, (reply, code, says) in ANSWERS.items():
            model.answer = lambda _asked, reply=reply: reply  # type: ignore[misc]  # bound now, as the loop goes on
            result = tried.work()
            assert (name, result.code, result.session is not None) == (name, code, True)
            assert says in (result.problem or "")
        assert len(model.asked) < 40

        model.asked.clear()
        model.answer = lambda _asked: replies.limited(seconds=3 * 3600)
        limited = tried.work()
        assert (limited.code, len(model.asked)) == ("provider_limit", 1)
        assert limited.retry_at is not None
        assert abs(limited.retry_at - datetime.now(UTC) - timedelta(hours=3)) < timedelta(minutes=2)

        model.answer = in_circles
        assert tried.work().code == "permission_asked"

        model.asked.clear()
        model.answer = lambda asked: Say(flood=(1 if asked.number == 1 else 6) * 1024**2)
        for shown, warned in ((64 * 1024, b""), (0, b"taskq: an event of more than 4 MiB was dropped\n")):
            tried.seen = Seen()
            tried.work()
            assert (len(tried.seen.stdout.strip()), tried.seen.stderr) == (shown, warned)

        model.asked.clear()
        tried.spec = replace(tried.spec, model="fake/fake-2")
        unknown = tried.build()
        assert (unknown.code, model.asked) == ("unknown_model", [])
        assert "did you mean 'fake/fake-1'" in (unknown.problem or "")
        assert leftovers(tried) == ""


def test_a_model_that_never_answers_meets_the_limit_and_a_session_that_is_gone_is_said_to_be(
    attempt: Open, model: FakeModel
) -> None:
    model.answer = lambda _asked: Hang()
    with attempt() as tried:
        planned = tried.plan(seconds=6)
        assert planned is not None
        assert (planned.code, planned.exit.timed_out) == ("agent_timeout", True)
        assert leftovers(tried) == ""

        gone = "ses_0000000000000000000000000a"
        serving = tried.agent.serve(tried.sandbox, tried.job(session=gone), tried.seen)
        assert serving is not None
        with pytest.raises(WorkFailedError, match="no session"), serving:
            pass
        assert leftovers(tried) == ""


def test_a_model_that_cannot_be_reached_is_unavailable(attempt: Open, operator: Operator) -> None:
    operator.configure(config("http://127.0.0.1:9/v1"))
    with attempt() as tried:
        assert tried.build().code == "provider_unavailable"


@pytest.mark.parametrize(
    ("content", "code", "says"),
    [
        ('{"agent": {"build": {"disable": true}}}', "unknown_agent", "'build'"),
        ('{"model": ', "bad_agent_config", "opencode.json"),
        ('{"model": 7}', "bad_agent_config", "opencode.json"),
    ],
    ids=["without-build", "no-json", "no-model"],
)
def test_a_repository_can_break_it_but_then_it_asks_nothing(
    attempt: Open, model: FakeModel, content: str, code: str, says: str
) -> None:
    with attempt(files={"opencode.json": content}) as tried:
        built = tried.build()
        assert built.code == code
        assert says in (built.problem or "")
    assert model.asked == []


def test_too_little_memory_is_said_to_be_that(attempt: Open) -> None:
    with attempt(limits=Limits(memory=192 * 1024**2)) as tried:
        built = tried.build()
        assert built.code == "out_of_memory"
        assert "limits.memory" in (built.problem or "")


def test_without_services_a_failure_has_the_same_code(attempt: Open, model: FakeModel) -> None:
    with attempt() as tried:
        tried.sandbox = WithoutServices(tried.sandbox)  # type: ignore[assignment]  # it passes the rest on
        model.answer = lambda _asked: replies.UNAUTHORIZED
        assert tried.build().code == "provider_auth"
        tried.spec = replace(tried.spec, model="fake/fake-2")
        assert tried.build().code == "unknown_model"
        theirs = '{"agent": {"build": {"disable": true}}}'
        (tried.folders.workspace / "opencode.json").write_text(theirs, encoding="utf-8")
        tried.spec = replace(tried.spec, model=None)
        assert tried.build().code == "unknown_agent"
