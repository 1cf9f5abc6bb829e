"""What commands print of very many tasks is what they print of each."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestration.assembly import App
from orchestration.cli.output import print_json_list, say_each
from orchestration.core.facts import Run, Runner
from orchestration.core.models import Task
from orchestration.core.status import Status
from orchestration.engine.lease import hold
from orchestration.store.tasks import JournalTaskStore
from orchestration.support.clock import SystemClock
from tests.cli.conftest import Cli
from tests.cli.test_json import check
from tests.journeys.shell import Repo

ROOT = Path(__file__).resolve().parents[2]
MANY = 450
ODD = 'caf\u00e9 \u202e\x7f\x1b[2J \U0001f600 "\\\n'


def started(task: Task) -> Task:
    now = task.created_at
    runner = Runner(host="h", pid=1, started="s", boot="b")
    run = Run(attempt=1, token=1, sandbox="local", folder="/nowhere", runner=runner, started_at=now)
    return task.advance(Status.PLANNING, at=now)._replace(attempt=1, run=run)


@pytest.fixture
def many(cli: Cli, repo: Repo, tmp_path: Path) -> Cli:
    """A queue with many tasks, of which some run, wait, are over, or have a title that needs escaping."""
    records: list[dict[str, Any]] = [
        {"id": f"T-{number:03}", "repo": str(repo.path), "text": f"Do {number}", "agent_command": "true"}
        for number in range(MANY)
    ]
    records[7]["title"] = ODD.strip()
    records[8]["labels"] = ["rare"]
    records[9]["after"] = ["T-440", "t-010"]
    records[10]["not_before"] = "2999-01-01T00:00Z"
    records[11] |= {"not_before": "2020-01-01T00:00Z", "after": ["T-003"]}
    Path("many.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    assert cli("add", "--from", "many.jsonl").out.splitlines() == [f"Task added: T-{n:03}" for n in range(MANY)]
    store = JournalTaskStore(tmp_path / "queue", SystemClock())
    for number in (3, 5, 6):
        store.change(f"T-{number:03}", started, by="test")
    for to in (Status.BUILDING, Status.REVIEW, Status.DONE):
        store.change("T-003", lambda task, to=to: task.advance(to, at=task.updated_at), by="test")
    store.change("T-006", lambda task: task.advance(Status.FAILED, at=task.updated_at, reason=ODD), by="test")
    store.remove("T-449", lambda _task: None, by="test")
    return cli


def test_many_tasks_as_json_are_what_each_of_them_is(many: Cli) -> None:
    app = App.open()
    snapshot = app.read()
    lease = app._records.folders("T-005", 1).lease
    lease.parent.mkdir(parents=True)
    with hold(lease):
        each = [app.facts(task, snapshot) for task in snapshot.tasks.values()]
        said = many("status", "--json")
    assert said.out == json.dumps(each, indent=2) + "\n"
    assert len(each) == MANY - 1
    check(said.json, "tasks")
    by_id = {task["id"]: task for task in said.json}
    assert [name for name, task in by_id.items() if task["held"]] == ["T-005"]
    waits = {name: task["waits_for"] for name, task in by_id.items() if task["waits_for"]}
    assert waits == {"T-009": "after T-440 (todo), t-010 (todo)", "T-010": "not before 2999-01-01 00:00:00Z"}
    assert said.out.isascii()


def test_of_many_tasks_those_that_were_asked_for_are_shown(many: Cli) -> None:
    def ids(*flags: str) -> list[str]:
        return [task["id"] for task in many("status", *flags, "--json").json]

    assert ids("--label", "rare") == ["T-008"]
    assert ids("--status", "planning", "--status", "done") == ["T-003", "T-005"]
    assert ids("--status", "todo") == [f"T-{number:03}" for number in range(MANY - 1) if number not in {3, 5, 6}]
    assert ids("--status", "todo", "--label", "none") == []
    assert many("status", "--label", "none").out == "No tasks match.\n"


def test_many_tasks_go_into_a_pipe_by_status_one_a_line(many: Cli) -> None:
    rows = [line.split("\t") for line in many("status").out.splitlines()]
    assert [(row[0], row[1]) for row in rows[-3:]] == [("T-005", "planning"), ("T-006", "failed"), ("T-003", "done")]
    assert [row[0] for row in rows[:4]] == ["T-000", "T-001", "T-002", "T-004"]
    assert {len(row) for row in rows} == {5}
    assert len(rows) == MANY - 1
    assert "\x1b" not in many("status").out


@pytest.mark.parametrize("count", [0, 1, 399, 400, 401, 801])
def test_a_list_is_printed_alike_however_long_it_is(count: int, capsys: pytest.CaptureFixture[str]) -> None:
    values = [
        {"title": ODD, "labels": [], "run": {}, "number": number, "deep": [{"a": None}]} for number in range(count)
    ]
    print_json_list(iter(values))
    assert capsys.readouterr().out == json.dumps(values, indent=2) + "\n"
    say_each(f"{number}\x1b" for number in range(count))
    assert capsys.readouterr().out == "".join(f"{number}\\x1b\n" for number in range(count))


def test_nothing_of_a_list_is_printed_when_its_end_cannot_be_had(capsys: pytest.CaptureFixture[str]) -> None:
    def failing() -> Any:
        yield from ({"number": number} for number in range(1000))
        raise RuntimeError("the end")

    with pytest.raises(RuntimeError, match="the end"):
        print_json_list(failing())
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("wait", "told"), [("0", b"\r\x1b[K1 tasks settled\r\x1b[K2 tasks settled\r\x1b[K"), ("999", b"")]
)
def test_who_waits_at_a_terminal_sees_how_many_are_settled(wait: str, told: bytes, cli: Cli, repo: Repo) -> None:
    line = json.dumps({"repo": str(repo.path), "text": "x", "agent_command": "true"})
    Path("two.jsonl").write_text("".join(f'{{"id": "{name}", {line[1:]}\n' for name in "ab"), encoding="utf-8")
    main, terminal = pty.openpty()
    program = (
        "import sys; from orchestration.cli import tally; from orchestration.cli.main import run; "
        f"tally._PATIENCE = {wait}; tally._PAUSE = 0; sys.exit(run(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", program, "add", "--from", str(Path("two.jsonl").absolute())]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=terminal, check=True, timeout=60)
    os.close(terminal)
    try:
        shown = os.read(main, 4096)
    except OSError:  # nothing was written, and the other end is closed
        shown = b""
    os.close(main)
    assert done.stdout == b"Task added: a\nTask added: b\n"
    assert shown == told
