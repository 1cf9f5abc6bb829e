"""`export` and `import` as an operator has them."""

import io
import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.cli.test_json import check
from tests.journeys.shell import Repo

ROOT = Path(__file__).resolve().parents[2]
COMPUTED = {"waits_for", "held"}


@pytest.fixture
def filled(cli: Cli, repo: Repo) -> Cli:
    """A queue with two tasks, one of which waits for the other."""
    common = ("--repo", str(repo.path), "--task", "Work", "--agent-command", "true")
    cli("add", "--id", "A", *common)
    cli("add", "--id", "B", *common, "--after", "A")
    return cli


def test_what_is_exported_is_what_status_shows_but_for_what_is_computed(filled: Cli) -> None:
    exported = [json.loads(line) for line in filled("export").out.splitlines()]
    shown = filled("status", "--json").json
    assert exported == [{name: task[name] for name in task if name not in COMPUTED} for task in shown]


def test_a_queue_is_moved_through_a_pipe(filled: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exported = filled("export", "b", "A").out
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(exported.encode())))
    said = filled("import", "-", "--queue", str(tmp_path / "other"))
    assert (said.code, said.out.splitlines()[0]) == (0, "Imported 2 tasks")
    assert filled("export", "--queue", str(tmp_path / "other")).out == exported


def test_an_export_goes_to_a_new_file_and_overwrites_none(filled: Cli, tmp_path: Path) -> None:
    assert (filled("export", "--out", "t.jsonl").code, filled("export").out) == (
        0,
        (tmp_path / "t.jsonl").read_text(encoding="utf-8"),
    )
    said = filled("export", "A", "--out", "t.jsonl")
    assert said.code == 2
    assert "t.jsonl is there already, and nothing is overwritten" in said.err
    assert (
        filled("export", "nobody").err
        == "error: there is no task 'nobody' in this queue; list them with: taskq status\n"
    )
    assert filled("export", "--out", "no/such/folder.jsonl").code == 3


def test_damage_is_told_with_exit_code_4_and_the_rest_is_written(filled: Cli, tmp_path: Path) -> None:
    journal = tmp_path / "queue/tasks.jsonl"
    journal.write_bytes(journal.read_bytes().replace(b'"id":"A"', b'"id":"X"'))
    said = filled("export")
    assert said.code == 4
    assert [json.loads(line)["id"] for line in said.out.splitlines()] == ["B"]
    assert said.err == "warning: line 2 of the journal: bad checksum\n"


def test_an_import_says_what_it_mapped_kept_changed_and_left_out(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "old/queue").mkdir(parents=True)
    (tmp_path / "old/task one.md").write_text("---\nrepo: /r\n---\nFix it\n", encoding="utf-8")
    plain = {
        "id": "task one", "repo": "/r", "base": "main", "task_file": "task one.md", "status": "building", "attempt": 0,
        "container": "0123456789ab", "port": 30000, "session_id": "", "branch": "task/one", "worktree_path": "",
        "error_file": "", "created_at": "2026-03-01T10:00:00+00:00", "updated_at": "2026-03-01T10:00:00",
        "opencode_attempt_dir": "", "opencode_config_dir": "", "opencode_data_dir": "", "ours": {"x": 1},
    }  # fmt: skip
    source = tmp_path / "old/queue/tasks.jsonl"
    source.write_text(json.dumps(plain) + "\n", encoding="utf-8")
    refused = cli("import", str(source))
    assert refused.code == 2
    assert "tasks.jsonl:1: 'task one' is no task id" in refused.err
    assert not (tmp_path / "queue").exists()
    rehearsed = cli("import", str(source), "--rename", "--dry-run")
    assert not (tmp_path / "queue").exists()
    said = cli("import", str(source), "--rename")
    assert rehearsed.out == said.out.replace("Imported", "Would import")
    assert said.out.splitlines() == [
        "Imported 1 task",
        "  renamed 'task one' to task-one",
        "  mapped: id 1, status 1, repo 1, base 1, branch 1, task_file 1, attempt 1, created_at 1, updated_at 1",
        "  kept, though taskq does not know it: container 1, port 1, ours 1, imported_id 1",
        "  changed in 1: attempt: one more, as it counted retries",
        "  changed in 1: text: read from its task file",
        "  changed in 1: agent: set to opencode, from the configuration",
        "  changed in 1: sandbox: set to local, from the configuration",
        "  changed in 1: network: set to open, from the configuration",
        "  changed in 1: status: building became failed, as its runner is elsewhere",
    ]
    assert cli("retry", "task-one").code == 0
    assert (cli("show", "task-one", "--json").json["status"], cli("status").code) == ("todo", 0)
    again = cli("import", str(source), "--rename", "--skip-existing")
    assert again.out == "Imported 0 tasks\n  left out, as they are here: task-one\n"
    assert "--skip-existing" in cli("import", str(source), "--rename").err


