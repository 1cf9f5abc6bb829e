"""OpenCode at work: the real program, in a real container, with a fake model."""

import subprocess
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from orchestration.adapters.agent.opencode.client import Client
from orchestration.core.errors import WorkFailedError
from orchestration.core.ports import Sandbox
from tests.adapters.agent.opencode.conftest import Attempt, Open, Operator
from tests.model.replies import Asked, Call, Reply, Say, do_as_told
from tests.model.server import KEY, MODEL, FakeModel, config

pytestmark = [pytest.mark.full, pytest.mark.timeout(400)]
LOGGED_IN = "sk-from-a-login-0123456789"


class WithoutServices:
    """A sandbox in which nothing goes on beside commands, as the local one is."""

    services = None

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self.run = sandbox.run

    def __getattr__(self, name: str) -> object:
        return getattr(self._sandbox, name)


def holding(folder: Path, content: str) -> list[str]:
    """Return the files of the host, below *folder*, that hold *content*."""
    found = subprocess.run(["grep", "-rlF", "-e", content, str(folder)], capture_output=True, text=True, check=False)
    return found.stdout.split()


def leftovers(tried: Attempt) -> str:
    """Return what of OpenCode is still in a sandbox: processes and what was put there."""
    return tried.shell(
        'ps -eo comm= | grep opencode; find "$TASKQ_SECRETS" "$XDG_RUNTIME_DIR" -mindepth 1; '
        '[ ! -L "$XDG_DATA_HOME/opencode/auth.json" ] || echo linked'
    )


def test_it_plans_and_builds_in_one_session_and_asks_nobody_but_the_model(attempt: Open, model: FakeModel) -> None:
    with attempt() as tried:
        planned = tried.plan()
        assert planned is not None
        assert (planned.problem, planned.plan) == (None, "I would do this.")
        assert not (tried.folders.workspace / "hello.txt").exists()
        built = tried.build(session=planned.session, plan=planned.plan)
        assert (built.problem, built.code, built.session) == (None, None, planned.session)
        assert (tried.folders.workspace / "hello.txt").read_text(encoding="utf-8") == "hi\n"
        assert tried.seen.stdout == b"I would do this.\nWorking.\nwrite hello.txt\nIt is done.\n"
        assert tried.sandbox.facts.refused == ()
        assert built.usage is not None
        assert (built.usage.input_tokens, built.usage.output_tokens) == (200, 20)
        assert built.usage.cost_usd == pytest.approx(0.00024)
        assert [event.kind for event in tried.record.events][:3] == ["session", "text", "step"]
        assert len(tried.record.lines) >= 8
        assert leftovers(tried) == ""
    assert {asked.model for asked in model.asked} == {"fake-1"}


def test_without_services_each_stage_is_a_run_of_its_own_in_the_same_session(attempt: Open) -> None:
    with attempt() as tried:
        tried.sandbox = WithoutServices(tried.sandbox)  # type: ignore[assignment]  # it passes the rest on
        planned = tried.plan()
        assert planned is not None
        built = tried.build(session=planned.session, plan=planned.plan)
        assert (built.problem, built.session) == (None, planned.session)
        assert (tried.folders.workspace / "hello.txt").read_text(encoding="utf-8") == "hi\n"
        assert tried.sandbox.facts.refused == ()
        assert leftovers(tried) == ""


def test_credentials_are_in_memory_only_and_in_no_argument(attempt: Open, model: FakeModel, operator: Operator) -> None:
    found: list[object] = []
    operator.configure(config(model.url, key="{file:~/key}"))
    operator.write("key", f"{KEY}\n")
    operator.log_in({"fake": {"type": "api", "key": LOGGED_IN}, "other": {"type": "api", "key": "not-for-this-model"}})

    with attempt() as tried:

        def look(asked: Asked) -> Reply:
            container = subprocess.run(
                ["docker", "inspect", tried.sandbox.facts.id or ""], capture_output=True, check=True
            )
            processes = subprocess.run(["ps", "-eo", "args="], capture_output=True, check=True)
            for secret in (KEY, LOGGED_IN):
                found.extend(holding(tried.folders.root, secret))
                found.extend(place for place in (container, processes) if secret.encode() in place.stdout)
            return do_as_told(asked)

        model.answer = look
        assert tried.build().problem is None
        assert found == []
        assert holding(tried.folders.root, "not-for-this-model") == []
    assert {asked.authorization for asked in model.asked} <= {f"Bearer {KEY}", f"Bearer {LOGGED_IN}"}
    assert len(model.asked) >= 2  # the control: they were there to be found while it looked


