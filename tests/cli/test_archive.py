"""`archive` and `compact` as an operator has them."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestration.store import compaction
from tests.cli.conftest import Cli
from tests.cli.test_json import check
from tests.journeys.shell import Repo

AT_ONCE = ("archive", "--older-than", "1ms")


@pytest.fixture
def over(cli: Cli, repo: Repo) -> Cli:
    """A queue with a task that waits, one that was cancelled and one that was run and approved."""
    common = ("--repo", str(repo.path), "--task", "Work", "--agent-command")
    cli("add", "--id", "A", *common, "echo x > x", "--label", "big")
    assert cli("run").code == 0
    cli("approve", "A", "--land", "ff")
    cli("add", "--id", "C", *common, "true")
    cli("cancel", "C")
    cli("add", "--id", "W", *common, "true", "--not-before", "+1d")
    return cli


def ids(cli: Cli, *arguments: str) -> list[str]:
    return [task["id"] for task in cli("status", "--json", *arguments).json]


def test_what_cleanup_has_to_do_with_stays_and_the_hint_helps(over: Cli, tmp_path: Path) -> None:
    said = over(*AT_ONCE)
    assert said.out.splitlines()[0] == "Archived 1 task"
    assert "  kept A: attempt 1 is still there; run: taskq cleanup A" in said.out.splitlines()
    assert over("cleanup", "A").code == 0
    assert over(*AT_ONCE).out.splitlines()[0] == "Archived 1 task"
    assert ids(over) == ["W"]
    assert ids(over, "--archived") == ["C", "A"]
    assert len(list((tmp_path / "queue" / "history").glob("archive-*.jsonl"))) == 2


def test_a_dry_run_says_the_same_and_does_nothing(over: Cli, journal: Callable[[], bytes]) -> None:
    before = journal()
    said = over(*AT_ONCE, "--dry-run", "--json").json
    check(said, "archived")
    assert (said["archived"], said["files"], said["dry_run"]) == (["C"], [], True)
    assert over(*AT_ONCE, "--dry-run").out.splitlines()[0] == "Would archive 1 task"
    assert journal() == before
    done = over(*AT_ONCE, "--json").json
    check(done, "archived")
    assert (done["archived"], done["kept"], len(done["files"])) == (said["archived"], said["kept"], 1)


def test_what_is_young_stays(over: Cli) -> None:
    assert over("archive").out == "Nothing to archive\n"
    assert ids(over) == ["A", "C", "W"]
    assert over("archive", "--older-than", "soon").code == 2


def test_archived_tasks_are_listed_and_shown(over: Cli) -> None:
    over("cleanup")
    over(*AT_ONCE)
    check(over("status", "--archived", "--json").json, "archived_tasks")
    assert ids(over, "--archived", "--label", "big") == ["A"]
    assert ids(over, "--archived", "--status", "cancelled") == ["C"]
    assert ids(over, "--archived", "c") == ["C"]
    assert over("status", "--archived").out.splitlines()[0].split("\t")[:2] == ["A", "done"]
    assert over("status", "--archived", "W").code == 2
    assert over("status", "--archived", "--counts").code == 2
    shown = over("show", "a")
    assert shown.out.splitlines()[0].startswith("Task A was archived, to ")
    assert "status:        done" in shown.out.splitlines()
    check(over("show", "A", "--json").json, "archived_task")
    assert over("show", "nobody").code == 2


def test_an_export_notes_what_is_archived(over: Cli) -> None:
    assert over("export").err == ""
    over(*AT_ONCE)
    said = over("export")
    assert said.code == 0
    assert "archived tasks are not in it" in said.err
    assert [json.loads(line)["id"] for line in said.out.splitlines()] == ["A", "W"]


def test_an_archived_id_can_be_used_again(over: Cli, repo: Repo) -> None:
    over("cleanup")
    over(*AT_ONCE)
    assert (
        over("add", "--id", "A", "--repo", str(repo.path), "--task", "Again", "--agent-command", "echo y > y").code == 0
    )
    assert over("run").code == 0
    assert over("show", "A", "--json").json["attempt"] == 2
    assert ids(over, "--archived") == ["C"]


def test_a_compacted_journal_says_what_it_was_and_is_and_where_the_old_one_is(
    over: Cli, tmp_path: Path, journal: Callable[[], bytes]
) -> None:
    before, tasks = journal(), over("status", "--json").json
    said = over("compact", "--json").json
    check(said, "compacted")
    assert (said["before"], said["after"], said["tasks"]) == (len(before), len(journal()), 3)
    assert Path(said["history"]).read_bytes() == before
    assert over("status", "--json").json == tasks
    assert over("fsck").code == 0
    assert over("compact").out == f"Nothing to gain: {len(journal())} bytes for 3 tasks\n"
    check(over("compact", "--json").json, "compacted")
    over("cancel", "W")
    again = over("compact").out.splitlines()
    assert again[0].startswith("Journal compacted: 3 tasks, ")
    assert again[1].startswith(f"  kept {tmp_path / 'queue' / 'history'}/journal-")


@pytest.fixture
def long_queue(cli: Cli, repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """A queue of two tasks whose journal is mostly past, where a little is a lot already."""
    monkeypatch.setattr(compaction, "LEAST_SIZE", 300_000)
    for name in ("A", "B"):
        cli("add", "--id", name, "--repo", str(repo.path), "--task", "Work", "--agent-command", "echo x > x")
    with (tmp_path / "queue" / "tasks.jsonl").open("ab") as lines:
        for number in range(4000):
            line = {"seq": number + 4, "kind": "task", "id": "A", "rev": number + 2, "at": "x", "by": "y"}
            lines.write(json.dumps({**line, "title": f"title {number}"}).encode() + b"\n")
    return cli


def test_a_run_compacts_a_long_journal(long_queue: Cli, journal: Callable[[], bytes]) -> None:
    size = len(journal())
    assert size > compaction.LEAST_SIZE
    assert long_queue("run", "A").code == 0
    assert len(journal()) < size / 10
    shown = long_queue("show", "A", "--json").json
    assert (shown["title"], shown["status"]) == ("title 3999", "review")


def test_a_run_that_cannot_compact_says_so_once_and_goes_on(
    long_queue: Cli, tmp_path: Path, journal: Callable[[], bytes]
) -> None:
    history = tmp_path / "queue" / "history"
    history.rmdir()
    history.write_bytes(b"in the way")
    before = journal()
    said = long_queue("run")
    assert said.code == 0
    assert said.err.count("journal.not_compacted") == 1
    assert journal().startswith(before)
    assert [task["status"] for task in long_queue("status", "--json").json] == ["review", "review"]


def test_adding_never_compacts(long_queue: Cli, repo: Repo, journal: Callable[[], bytes]) -> None:
    before = journal()
    assert long_queue("add", "--repo", str(repo.path), "--id", "C", "--task", "x", "--agent-command", "true").code == 0
    assert journal().startswith(before)
