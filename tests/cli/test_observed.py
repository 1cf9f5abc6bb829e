"""How `show` and `review` tell what was observed of a sandbox."""

from datetime import UTC, datetime

import pytest

from orchestration.assembly import App
from orchestration.cli.observed import refused, rows
from orchestration.core.attempts import AttemptResult
from orchestration.core.facts import RefusedHost, Run, Runner, SandboxFacts
from orchestration.core.models import Task
from orchestration.core.status import Status
from tests.cli.conftest import Cli
from tests.journeys.shell import Repo

HINTS = (
    ("", 'open one: allow = ["HOST"] in .taskq.toml or config.toml'),
    ("", "a private one: allow_private in config.toml"),
)
HOST = RefusedHost(host="evil.example", port=443, reason="not allowed", count=3)
FACTS = SandboxFacts(
    kind="docker",
    id="3f2a9c81d0b4" + "0" * 52,
    name="task-T-1-20261121T030000Z-a1",
    image="sha256:1a2b3c4d5e6f" + "0" * 52,
    network="open",
    refused=(HOST,),
    waivers=("the network is open",),
)


def test_a_sandbox_is_told_with_what_is_wider_and_what_was_refused() -> None:
    assert list(rows(FACTS)) == [
        ("ran in", "docker, image 1a2b3c4d5e6f, network open"),
        ("", "task-T-1-20261121T030000Z-a1 (3f2a9c81d0b4)"),
        ("WAIVER", "the network is open"),
        ("refused", "evil.example:443 (not allowed) x3"),
        *HINTS,
    ]


def test_a_sandbox_of_which_nothing_is_known_is_told_by_its_kind() -> None:
    assert list(rows(SandboxFacts(kind="local"))) == [("ran in", "local")]


def test_what_a_program_asked_for_cannot_move_the_cursor_or_fake_a_line() -> None:
    hostile = RefusedHost(host="a\x1b[2J\nran in \u202edocker" + "x" * 500, port=80, reason="b\r\n\tc")
    line = refused(hostile)
    assert line.isprintable()
    assert "\\x1b[2J\\nran in \\u202edocker" in line
    assert len(line) < 300


def test_ports_and_counts_are_told_where_there_are_any() -> None:
    assert refused(RefusedHost(host="h", port=None, reason="r")) == "h (r)"
    assert refused(RefusedHost(host="::1", port=80, reason="r", count=2)) == "[::1]:80 (r) x2"
    assert refused(RefusedHost(host="[::1]", port=80, reason="r")) == "[::1]:80 (r)"


def test_a_flood_of_hosts_is_cut_and_the_rest_counted() -> None:
    many = SandboxFacts(kind="docker", refused=tuple(RefusedHost(host=f"h{n}", port=1, reason="r") for n in range(100)))
    told = [value for name, value in rows(many) if name == "refused"]
    assert len(told) == 21
    assert told[-1] == "and 80 more; see --json"


NOW = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
RUN = Run(
    attempt=1,
    token=2,
    sandbox="docker",
    folder="/a",
    runner=Runner(host="h", pid=1, started="s", boot="b"),
    started_at=NOW,
    observed=FACTS,
)


@pytest.fixture
def reviewed(cli: Cli, repo: Repo) -> Task:
    """A task in review whose sandbox was observed."""
    cli("add", "--id", "T-1", "--repo", str(repo.path), "--task", "Work", "--agent-command", "true")
    store = App.open()._store
    for status in (Status.PLANNING, Status.BUILDING):
        store.change("T-1", lambda task, to=status: task.advance(to, at=NOW), by="test")
    return store.change("T-1", lambda task: task.advance(Status.REVIEW, at=NOW)._replace(run=RUN, attempt=1), by="test")


@pytest.mark.parametrize("command", [("show",), ("review", "--no-diff")])
def test_show_and_review_tell_it(cli: Cli, reviewed: Task, command: tuple[str, ...]) -> None:
    out = cli(*command, reviewed.id).out
    for name, value in rows(FACTS):
        assert any(line.strip().startswith(name) and line.endswith(value) for line in out.splitlines()), (name, out)


@pytest.mark.parametrize("command", ["show", "review"])
def test_as_json_it_is_whole(cli: Cli, reviewed: Task, command: str) -> None:
    observed = cli(command, reviewed.id, "--json").json["run"]["observed"]
    assert (observed["id"], observed["image"]) == (FACTS.id, FACTS.image)
    assert observed["refused"] == [{"host": "evil.example", "port": 443, "reason": "not allowed", "count": 3}]


def test_it_is_told_from_the_result_when_the_task_is_over_its_run(cli: Cli, reviewed: Task) -> None:
    app = App.open()
    result = AttemptResult(task=reviewed.id, attempt=1, token=2, finished_at=NOW, sandbox=FACTS)
    app._records.save_result(result, reviewed)
    app._store.change("T-1", lambda task: task.advance(Status.TODO, at=NOW)._replace(run=None), by="test")
    assert "evil.example:443 (not allowed) x3" in cli("show", "T-1").out


def test_a_task_that_never_ran_has_nothing_observed(cli: Cli, repo: Repo) -> None:
    cli("add", "--id", "T-1", "--repo", str(repo.path), "--task", "Work", "--agent-command", "true")
    assert "ran in" not in cli("show", "T-1").out
