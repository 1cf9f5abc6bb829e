import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestration.core.agent_events import AgentEvent
from orchestration.core.facts import Usage
from orchestration.pipeline.record import EventRecord
from tests.engine.fakes import SteppingClock

TOKEN = b'sk-"16C7e42F292c6912E7'
Make = Callable[..., EventRecord]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def record(**options: Any) -> EventRecord:
        return EventRecord(tmp_path / "logs", "build", **{"limit": 10_000, "clock": SteppingClock(), **options})

    return record


@pytest.fixture
def raw(tmp_path: Path) -> Callable[[], list[bytes]]:
    return lambda: (tmp_path / "logs" / "build.raw.jsonl").read_bytes().splitlines()


@pytest.fixture
def events(tmp_path: Path) -> Callable[[], list[Any]]:
    path = tmp_path / "logs" / "build.events.jsonl"
    return lambda: [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_raw_events_are_kept_as_they_are_and_ours_beside_them(make: Make, raw: Any, events: Any) -> None:
    with make() as record:
        record.raw(b'{"type":"tool_use"}')
        record.raw(b"\xff no JSON")
        record.event(AgentEvent(kind="tool", text="make\ntest", tool="bash", state="error", usage=Usage(cost_usd=0.5)))
    assert raw() == [b'{"type":"tool_use"}', b"\xff no JSON"]
    (event,) = events()
    assert (event["kind"], event["text"], event["tool"], event["state"]) == ("tool", "make\ntest", "bash", "error")
    assert event["at"].endswith("Z")
    assert (event["usage"]["cost_usd"], event["usage"]["input_tokens"]) == (0.5, None)


def test_an_agent_that_tells_nothing_leaves_no_file(make: Make, tmp_path: Path) -> None:
    with make():
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_line_is_on_disk_as_soon_as_it_was_told(make: Make, raw: Any) -> None:
    with make() as record:
        record.raw(b"1")
        assert raw() == [b"1"]


def test_no_value_of_a_secret_reaches_a_file_however_json_spells_it(make: Make, tmp_path: Path, events: Any) -> None:
    text = TOKEN.decode()
    with make(secrets=[("opencode:fake", TOKEN)]) as record:
        record.raw(json.dumps({"text": f"it is {text}!"}).encode())
        record.event(AgentEvent(kind="text", text=f"it is {text}!", tool=text))
    content = b"".join(path.read_bytes() for path in (tmp_path / "logs").iterdir())
    assert b"16C7e42F292c6912E7" not in content
    assert (events()[0]["text"], events()[0]["tool"]) == ("it is [secret opencode:fake]!", "[secret opencode:fake]")


def test_without_the_secret_the_same_events_are_kept_as_they_are(make: Make, events: Any) -> None:
    with make() as record:
        record.event(AgentEvent(kind="text", text=TOKEN.decode()))
    assert events()[0]["text"] == TOKEN.decode()


@settings(deadline=None)
@given(st.lists(st.binary(max_size=60).filter(lambda line: b"\n" not in line), max_size=20), st.integers(0, 300))
def test_a_record_holds_whole_lines_up_to_its_limit_and_says_how_many_it_dropped(
    lines: list[bytes], limit: int
) -> None:
    with TemporaryDirectory() as folder:
        with EventRecord(Path(folder), "build", limit=limit, clock=SteppingClock()) as record:
            for line in lines:
                record.raw(line)
        path = Path(folder) / "build.raw.jsonl"
        kept = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    note = json.loads(kept.pop()) if len(kept) > 0 and b'"kind": "dropped"' in kept[-1] else None
    assert kept == lines[: len(kept)]
    assert sum(len(line) + 1 for line in kept) <= limit
    dropped = len(lines) - len(kept)
    assert (note["text"] if note else "") == (f"{dropped} events that the record did not take" if dropped else "")


def test_a_resumed_stage_goes_on_in_the_same_files_after_a_line_that_says_so(make: Make, raw: Any, events: Any) -> None:
    for resumed in (False, True):
        with make(resumed=resumed) as record:
            record.raw(b'{"n":1}')
            record.event(AgentEvent(kind="text", text="said"))
    assert [json.loads(line).get("kind") for line in raw()] == [None, "resumed", None]
    assert [event["kind"] for event in events()] == ["text", "resumed", "text"]


def test_a_disk_that_takes_no_more_ends_the_record_and_not_the_work(make: Make, tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "build.raw.jsonl").symlink_to("/dev/full")
    with make() as record:
        record.raw(b"1")
        record.raw(b"2")
        record.event(AgentEvent(kind="text", text="said"))
    assert (tmp_path / "logs" / "build.events.jsonl").exists()


def test_a_record_that_cannot_be_made_is_no_failure_of_the_agent(make: Make, tmp_path: Path) -> None:
    (tmp_path / "logs").touch()
    with make() as record:
        record.raw(b"1")
        record.event(AgentEvent(kind="text", text="said"))
    assert (tmp_path / "logs").read_bytes() == b""


@pytest.mark.parametrize("text", ["\ud800", "\x00\x1b[2J", "\u202e" * 10])
def test_hostile_text_is_kept_as_ascii_json(make: Make, tmp_path: Path, events: Any, text: str) -> None:
    with make() as record:
        record.event(AgentEvent(kind="error", text=text, usage=Usage(cost_usd=float("nan"), input_tokens=10**400)))
    assert (tmp_path / "logs" / "build.events.jsonl").read_bytes().isascii()
    assert set(events()[0]["usage"].values()) == {None}
