"""How OpenCode fails, through the command line: each failure has its code, and what was done before is kept."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.journeys.containers import OWN, docked
from tests.journeys.opencode_desk import Desk, desk
from tests.model import replies
from tests.model.replies import Asked, Call, Hang, Refuse, Reply, Say, is_planning
from tests.model.server import config

__all__ = ["desk", "docked"]
pytestmark = [pytest.mark.full, pytest.mark.timeout(400)]
SOON = {"retry-after-ms": "20"}


@dataclass(frozen=True, kw_only=True)
class Failing:
    """A task that fails: how the model answers the one who builds, what the task asks for, what is to come of it."""

    code: str
    says: str
    reply: Reply | None = None
    model: str | None = None
    """Another than its own."""
    flags: tuple[str, ...] = ()
    stage: str = "build"
    worked: bool = True
    """Whether it wrote a file before."""


FAILURES: Mapping[str, Failing] = {
    "unreachable": Failing(
        code="provider_unavailable",
        says="cannot be reached",
        model="dead/fake-1",
        flags=("--priority", "1"),
        stage="plan",
        worked=False,
    ),
    "auth": Failing(code="provider_auth", says="Incorrect API key", reply=replies.UNAUTHORIZED),
    "limit": Failing(code="provider_limit", says="refuses until", reply=replies.limited(seconds=3 * 3600)),
    "broken": Failing(code="provider_unavailable", says="(500)", reply=replace(replies.BROKEN, headers=SOON)),
    "busy": Failing(
        code="provider_limit", says="(429)", reply=Refuse(status=429, message="Rate limit reached", headers=SOON)
    ),
    "long": Failing(code="context_too_long", says="maximum context length", reply=replies.TOO_LONG),
    "cut": Failing(code="provider_unavailable", says="broke off", reply=Say(text="half of", cut=True)),
    "hang": Failing(code="agent_timeout", says="8.0s", reply=Hang(), flags=("--limit", "build=8s")),
    "circles": Failing(
        code="permission_asked",
        says="permission",
        reply=Say(calls=(Call(tool="bash", arguments={"command": "true", "description": "again"}),) * 4),
    ),
    "model": Failing(
        code="unknown_model",
        says="did you mean 'fake/fake-1'",
        model="fake/fake-2",
        stage="plan",
        worked=False,
    ),
    "agent": Failing(code="unknown_agent", says="build", flags=("--base", "no-agent"), worked=False),
    "config": Failing(
        code="bad_agent_config", says="opencode.json", flags=("--base", "no-json"), stage="plan", worked=False
    ),
    "memory": Failing(
        code="out_of_memory", says="limits.memory", flags=("--limit", "memory=192m"), stage="plan", worked=False
    ),
}


class Model:
    """Plans, writes a file, and from then on answers what makes the task fail, also when a shorter text is tried.

    Each task has a model of its own name: a conversation that was made shorter is known by nothing else.
    """

    def __init__(self) -> None:
        self.written: set[str] = set()

    def __call__(self, asked: Asked) -> Reply:
        failing = FAILURES.get(asked.model)
        if failing is None or failing.reply is None:
            return Say(text="I would.")
        if "half.txt" in json.dumps(asked.messages):
            self.written.add(asked.model)
        if asked.model in self.written:
            return failing.reply
        if is_planning(asked) or not asked.tools:
            return Say(text="I would.")
        return Say(calls=(Call(tool="write", arguments={"filePath": "half.txt", "content": "half\n"}),))


def outcome(task: Any) -> tuple[str, str | None, str | None]:
    """Return the task's status with the error's code and stage."""
    error = task["error"] or {}
    return task["status"], error.get("code"), error.get("stage")


def test_each_failure_has_its_code_and_keeps_what_was_done(desk: Desk) -> None:
    docked = desk.docked
    known = config(desk.model.url)
    fake = known["provider"]["fake"]
    fake["models"] |= dict.fromkeys(FAILURES, fake["models"]["fake-1"])
    known["provider"]["dead"] = {**fake, "options": {"baseURL": "http://127.0.0.1:9/v1", "apiKey": "sk-dead"}}
    desk.configure(known)
    desk.branch(
        "no-agent", {"opencode.json": json.dumps({"$schema": known["$schema"], "agent": {"build": {"disable": True}}})}
    )
    desk.branch("no-json", {"opencode.json": '{"model": '})
    desk.model.answer = Model()
    names = {name: f"{OWN}-{name}" for name in FAILURES}
    for name, failing in FAILURES.items():
        desk.add("Do it", "--model", failing.model or f"fake/{name}", *failing.flags, identifier=names[name])

    patient = replace(docked.taskq, patience=350)
    patient.run("run", "--max-parallel", "2", code=1)
    tasks = {name: docked.task(identifier) for name, identifier in names.items()}
    assert {name: outcome(task) for name, task in tasks.items()} == {
        name: ("failed", failing.code, failing.stage) for name, failing in FAILURES.items()
    }
    assert [name for name, failing in FAILURES.items() if failing.says not in tasks[name]["error"]["message"]] == []
    assert {name: desk.paths(names[name]) for name in FAILURES} == {
        name: ["half.txt"] if failing.worked else [] for name, failing in FAILURES.items()
    }
    for name, task in tasks.items():
        assert task["error"]["message"] in Path(task["error"]["report"]).read_text(encoding="utf-8"), name
        assert task["run"]["observed"]["refused"] == [], name
    assert docked.containers() == []

    at = datetime.fromisoformat(tasks["limit"]["error"]["retry_at"])
    assert abs(at - datetime.now(UTC) - timedelta(hours=3)) < timedelta(minutes=6)
    assert f"{at:%Y-%m-%d %H:%M:%SZ}" in docked.taskq.run("show", names["limit"]).stdout


def test_a_broken_configuration_of_the_operator_is_said_before_there_is_a_sandbox(desk: Desk) -> None:
    desk.write(".config/opencode/opencode.json", '{"model": ')
    desk.add("write half.txt: x")
    desk.docked.taskq.run("run", code=1)
    task = desk.docked.task()
    assert outcome(task) == ("failed", "bad_agent_config", "setup")
    assert ".config/opencode/opencode.json" in task["error"]["message"]
    assert task["run"]["observed"] is None
    assert desk.model.asked == []
