"""How `show` tells what is known of an agent: its model, its session, what it used."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from orchestration.assembly import App
from orchestration.cli.agent_rows import rows, spell_usage
from orchestration.core.facts import Failure, Usage
from orchestration.core.status import Status
from tests.cli.conftest import Cli
from tests.engine.fakes import START, a_run, a_task
from tests.journeys.shell import Repo

USAGE = Usage(
    input_tokens=12345,
    output_tokens=678,
    cost_usd=0.01234,
    reasoning_tokens=90,
    cache_read_tokens=2000,
    cache_write_tokens=5,
)
SPELLED = "12,345 tokens in (2,000 from cache, 5 to cache), 678 out (90 reasoning), $0.0123"
LIMIT = Failure(stage="build", code="provider_limit", message="not now", retry_at=datetime(2026, 11, 21, 6, tzinfo=UTC))
FIELDS = {"model": "fake/fake-1", "variant": "high", "usage": USAGE, "error": LIMIT}


def test_all_that_is_known_is_told() -> None:
    assert list(rows(a_task(run=a_run(session="ses_1", is_resumed=True), **FIELDS))) == [
        ("model", "fake/fake-1, variant high"),
        ("session", "ses_1 (resumed)"),
        ("used", SPELLED),
        ("retry at", "2026-11-21 06:00:00Z"),
    ]


def test_what_is_not_known_is_not_told() -> None:
    assert list(rows(a_task())) == []
    assert list(rows(a_task(run=a_run(), usage=Usage(), error=replace(LIMIT, retry_at=None)))) == []


@pytest.mark.parametrize(
    ("usage", "spelled"),
    [
        (Usage(input_tokens=7), "7 tokens in"),
        (Usage(output_tokens=7, cost_usd=0.0), "7 out, $0.0000"),
        (Usage(cache_read_tokens=7), "7 from cache"),
        (Usage(input_tokens=0, output_tokens=3, reasoning_tokens=0), "0 tokens in, 3 out"),
    ],
)
def test_a_usage_is_told_as_far_as_it_is_known(usage: Usage, spelled: str) -> None:
    assert spell_usage(usage) == spelled


def test_no_name_of_a_model_forges_a_line() -> None:
    (row,) = rows(a_task(model="a\x1b[2J\nstatus: done\u202e" + "x" * 500))
    assert row[1].isprintable()
    assert len(row[1]) < 200


@pytest.mark.parametrize("command", [("show",)])
def test_a_person_is_shown_them(cli: Cli, repo: Repo, command: tuple[str, ...]) -> None:
    cli("add", "--id", "T-1", "--repo", str(repo.path), "--task", "Work", "--agent-command", "true")
    store = App.open()._store
    for status in (Status.PLANNING, Status.BUILDING, Status.FAILED):
        store.change("T-1", lambda task, to=status: task.advance(to, at=START), by="test")
    task = store.change("T-1", lambda task: task._replace(run=a_run(session="ses_1"), **FIELDS), by="test")
    out = cli(*command, "T-1").out
    for name, value in rows(task):
        assert any(line.startswith(name) and line.endswith(value) for line in out.splitlines()), (name, out)
    told = cli("show", "T-1", "--json").json
    assert (told["run"]["session"], told["run"]["is_resumed"]) == ("ses_1", False)
    assert (told["error"]["retry_at"], told["usage"]["cache_write_tokens"]) == ("2026-11-21T06:00:00.000000Z", 5)