def test_a_repository_changes_neither_model_nor_sharing(attempt: Open, model: FakeModel) -> None:
    theirs = '{"model": "opencode/big-pickle", "small_model": "opencode/x", "share": "auto", "autoupdate": true}'
    files = {"opencode.json": theirs, ".opencode/opencode.json": theirs}
    with attempt(files=files) as tried:
        assert tried.work().problem is None
        opened = tried.agent._server
        assert opened is not None
        said = opened.ask("GET", "/config")
        wanted = {"model": MODEL, "small_model": MODEL, "share": "disabled", "autoupdate": False}
        assert {key: said[key] for key in wanted} == wanted
    assert {asked.model for asked in model.asked} == {"fake-1"}


def test_a_planning_agent_cannot_write(attempt: Open, model: FakeModel, operator: Operator) -> None:
    def write_anyway(asked: Asked) -> Reply:
        call = Call(tool="write", arguments={"filePath": "sly.txt", "content": "x"})
        return Say(calls=(call,)) if not asked.answered else Say(text="It did not let me.")

    model.answer = write_anyway
    operator.configure(config(model.url, permission={"bash": "ask"}))
    with attempt() as tried:
        planned = tried.plan()
        assert planned is not None
        assert (planned.problem, planned.plan) == (None, "It did not let me.")
        assert not (tried.folders.workspace / "sly.txt").exists()
        built = tried.build(session=planned.session)  # the control: the building one can
        assert (built.problem, (tried.folders.workspace / "sly.txt").exists()) == (None, True)


def test_permissions_are_given_as_the_sandbox_is_the_boundary_and_a_text_may_be_long(
    attempt: Open, model: FakeModel, operator: Operator
) -> None:
    operator.configure(config(model.url, permission={"bash": "ask", "edit": "ask"}))
    script = "write /tmp/outside: x\nwrite inside.txt: x\nrun cat /tmp/outside >copied.txt"
    with attempt(text=f"{'long ' * 60_000}\n{script}") as tried:
        assert tried.build().problem is None
        assert (tried.folders.workspace / "copied.txt").read_text(encoding="utf-8") == "x\n"
    assert any("long " * 60_000 in str(message) for message in model.asked[0].messages)


def test_a_session_is_gone_on_with_in_a_fresh_sandbox_by_a_person_and_by_the_agent(
    attempt: Open, model: FakeModel
) -> None:
    with attempt() as tried:
        session = tried.build().session
    assert session is not None
    before = len(model.asked)
    with attempt(text="write again.txt: there") as tried:
        serving = tried.agent.serve(tried.sandbox, tried.job(session=session), tried.seen)
        assert serving is not None
        with serving as server:
            assert server.page == f"/L3Rhc2txL3dvcmtzcGFjZQ/session/{session}"
            assert server.attach.argv[:2] == ("opencode", "attach")
            assert server.password not in " ".join(server.attach.argv)
            assert tried.sandbox.services is not None
            for password, expected in (("guessed", "401"), (server.password, "no JSON")):  # the page is HTML
                person = Client(tried.sandbox.services, port=server.port, password=password)
                with pytest.raises(WorkFailedError, match=expected):
                    person.ask("GET", server.page, timeout=timedelta(seconds=20))
            assert session in {each["id"] for each in person.ask("GET", "/session", timeout=timedelta(seconds=20))}
            assert "opencode" in leftovers(tried)  # the control
        assert leftovers(tried) == ""
        assert tried.agent.serve(tried.sandbox, tried.job(), tried.seen) is None

        tried.spec = replace(tried.spec, session=session)
        assert tried.plan(session=session) is None
        resumed = tried.build(session=session)
        assert (resumed.problem, resumed.session) == (None, session)
        assert (tried.folders.workspace / "again.txt").exists()
        assert leftovers(tried) == ""
    went_on = model.asked[before]
    assert "You worked on this task before" in went_on.said
    assert len(went_on.messages) > len(model.asked[0].messages)