def test_an_imported_plain_task_is_run_like_any_other(cli: Cli, repo: Repo, tmp_path: Path) -> None:
    plain = {
        "id": "old", "repo": str(repo.path), "base": "main", "task_file": "old.md", "status": "todo", "attempt": 0,
        "created_at": "2026-03-01T10:00:00+00:00", "updated_at": "2026-03-01T10:00:00", "branch": "",
        "agent": "command", "agent_command": "echo done > done",
    }  # fmt: skip
    (tmp_path / "in.jsonl").write_text(json.dumps(plain), encoding="utf-8")
    (tmp_path / "old.md").write_text("Do it\n", encoding="utf-8")
    assert cli("import", "in.jsonl").code == 0
    assert cli("run").code == 0
    assert cli("show", "old", "--json").json["status"] == "review"
    assert b"+done" in cli("diff", "old").out.encode()


def test_json_keeps_to_the_schema(filled: Cli, tmp_path: Path) -> None:
    filled("export", "--out", "t.jsonl")
    check(filled("import", "t.jsonl", "--queue", "other", "--json").json, "imported")
    assert json.loads(filled("import", "t.jsonl", "--json").err)["error"]["code"] == "duplicate_task"
    assert json.loads(filled("import", "none.jsonl", "--json").err)["error"]["code"] == "no_file"


@pytest.mark.parametrize(("wait", "shown"), [("0", True), ("1000", False)])
def test_who_waits_at_a_terminal_sees_a_count_which_goes_again(
    wait: str,
    shown: bool,  # noqa: FBT001 -- a table's column
    filled: Cli,
    tmp_path: Path,
) -> None:
    main, terminal = pty.openpty()
    program = (
        "import sys; from orchestration.cli import tally; from orchestration.cli.main import run; "
        f"tally._PATIENCE = {wait}; tally._PAUSE = 0; sys.exit(run(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", program, "--queue", str(tmp_path / "queue"), "export"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=terminal, check=True, timeout=60)
    os.close(terminal)
    try:
        told = os.read(main, 4096)
    except OSError:  # nothing was written, and the other end is closed
        told = b""
    os.close(main)
    assert len(done.stdout.splitlines()) == 2
    assert told == (b"\r\x1b[K1 tasks\r\x1b[K2 tasks\r\x1b[K" if shown else b"")


def test_a_reader_who_has_seen_enough_is_no_error(filled: Cli, tmp_path: Path, journal: Callable[[], bytes]) -> None:
    exported = filled("export", "A").out.encode().strip()
    many = [json.dumps({**json.loads(exported), "id": f"n{number}"}) for number in range(2000)]
    (tmp_path / "many.jsonl").write_text("\n".join(many), encoding="utf-8")
    filled("import", "many.jsonl")
    script = f"{sys.executable} -m orchestration --queue {tmp_path / 'queue'} export | head -n 1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", script], cwd=ROOT, capture_output=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout)["id"] == "A"
