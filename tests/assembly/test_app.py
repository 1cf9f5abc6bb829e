"""taskq as a library: the example that the documentation of `App` points to, and the tables of names."""

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from orchestration.assembly import AGENT_CHECKS, AGENTS, PROVIDERS, App, _load
from orchestration.core.drafts import TaskDraft
from orchestration.core.errors import ExternalError, UsageError
from orchestration.core.events import RunEvent, StageEnded, TaskSettled
from orchestration.core.ports import discard_output
from orchestration.core.status import Status
from orchestration.engine.options import RunOptions
from tests.journeys.shell import Repo


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    made = Repo(tmp_path / "project")
    made.path.mkdir()
    made.git("init", "--quiet", "--initial-branch=main")
    made.write("answer.txt", "41\n")
    made.commit("Start")
    return made


@pytest.fixture
def app(tmp_path: Path) -> App:
    (tmp_path / "home").mkdir()
    environment = {"HOME": str(tmp_path / "home"), "PATH": os.environ["PATH"]}
    return App.open(str(tmp_path / "queue"), environment=environment)


def test_a_task_is_added_run_checked_landed_and_cleaned_up(app: App, repo: Repo) -> None:
    draft = TaskDraft(
        id="fix-answer",
        text="The answer is 42.",
        repo=str(repo.path),
        agent_command="echo 42 > answer.txt",
        sandbox="local",
    )
    (task,) = app.add([draft])
    assert task.status is Status.TODO

    events: list[RunEvent] = []
    summary = app.run(RunOptions(max_parallel=2), observe=events.append)
    (settled,) = summary.settled
    assert settled.status is Status.REVIEW
    assert [event.stage for event in events if isinstance(event, StageEnded)] == [
        "setup", "plan", "build", "collect", "teardown",
    ]  # fmt: skip
    assert isinstance(events[-1], TaskSettled)

    brief = app.brief("fix-answer")
    assert (brief.added, brief.removed) == (1, 1)
    assert b"+42\n" in b"".join(app.diff("fix-answer", stat=False))

    assert settled.revision is not None
    test = ("grep", "-qx", "42", "answer.txt")
    before, after = (
        app.check(settled, commit, test, timeout=timedelta(seconds=30), output=discard_output)
        for commit in (settled.revision.base_commit, settled.revision.commit)
    )
    assert (before.succeeded, after.succeeded) == (False, True)

    done = app.approve("fix-answer", land="ff")
    assert done.status is Status.DONE
    assert repo.git("rev-parse", "main") == settled.revision.commit
    assert (repo.path / "answer.txt").read_text(encoding="utf-8") == "42\n"

    (report,) = app.cleanup()
    assert (report.kept, report.problem) == ([], None)
    assert app.task("fix-answer").worktree_path is None
    removed, _ = app.remove("fix-answer")
    assert (removed.id, list(app.read().tasks)) == ("fix-answer", [])


def test_a_task_that_a_dead_runner_left_can_be_run_by_its_name(app: App, repo: Repo, tmp_path: Path) -> None:
    """What is abandoned is recovered first, and then it is a todo like any other."""
    app.add([TaskDraft(id="T-1", text="x", repo=str(repo.path), agent_command="echo 1 > new", sandbox="local")])
    claim = (
        "import os, sys; sys.path.insert(0, sys.argv[1])\n"
        "from orchestration.assembly import App\n"
        "from orchestration.engine.options import RunOptions\n"
        "App.open(sys.argv[2]).run(RunOptions(), observe=lambda event: os._exit(9))\n"
    )
    root = str(Path(__file__).resolve().parents[2])
    environment = {"HOME": str(tmp_path / "home"), "PATH": os.environ["PATH"]}
    died = subprocess.run(
        [sys.executable, "-c", claim, root, str(tmp_path / "queue")],
        env=environment,
        check=False,
        timeout=60,
    )
    assert died.returncode == 9
    assert app.task("T-1").is_running
    (settled,) = app.run(RunOptions(identifier="T-1"), observe=lambda _event: None).settled
    assert (settled.status, settled.attempt) == (Status.REVIEW, 2)


@pytest.mark.parametrize("table", [PROVIDERS, AGENTS, AGENT_CHECKS], ids=["providers", "agents", "checks"])
def test_every_name_in_a_table_loads(table: dict[str, str]) -> None:
    for name in table:
        assert callable(_load(table, name, "part"))


def test_every_agent_has_a_check_at_intake() -> None:
    assert set(AGENT_CHECKS) == set(AGENTS)


def test_a_name_that_is_not_there_is_told_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="scripted") as caught:
        _load(AGENTS, "scriptd", "agent")
    assert caught.value.code == "unknown_agent"


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"agent": "command", "agent_command": None}, "usage"),
        ({"agent": "opencode", "agent_command": None, "model": "claude"}, "unknown_model"),
        ({"sandbox": "locl"}, "unknown_sandbox"),
        ({"agent": "comand"}, "unknown_agent"),
    ],
)
def test_a_task_that_could_not_run_is_refused_when_it_is_added_and_no_queue_is_made(
    app: App, repo: Repo, fields: dict[str, str | None], code: str
) -> None:
    sound = TaskDraft(id="T-1", text="x", repo=str(repo.path), agent_command="true", sandbox="local")
    with pytest.raises(UsageError) as caught:
        app.add([sound._replace(**fields)])  # type: ignore[arg-type]  # one field at a time
    assert caught.value.code == code
    assert not app.queue_folder.exists()


def test_a_task_that_waits_cannot_be_run_by_its_name(app: App, repo: Repo) -> None:
    sound = TaskDraft(id="parent", text="x", repo=str(repo.path), agent_command="true", sandbox="local")
    app.add([sound, sound._replace(id="child", after=("parent",))])
    with pytest.raises(ExternalError, match=r"child waits: after parent \(todo\)"):
        app.run(RunOptions(identifier="child"), observe=lambda _event: None)
    app.cancel("parent", timeout=timedelta(0))
    with pytest.raises(UsageError, match="parent is cancelled; only todo tasks can be run"):
        app.run(RunOptions(identifier="parent"), observe=lambda _event: None)
