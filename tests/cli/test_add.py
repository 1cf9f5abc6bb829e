"""What `add` makes of flags, files and streams."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestration.core.drafts import TaskDraft
from orchestration.store.given import spell
from orchestration.store.task_files import parse_task_file
from tests.cli.conftest import Cli
from tests.journeys.shell import Repo

NOW = datetime(2026, 1, 1, tzinfo=UTC)
WORDS = st.text(st.characters(exclude_categories=("C", "Z"), exclude_characters=","), min_size=1, max_size=20)


def test_flags_beat_front_matter_which_beats_config(cli: Cli, repo: Repo, tmp_path: Path) -> None:
    (tmp_path / "queue").mkdir()
    (tmp_path / "queue/config.toml").write_text(
        'model = "config"\npriority = 1\nagent_command = "config"\n[limits]\nbuild = "1m"\nplan = "2m"\n',
        encoding="utf-8",
    )
    (tmp_path / "task.md").write_text(
        f"---\nrepo: {repo.path}\nmodel: file\npriority: 2\nlimits: {{build: 3m}}\n---\nDo it\n", encoding="utf-8"
    )
    (task,) = cli("add", "--task-file", "task.md", "--priority", "3", "--limit", "output=1MB", "--json").json
    assert (task["priority"], task["model"], task["agent_command"]) == (3, "file", "config")
    assert (task["limits"]["build"], task["limits"]["plan"], task["limits"]["output"]) == (180, 120, 2**20)
    assert task["limits"]["collect"] == 600


@pytest.mark.parametrize(
    ("configured", "written", "flags", "variant"),
    [
        ('variant = "config"', "", (), "config"),
        ('variant = "config"', "variant: file\n", (), "file"),
        ('variant = "config"', "variant: file\n", ("--variant", "flag"), "flag"),
        ("", "", (), None),
    ],
)
def test_the_variant_of_a_model_is_said_by_flag_front_matter_or_config(
    cli: Cli, repo: Repo, tmp_path: Path, configured: str, written: str, flags: tuple[str, ...], variant: str | None
) -> None:
    (tmp_path / "queue").mkdir()
    (tmp_path / "queue/config.toml").write_text(f'agent_command = "true"\n{configured}\n', encoding="utf-8")
    (tmp_path / "task.md").write_text(f"---\nrepo: {repo.path}\n{written}---\nDo it\n", encoding="utf-8")
    (task,) = cli("add", "--task-file", "task.md", *flags, "--json").json
    assert task["variant"] == variant


def test_what_a_sandbox_reaches_and_may_use_is_said_by_flag_or_front_matter(
    cli: Cli, repo: Repo, tmp_path: Path
) -> None:
    (tmp_path / "task.md").write_text(
        f"---\nrepo: {repo.path}\nagent_command: x\nsandbox: docker\nnetwork: none\nlimits: {{memory: 2G, cpus: 0.5}}\n"
        "---\nDo it\n",
        encoding="utf-8",
    )
    flags = ("--network", "open", "--limit", "pids=64")
    (plain,) = cli("add", "--task-file", "task.md", "--id", "A", "--json").json
    (flagged,) = cli("add", "--task-file", "task.md", "--id", "B", *flags, "--json").json
    assert (plain["sandbox"], plain["network"], flagged["network"]) == ("docker", "none", "open")
    assert (plain["limits"]["memory"], plain["limits"]["cpus"], plain["limits"]["pids"]) == (2 * 1024**3, 0.5, 512)
    assert (flagged["limits"]["memory"], flagged["limits"]["pids"]) == (2 * 1024**3, 64)


def test_what_is_to_know_of_a_repository_is_warned_of_once_and_the_task_is_added(cli: Cli, repo: Repo) -> None:
    repo.write(".gitmodules", "[submodule]\n")
    repo.commit("Submodules")
    for_both = "".join(
        f'{{"id": "{name}", "repo": "{repo.path}", "task": "x", "agent_command": "true"}}\n' for name in "ab"
    )
    Path("many.jsonl").write_text(for_both, encoding="utf-8")
    said = cli("add", "--from", "many.jsonl")
    assert said.out.count("Task added") == 2
    assert said.err.count("warning: ") == said.err.count("has submodules") == 1


def test_an_inline_task_is_kept_as_given_for_people(cli: Cli, repo: Repo, tmp_path: Path) -> None:
    cli(
        "add", "--id", "T-1", "--repo", str(repo.path), "--task", "Fix: it\n---\nnow", "--agent-command", "true",
        "--label", "a,b", "--limit", "build=90s", "--not-before", "2030-01-01T00:00Z", "--no-allow-empty",
    )  # fmt: skip
    path = tmp_path / "queue/tasks/T-1.md"
    read = parse_task_file("T-1.md", path.read_bytes(), now=NOW)
    assert (read.id, read.text, read.labels, read.allow_empty) == ("T-1", "Fix: it\n---\nnow", ("a", "b"), False)
    assert cli("show", "T-1", "--json").json["task_file"] == str(path)


def test_a_refused_task_leaves_no_file_behind(cli: Cli, repo: Repo, tmp_path: Path) -> None:
    cli("add", "--id", "T-1", "--repo", str(repo.path), "--task", "x", "--agent-command", "true")
    before = (tmp_path / "queue/tasks/T-1.md").read_bytes()
    again = ("--repo", str(repo.path), "--task", "other", "--agent-command", "true")
    assert cli("add", "--id", "T-1", *again).code == 2
    assert cli("add", "--id", "T-2", *again, "--after", "nobody").code == 2
    assert (tmp_path / "queue/tasks/T-1.md").read_bytes() == before
    assert not (tmp_path / "queue/tasks/T-2.md").exists()


def test_a_bulk_add_keeps_no_files(cli: Cli, repo: Repo, tmp_path: Path) -> None:
    documents = "".join(
        f"---\nid: n{number}\nrepo: {repo.path}\nagent_command: 'true'\n---\nTask {number}\n" for number in range(3)
    )
    (tmp_path / "many.md").write_text(documents, encoding="utf-8")
    assert cli("add", "--from", "many.md").out.count("Task added") == 3
    assert list((tmp_path / "queue/tasks").iterdir()) == []


def test_a_file_that_is_in_place_already_is_registered(cli: Cli, repo: Repo, tmp_path: Path) -> None:
    cli("init", "queue")
    path = tmp_path / "queue/tasks/T-9.md"
    content = f"---\nrepo: {repo.path}\nagent_command: 'true'\n---\nText\n".encode()
    path.write_bytes(content)
    (task,) = cli("add", "--task-file", str(path), "--json").json
    assert (task["id"], task["task_file"]) == ("T-9", str(path))
    assert path.read_bytes() == content


def test_numbers_and_dates_stay_strings(cli: Cli, repo: Repo, tmp_path: Path) -> None:
    (tmp_path / "x.md").write_text(
        f"---\nid: 0123\ntitle: 12:30:45\nmodel: 1.10\nlabels: [yes, 2026-01-01]\n"
        f"repo: {repo.path}\nagent_command: on\n---\nx\n",
        encoding="utf-8",
    )
    (task,) = cli("add", "--task-file", "x.md", "--json").json
    assert (task["id"], task["title"], task["model"], task["agent_command"]) == ("0123", "12:30:45", "1.10", "on")
    assert task["labels"] == ["yes", "2026-01-01"]


def test_a_removed_id_may_be_used_again_and_its_attempts_go_on(
    cli: Cli, repo: Repo, journal: Callable[[], bytes]
) -> None:
    task = ("--repo", str(repo.path), "--task", "x", "--agent-command", "echo x > x")
    cli("add", "--id", "T-1", *task)
    cli("run")
    assert cli("remove", "T-1").code == 0
    assert b'"removed":true' in journal()
    cli("add", "--id", "T-1", *task)
    cli("run")
    assert cli("show", "T-1", "--json").json["attempt"] == 2


@given(WORDS, WORDS, st.lists(WORDS, min_size=1, unique=True), WORDS)
def test_a_spelled_draft_reads_as_it_was(title: str, model: str, labels: list[str], text: str) -> None:
    draft = TaskDraft(id="x", title=title, model=model, labels=tuple(labels), text=text, allow_empty=True)
    read = parse_task_file("x.md", spell(draft), now=NOW)
    assert read._replace(source=None, stem=None) == draft
