"""`backup` and `restore` as an operator has them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.cli.test_json import check
from tests.journeys.shell import Repo

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def filled(cli: Cli, repo: Repo) -> Cli:
    """A queue with a task."""
    cli("add", "--id", "A", "--repo", str(repo.path), "--task", "Work", "--agent-command", "true")
    return cli


def test_a_queue_is_backed_up_lost_and_restored(filled: Cli, tmp_path: Path) -> None:
    before = filled("status", "--json").json
    said = filled("backup", "b.tar.gz")
    assert (said.code, said.out.splitlines()[0]) == (0, "Backup written: b.tar.gz")
    assert ": 1 tasks, up to change 2, " in said.out
    assert "not in it: attempts, and the repositories with refs/taskq/" in said.out
    (tmp_path / "queue").rename(tmp_path / "lost")
    restored = filled("restore", "b.tar.gz")
    assert restored.out.splitlines()[0] == f"Queue restored: {tmp_path / 'queue'}"
    assert "Never run both" in restored.out
    assert filled("status", "--json").json == before
    assert filled("fsck").code == 0


def test_a_queue_that_is_there_is_never_overwritten(filled: Cli, tmp_path: Path) -> None:
    filled("backup", "b.tar")
    said = filled("restore", "b.tar")
    assert (said.code, said.out) == (2, "")
    assert "queue is there and not empty; name a folder that is not there yet" in said.err
    assert filled("backup", "b.tar").code == 2


def test_a_restored_queue_has_the_id_and_the_changes_of_the_other(filled: Cli, tmp_path: Path) -> None:
    filled("backup", "b.tar")
    made = filled("restore", "b.tar", "--queue", str(tmp_path / "twin"), "--json").json
    check(made, "restored")
    assert made["folder"] == str(tmp_path / "twin")
    assert (
        made["queue"]
        == filled("fsck", "--json").json["queue"]
        == filled("fsck", "--queue", "twin", "--json").json["queue"]
    )


def test_damage_has_to_be_asked_for_and_is_told_again_when_it_is_restored(filled: Cli, tmp_path: Path) -> None:
    journal = tmp_path / "queue/tasks.jsonl"
    filled("cancel", "A")
    journal.write_bytes(journal.read_bytes().replace(b'"id":"A"', b'"id":"X"', 1))
    refused = filled("backup", "b.tar")
    assert refused.code == 4
    assert "line 2 of the journal: bad checksum" in refused.err
    taken = filled("backup", "b.tar", "--damaged", "--json")
    assert taken.code == 0
    assert taken.err.startswith("warning: backed up as it is: line 2 of the journal: bad checksum")
    check(taken.json, "backup")
    restored = filled("restore", "b.tar", "--queue", "twin")
    assert restored.code == 0
    assert "mend it with: taskq fsck --repair" in restored.err
    assert filled("fsck", "--queue", "twin").code == 4


def test_what_cannot_be_is_told_by_its_exit_code(filled: Cli, tmp_path: Path) -> None:
    (tmp_path / "bad.tar").write_bytes(b"no archive")
    assert filled("restore", "bad.tar", "--queue", "twin").code == 4
    assert filled("restore", "none.tar", "--queue", "twin").code == 2
    assert filled("backup", "b.zip").code == 2
    assert filled("backup", "no/such/b.tar").code == 3
    assert filled("backup", "b.tar", "--queue", "nowhere").code == 2
    assert sorted(path.name for path in tmp_path.glob("*.tar")) == ["bad.tar"]
    assert not (tmp_path / "twin").exists()


def test_doctor_says_what_the_queue_is_on(filled: Cli, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "orchestration", "--queue", str(tmp_path / "queue"), "doctor", "--json"]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, check=False, timeout=60)
    (found,) = [health for health in json.loads(said.stdout) if health["name"] == "file system"]
    assert found["usable"]
    assert found["detail"]
