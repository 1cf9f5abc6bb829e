"""What OpenCode told, judged: success is proved, and each failure has its code. Pure."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestration.adapters.agent.opencode.conversation import as_line
from orchestration.adapters.agent.opencode.evidence import Evidence, add
from orchestration.adapters.agent.opencode.judgement import Problem, judge
from orchestration.adapters.agent.opencode.lines import Lines
from orchestration.adapters.agent.opencode.refusals import classify
from orchestration.adapters.agent.opencode.resets import retry_at
from orchestration.adapters.agent.opencode.told import Trouble, parse
from orchestration.core.facts import Usage
from orchestration.core.ports import Exit

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
WELL = Exit(code=0)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
KINDS = ["step_start", "text", "reasoning", "tool_use", "step_finish", "error", "status", "permission", "compacted"]
EVENTS = st.fixed_dictionaries(
    {"type": st.sampled_from(KINDS)},
    optional={
        "sessionID": st.just("ses_1") | JSON,
        "part": JSON
        | st.fixed_dictionaries(
            {},
            optional={
                "reason": JSON | st.just("stop"),
                "tokens": JSON,
                "cost": JSON,
                "state": JSON,
                "tool": JSON,
                "text": JSON,
            },
        ),
        "error": JSON | st.fixed_dictionaries({}, optional={"name": JSON, "data": JSON}),
        "status": JSON,
        "permission": JSON,
    },
)


def line(kind: str, **more: Any) -> bytes:
    return json.dumps({"type": kind, "sessionID": "ses_1", **more}).encode()


def finish(reason: str, *, message: str = "m", tokens: Any = None) -> bytes:
    return line("step_finish", part={"reason": reason, "messageID": message, "tokens": tokens})


def error(name: str = "APIError", **data: Any) -> bytes:
    return line("error", error={"name": name, "data": data})


def of(*lines: bytes) -> Evidence:
    evidence = Evidence(session="ses_1")
    for each in lines:
        told = parse(each)
        evidence = evidence if told is None else evidence.then(told)
    return evidence


def judged(*lines: bytes, ended: Exit = WELL) -> Problem | None:
    return judge(of(*lines), ended, now=NOW)


def code(*lines: bytes, ended: Exit = WELL) -> str | None:
    problem = judged(*lines, ended=ended)
    return None if problem is None else problem.code


def test_a_last_step_that_stopped_is_success() -> None:
    assert judged(finish("tool-calls"), line("step_start"), finish("stop")) is None


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], "agent_failed"),
        ([finish("tool-calls")], "agent_failed"),
        ([finish("stop"), line("step_start")], "agent_failed"),
        ([finish("length")], "agent_failed"),
        ([finish("unknown")], "provider_unavailable"),
        ([finish("stop"), error(message="x", statusCode=401)], "provider_auth"),
        ([error(message="x", statusCode=401), finish("stop")], "provider_auth"),
        ([finish("tool-calls"), line("permission", permission="bash")], "permission_asked"),
        ([error("ContextOverflowError"), finish("stop")], "context_too_long"),
        ([b"not json", b"{}", b"null", b"[" * 100_000], "agent_failed"),
    ],
)
def test_exit_code_0_alone_proves_nothing(lines: list[bytes], expected: str) -> None:
    assert code(*lines) == expected


def test_a_conversation_that_was_made_shorter_and_then_ended_well_is_success() -> None:
    made_shorter = (error("ContextOverflowError"), finish("stop"), line("compacted"))
    assert code(*made_shorter) == "agent_failed"
    assert judged(*made_shorter, line("step_start"), finish("stop")) is None


def test_what_another_session_tells_decides_nothing_but_counts() -> None:
    other = {"sessionID": "ses_2", "part": {"reason": "stop", "tokens": {"input": 5}}}
    evidence = of(finish("tool-calls", tokens={"input": 1}), json.dumps({"type": "step_finish", **other}).encode())
    assert judge(evidence, WELL, now=NOW) is not None
    assert evidence.usage is not None
    assert evidence.usage.input_tokens == 6


@pytest.mark.parametrize(
    ("ended", "expected"),
    [
        (Exit(code=1), "agent_failed"),
        (Exit(code=None, signal=9), "agent_killed"),
        (Exit(code=None, timed_out=True), "agent_timeout"),
        (Exit(code=None, stopped=True), "agent_stopped"),
        (Exit(code=None), "agent_failed"),
    ],
)
def test_no_other_exit_is_success_whatever_was_told(ended: Exit, expected: str) -> None:
    assert code(finish("stop"), ended=ended) == expected


def test_a_kill_for_want_of_memory_is_said_to_be_that() -> None:
    problem = judge(of(finish("stop")), Exit(code=None, signal=9), now=NOW, out_of_memory=True)
    assert problem is not None
    assert problem.code == "out_of_memory"


@given(st.lists(EVENTS | JSON, max_size=8))
def test_whatever_is_told_is_judged_and_success_is_only_a_stop_without_an_error(events: list[Any]) -> None:
    lines = [json.dumps(event).encode() for event in events]
    evidence = of(*lines)
    if judge(evidence, WELL, now=NOW) is None:
        assert (evidence.finish, evidence.trouble) == ("stop", None)
        ours = [event for event in events if isinstance(event, dict) and event.get("sessionID") == "ses_1"]
        assert any(event["type"] == "step_finish" for event in ours)


@given(st.binary(max_size=300))
def test_no_bytes_raise(content: bytes) -> None:
    parse(content)
    assert judge(of(content), WELL, now=NOW) is not None


@given(JSON | st.dictionaries(st.sampled_from(["type", "properties"]), JSON))
def test_nothing_that_a_server_tells_raises(event: Any) -> None:
    if isinstance(event, dict):
        as_line(event)


@given(st.lists(st.binary(max_size=30), max_size=20))
def test_lines_are_the_same_however_they_are_cut(pieces: list[bytes]) -> None:
    lines = Lines()
    found = [each for piece in pieces for each in lines.feed(piece)] + lines.flush()
    whole = b"".join(pieces).split(b"\n")
    expected = [each.removesuffix(b"\r") for each in (whole if whole[-1] else whole[:-1])]
    assert [each for each in found if each] == [each for each in expected if each]


def test_a_line_that_never_ends_is_dropped_and_counted() -> None:
    lines = Lines(longest=10)
    assert [each for _ in range(1000) for each in lines.feed(b"123")] == []
    assert (lines.feed(b"\nnext\n"), lines.dropped) == ([b"next"], 1)


@pytest.mark.parametrize(
    ("trouble", "expected"),
    [
        (Trouble(name="ProviderAuthError", message="no key"), "provider_auth"),
        (Trouble(name="APIError", message="forbidden", status=403), "provider_auth"),
        (Trouble(name="APIError", message="x is not in the allow-list", status=403), "provider_unavailable"),
        (Trouble(name="APIError", message="slow down", status=429), "provider_limit"),
        (Trouble(name="APIError", message="You exceeded your current quota", status=403), "provider_limit"),
        (Trouble(name="APIError", message="Overloaded", status=529), "provider_limit"),
        (Trouble(name="APIError", message="pay first", status=402), "provider_limit"),
        (Trouble(name="APIError", message="boom", status=500), "provider_unavailable"),
        (Trouble(name="APIError", message="Cannot connect to API"), "provider_unavailable"),
        (Trouble(name="APIError", message="prompt is too long: 9 tokens", status=400), "context_too_long"),
        (Trouble(name="APIError", message="The model `x` does not exist", status=404), "unknown_model"),
        (Trouble(name="UnknownError", message="Model not found: a/b."), "unknown_model"),
        (Trouble(name="UnknownError", message="The user rejected permission to use this"), "permission_asked"),
        (Trouble(name="APIError", message="bad request", status=400), "agent_failed"),
        (Trouble(name="", message=""), "agent_failed"),
    ],
)
def test_an_error_has_its_code(trouble: Trouble, expected: str) -> None:
    assert classify(trouble, now=NOW)[0] == expected


def test_an_error_is_one_line_of_bounded_length() -> None:
    text = classify(Trouble(name="APIError", message="a\nb " * 1000, status=500), now=NOW)[1]
    assert "\n" not in text
    assert len(text) < 400


HOURS = timedelta(hours=3)


@pytest.mark.parametrize(
    ("headers", "body", "expected"),
    [
        ({"retry-after": "10800"}, "", NOW + HOURS),
        ({"retry-after-ms": "1500"}, "", NOW + timedelta(seconds=1.5)),
        ({"retry-after": "Sat, 21 Nov 2026 15:00:00 GMT"}, "", NOW + HOURS),
        ({"x-ratelimit-reset-requests": "1s", "x-ratelimit-reset-tokens": "6m0s"}, "", NOW + timedelta(minutes=6)),
        (
            {
                "x-ratelimit-reset-requests": "1s",
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-tokens": "6m0s",
                "x-ratelimit-remaining-tokens": "9",
            },
            "",
            NOW + timedelta(seconds=1),
        ),
        ({"anthropic-ratelimit-tokens-reset": "2026-11-21T15:00:00Z"}, "", NOW + HOURS),
        ({"anthropic-ratelimit-unified-reset": str(int((NOW + HOURS).timestamp()))}, "", NOW + HOURS),
        ({"x-ratelimit-reset": str(int((NOW + HOURS).timestamp() * 1000))}, "", NOW + HOURS),
        ({}, json.dumps({"error": {"resets_at": int((NOW + HOURS).timestamp())}}), NOW + HOURS),
        ({}, json.dumps({"error": {"resets_in_seconds": 10800}}), NOW + HOURS),
        ({}, json.dumps({"error": {"details": [{"retryDelay": "30s"}]}}), NOW + timedelta(seconds=30)),
        ({"retry-after": "-5"}, "", None),
        ({"retry-after": "9" * 400}, "", None),
        ({"retry-after": "Sat, 21 Nov 2020 15:00:00 GMT"}, "", None),
        ({"retry-after": "soon"}, "[" * 100_000, None),
        ({}, "", None),
    ],
)
def test_the_time_to_try_again_is_found_where_providers_say_it(
    headers: dict[str, str], body: str, expected: datetime | None
) -> None:
    assert retry_at(headers, body, now=NOW) == expected


@given(st.dictionaries(st.sampled_from(["retry-after", "retry-after-ms", "x-ratelimit-reset"]), st.text()), st.text())
def test_a_time_to_try_again_is_ahead_whatever_is_said(headers: dict[str, str], body: str) -> None:
    at = retry_at(headers, body, now=NOW)
    assert at is None or NOW < at <= NOW + timedelta(days=366)


@given(JSON)
def test_no_body_raises(body: Any) -> None:
    retry_at({}, json.dumps({"reset_at": body, "retryDelay": body, "x": body}), now=NOW)


def test_usage_is_the_sum_and_unknown_stays_unknown() -> None:
    one = Usage(input_tokens=1, cost_usd=0.5)
    assert add(one, replace(one, output_tokens=3)) == Usage(input_tokens=2, output_tokens=3, cost_usd=1.0)
    assert add(None, one) == add(one, None) == one
    assert of(finish("stop", tokens={"input": "many", "output": -1, "cache": {"read": True}})).usage == Usage()


def test_the_plan_is_all_that_the_last_message_says() -> None:
    def text(said: str, message: str) -> bytes:
        return line("text", part={"text": said, "messageID": message})

    assert of(text("first", "a"), text("one", "b"), text("two", "b")).said == "one\n\ntwo"
