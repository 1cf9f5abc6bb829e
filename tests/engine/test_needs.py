"""What an agent needs from outside: hosts for its sandbox, and secrets that nobody may see."""

from dataclasses import replace
from pathlib import Path

import pytest

from orchestration.core.agent_events import AgentEvent
from orchestration.core.attempts import AttemptFolders, AttemptSpec
from orchestration.core.errors import UsageError
from orchestration.core.events import OutputSeen
from orchestration.core.facts import Revision
from orchestration.core.models import Task
from orchestration.core.ports import AgentJob, AgentNeeds, AgentResult, Leaks, Output, Sandbox
from orchestration.core.status import Status
from orchestration.engine.worker import Worker, first_spec
from orchestration.pipeline.stage import StopSwitch
from tests.engine.conftest import Engine
from tests.engine.fakes import DONE, FakeAgent

KEY = b"sk-16C7e42F292c6912E7"
NEEDS = AgentNeeds(
    allow=("api.example", "ours.example"), allow_private=("10.0.0.1:8000",), secrets=(("opencode:fake", KEY),)
)


def run(engine: Engine, worker: Worker | None = None) -> Task:
    return (worker or engine.worker).run(engine.claim(), queue="q", switch=StopSwitch())


@pytest.fixture
def leaks(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> list[Leaks | None]:
    """What the work was searched with."""
    seen: list[Leaks | None] = []
    accept = engine.workspace.accept_bundle

    def look(
        spec: AttemptSpec, folders: AttemptFolders, bundle: Path, *, leaks: Leaks | None = None
    ) -> Revision | None:
        seen.append(leaks)
        return accept(spec, folders, bundle)

    monkeypatch.setattr(engine.workspace, "accept_bundle", look)
    return seen


def test_hosts_that_an_agent_needs_are_open_to_its_sandbox_each_once(engine: Engine) -> None:
    engine.add("T-1")
    engine.agent.needed = lambda _spec: NEEDS
    opened: list[AttemptSpec] = []
    engine.provider.on_open = opened.append
    run(engine, replace(engine.worker, allow=("ours.example",), allow_private=("10.0.0.2",)))
    (spec,) = opened
    assert spec.allow == ("ours.example", "api.example")
    assert spec.allow_private == ("10.0.0.2", "10.0.0.1:8000")


def test_needs_that_cannot_be_met_fail_the_attempt_before_a_sandbox_is_opened(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(_spec: AttemptSpec) -> AgentNeeds:
        raise UsageError("opencode.json:3: no JSON", code="bad_agent_config")

    engine.add("T-1")
    engine.agent.needed = refuse
    failed = run(engine)
    assert failed.error is not None
    assert (failed.status, failed.error.stage, failed.error.code) == (Status.FAILED, "setup", "bad_agent_config")
    assert (engine.provider.opened, engine.agent.asked) == ([], [])
    said = capsys.readouterr()
    assert "Traceback" not in said.out + said.err


class Blab(FakeAgent):
    """Writes and tells its key wherever it can."""

    def build(self, sandbox: Sandbox, job: AgentJob, output: Output) -> AgentResult:
        output("stdout", b"the key is " + KEY + b"\n")
        job.record.raw(b'{"key":"' + KEY + b'"}')
        job.record.event(AgentEvent(kind="text", text=KEY.decode()))
        return DONE


@pytest.mark.parametrize(("needs", "is_seen"), [(NEEDS, False), (AgentNeeds(), True)], ids=["needed", "control"])
def test_a_key_that_an_agent_needs_is_in_no_log_record_or_screen(
    engine: Engine, needs: AgentNeeds, *, is_seen: bool
) -> None:
    engine.add("T-1")
    engine.agent = Blab(needed=lambda _spec: needs)
    run(engine)
    logs = engine.records.folders("T-1", 1).logs
    assert {path.name for path in logs.iterdir()} >= {"build.log", "build.raw.jsonl", "build.events.jsonl"}
    for path in logs.glob("build.*"):
        assert (KEY in path.read_bytes()) is is_seen
    shown = b"".join(event.chunk for event in engine.events if isinstance(event, OutputSeen))
    assert (KEY in shown) is is_seen


def test_work_is_searched_for_it(engine: Engine, leaks: list[Leaks | None]) -> None:
    engine.add("T-1")
    engine.agent.needed = lambda _spec: NEEDS
    run(engine)
    (find,) = leaks
    assert find is not None
    assert find(b"key = '" + KEY + b"'") == "opencode:fake"


def test_work_that_a_crash_left_is_searched_for_it_too(engine: Engine, leaks: list[Leaks | None]) -> None:
    engine.add("T-1")
    engine.agent.needed = lambda _spec: NEEDS
    run(engine)
    spec = engine.records.load_spec("T-1", 1)
    task = engine.task()
    assert spec is not None
    engine.worker.salvage(task, spec, switch=StopSwitch())
    assert [find is not None and find(KEY) for find in leaks] == ["opencode:fake", "opencode:fake"]


def test_without_what_an_agent_needs_nothing_is_taken_out_of_what_a_crash_left(
    engine: Engine, leaks: list[Leaks | None]
) -> None:
    """Its secrets could not be looked for."""

    def refuse(_spec: AttemptSpec) -> AgentNeeds:
        raise UsageError("auth.json is broken", code="bad_agent_config")

    engine.add("T-1")
    task = engine.claim()
    assert task.run is not None
    engine.agent.needed = refuse
    spec = replace(first_spec(task, queue="q"), base_commit="1" * 40)
    engine.records.save_spec(spec)
    engine.records.folders("T-1", 1).workspace.mkdir()
    (todo,) = engine.recover()
    assert todo.status is Status.TODO
    assert f"what it left stays in {task.run.folder}: auth.json is broken" in (todo.reason or "")
    assert leaks == []
