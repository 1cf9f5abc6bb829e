"""`retry --resume`: an attempt goes on where it ended, in a real sandbox, with real git."""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from orchestration.adapters.agent.base import PlainAgent
from orchestration.adapters.sandbox.docker.provider import DockerSandboxProvider
from orchestration.assembly import App
from orchestration.core.agent_events import AgentEvent
from orchestration.core.drafts import TaskDraft
from orchestration.core.errors import UsageError
from orchestration.core.facts import Usage
from orchestration.core.models import Task
from orchestration.core.ports import AgentJob, AgentResult, Command, Output, Sandbox
from orchestration.core.status import Status
from orchestration.engine.options import RunOptions
from orchestration.engine.pool import Pool
from tests.journeys.shell import Repo

FIRST = (
    "echo half > half.txt; git add half.txt; git commit -qm half; echo more > more.txt; echo ses_1 > $HOME/session; "
    "echo started; exit 1"
)
SECOND = 'test "$(cat $HOME/session)" = ses_1 && cat half.txt more.txt && echo done > done.txt'


class SessionAgent(PlainAgent):
    """Begins in a session that it keeps in its data folder, and fails; goes on there when it is asked to."""

    def build(self, sandbox: Sandbox, job: AgentJob, output: Output) -> AgentResult:
        script = FIRST if job.session is None else SECOND
        command = Command(argv=("/bin/sh", "-c", script), timeout=job.timeout)
        ended = sandbox.run(command, output)
        job.record.raw(json.dumps({"type": "text", "sessionID": "ses_1"}).encode())
        job.record.event(AgentEvent(kind="session", text="ses_1"))
        return AgentResult(
            exit=ended,
            command="sh",
            problem=None if ended.succeeded else "the provider said: not now",
            code=None if ended.succeeded else "provider_limit",
            session="ses_1",
            usage=Usage(input_tokens=100, cost_usd=0.25),
        )


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    (tmp_path / "home").mkdir()
    environment = {"HOME": str(tmp_path / "home"), "PATH": os.environ["PATH"]}
    opened = App.open(str(tmp_path / "queue"), environment=environment)
    yield opened
    for provider in opened._providers.values():
        if isinstance(provider, DockerSandboxProvider):
            provider._engine.close()


@pytest.fixture(params=["local", pytest.param("docker", marks=pytest.mark.full)])
def run(app: App, request: pytest.FixtureRequest, repo: Repo, capability: Callable[[str], None]) -> Callable[[], Task]:
    """Return a function that runs the one task of the queue with the agent that keeps a session."""
    if request.param == "docker":
        capability("docker")
    app.add([TaskDraft(id="T-1", text="Do it", repo=str(repo.path), agent_command="true", sandbox=request.param)])

    def once() -> Task:
        worker = app._worker(lambda _event: None, RunOptions())
        parts = replace(worker.parts, agent=lambda _name: SessionAgent())
        (settled,) = Pool(worker=replace(worker, parts=parts), max_parallel=1).run().settled
        return settled

    return once


def test_a_resumed_attempt_goes_on_with_its_files_its_commits_and_its_session(
    app: App, run: Callable[[], Task], repo: Repo
) -> None:
    failed = run()
    assert failed.revision is not None
    assert failed.run is not None
    assert (failed.status, failed.run.session, failed.revision.collect) == (Status.FAILED, "ses_1", 1)

    app.retry("T-1", resume=True)
    ended = run()
    assert ended.run is not None
    assert ended.revision is not None
    assert ended.error is None
    assert (ended.status, ended.attempt, ended.run.is_resumed) == (Status.REVIEW, 1, True)
    assert {change.path for change in ended.revision.files} == {"half.txt", "more.txt", "done.txt"}
    assert (ended.revision.collect, ended.usage) == (2, Usage(input_tokens=200, cost_usd=0.5))
    assert ended.revision.published
    assert repo.git("rev-parse", "task/t-1") == ended.revision.commit
    assert repo.git("rev-parse", failed.revision.ref) == failed.revision.commit, "what was collected before is kept"
    assert repo.git("rev-list", "--count", f"main..{ended.revision.commit}") == "3"

    logs = dict(app.logs(ended, attempt=None, stage="build"))
    said = logs["build"].read_text(encoding="utf-8")
    assert said.startswith("started\n\n[taskq: resumed at ")
    assert said.endswith("]\nhalf\nmore\n")
    ((_, events),) = app.logs(ended, attempt=None, stage="build", kind="events")
    kinds = [json.loads(line)["kind"] for line in events.read_text(encoding="utf-8").splitlines()]
    assert kinds == ["session", "resumed", "session"]


def test_without_the_wish_a_retry_knows_nothing_of_the_attempt_before(app: App, run: Callable[[], Task]) -> None:
    run()
    app.retry("T-1")
    again = run()
    assert again.revision is not None
    assert (again.status, again.attempt) == (Status.FAILED, 2)
    assert {change.path for change in again.revision.files} == {"half.txt", "more.txt"}


def test_a_workspace_whose_base_is_no_longer_in_the_cache_is_refused_and_a_fresh_one_is_not(
    app: App, run: Callable[[], Task], tmp_path: Path
) -> None:
    run()
    (cache,) = (tmp_path / "home/.cache/taskq/repos").glob("*.git")
    cache.rename(tmp_path / "gone")
    with pytest.raises(UsageError, match="objects that its workspace borrows"):
        app.retry("T-1", resume=True)
    app.retry("T-1")
    assert run().attempt == 2
