"""Bad input: one line that says what, which and what would help; the designed exit code; the queue unchanged."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Cli, Said
from tests.journeys.shell import Repo


def refused(said: Said, code: int, *words: str) -> None:
    assert said.code == code, said
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1
    assert not said.err.rstrip("\n").endswith(".")
    assert all(word in said.err for word in words), said.err


def add(cli: Cli, repo: Repo, identifier: str = "T-1", *more: str) -> Said:
    return cli("add", "--id", identifier, "--repo", str(repo.path), "--task", "Do it", "--agent-command", "true", *more)


@pytest.mark.parametrize("identifier", ["..", "-x", "a/b", "a\x1b[2J", "x" * 300, "../../evil", "", "a b", "T.lock"])
def test_a_bad_id_is_refused(cli: Cli, repo: Repo, journal: Callable[[], bytes], identifier: str) -> None:
    refused(add(cli, repo, f"{identifier}"), 2, "is no task id", "use 1 to 64")
    assert journal() == b""


def test_an_id_that_is_taken_is_refused_ignoring_case(cli: Cli, repo: Repo, journal: Callable[[], bytes]) -> None:
    assert add(cli, repo, "T-1").code == 0
    before = journal()
    refused(add(cli, repo, "t-1"), 2, "t-1")
    assert journal() == before


def test_a_folder_that_is_no_repository_is_refused(cli: Cli, tmp_path: Path, journal: Callable[[], bytes]) -> None:
    (tmp_path / "plain").mkdir()
    said = cli("add", "--id", "T", "--repo", "plain", "--task", "x", "--agent-command", "true")
    refused(said, 2, "plain")
    assert journal() == b""


def test_a_missing_repository_is_refused(cli: Cli) -> None:
    refused(cli("add", "--id", "T", "--repo", "nowhere", "--task", "x", "--agent-command", "true"), 2, "nowhere")


def test_a_base_that_does_not_exist_is_refused_and_near_ones_are_named(cli: Cli, repo: Repo) -> None:
    refused(add(cli, repo, "T", "--base", "mian"), 2, "mian", "main")


@pytest.mark.parametrize("base", ["--upload-pack=x", "-oProxyCommand=x", "main..x", "a b", "\x1b"])
def test_a_base_that_is_no_name_is_refused(cli: Cli, repo: Repo, base: str) -> None:
    refused(add(cli, repo, "T", f"--base={base}"), 2)


@pytest.mark.parametrize("text", ["", "   \n  "])
def test_an_empty_task_is_refused(cli: Cli, repo: Repo, text: str) -> None:
    said = cli("add", "--id", "T", "--repo", str(repo.path), "--task", text, "--agent-command", "true")
    refused(said, 2, "task T is empty")


def test_a_branch_that_is_checked_out_is_refused(cli: Cli, repo: Repo) -> None:
    refused(add(cli, repo, "T", "--branch", "main"), 2, "main", "checked out")


@pytest.mark.parametrize("branch", ["--upload-pack=x", "a..b", "x.lock", "a b"])
def test_a_bad_branch_is_refused(cli: Cli, repo: Repo, branch: str) -> None:
    refused(add(cli, repo, "T", f"--branch={branch}"), 2, "is no branch name")


def test_a_worktree_path_that_is_taken_is_refused(cli: Cli, repo: Repo, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    refused(add(cli, repo, "T", "--worktree-path", "full"), 2, "full", "is taken")


def test_an_unknown_agent_is_refused_and_the_nearest_is_named(cli: Cli, repo: Repo) -> None:
    refused(add(cli, repo, "T", "--agent", "comand"), 2, "'comand'", "did you mean 'command'?")


def test_an_unknown_sandbox_is_refused(cli: Cli, repo: Repo) -> None:
    refused(add(cli, repo, "T", "--sandbox", "locla"), 2, "'locla'", "did you mean 'local'?")


def test_a_model_is_named_with_its_provider(cli: Cli, repo: Repo) -> None:
    plain = ("add", "--id", "T", "--repo", str(repo.path), "--task", "x", "--sandbox", "docker")
    refused(cli(*plain, "--model", "claude"), 2, "'claude'", "PROVIDER/MODEL")


def test_an_agent_that_asks_a_model_needs_a_network(cli: Cli, repo: Repo) -> None:
    plain = ("add", "--id", "T", "--repo", str(repo.path), "--task", "x", "--sandbox", "docker")
    refused(cli(*plain, "--network", "none"), 2, "--network allowlist")


def test_local_is_never_chosen_silently(cli: Cli, repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TASKQ_DEFAULT_SANDBOX")
    assert add(cli, repo, "T", "--json").json[0]["sandbox"] == "docker"


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("--priority", "high"), "high"),
        (("--limit", "build=soon"), "soon"),
        (("--limit", "buid=3m"), "did you mean 'build'"),
        (("--limit", "build"), "NAME=VALUE"),
        (("--limit", "cpus=0"), "cpus: '0' must be at least 0.01"),
        (("--limit", "memory=1G"), "the local sandbox does not limit memory; use --sandbox docker"),
        (("--network", "opne"), "'allowlist', 'none', 'open'"),
        (("--network", "none"), "the local sandbox does not limit the network"),
        (("--not-before", "tomorrow"), "tomorrow"),
        (("--after", "T-404"), "T-404"),
        (("--label", "a\x1bb"), "is no label"),
        (("--labl", "x"), "--label"),
    ],
)
def test_a_bad_flag_value_is_refused(cli: Cli, repo: Repo, arguments: tuple[str, ...], word: str) -> None:
    refused(add(cli, repo, "T", *arguments), 2, word)


@pytest.mark.parametrize(
    "arguments",
    [
        ("add",),
        ("add", "--task", "x"),
        ("add", "--task", "x", "--from", "-"),
        ("add", "--from", "-", "--id", "T"),
        ("show",),
        ("show", "A", "--id", "B"),
        ("run", "--id", "T", "--poll"),
        ("run", "--max-parallel", "0"),
        ("run", "--max-parallel", "-1"),
        ("run", "--poll", "0"),
        ("cleanup", "--done-only", "--cancelled-only"),
        ("approve", "T", "--land", "merg"),
        ("nonsense",),
        ("--nonsense",),
    ],
)
def test_a_command_line_that_makes_no_sense_is_refused(cli: Cli, arguments: tuple[str, ...]) -> None:
    refused(cli(*arguments), 2)


@pytest.mark.parametrize(
    "command", ["show", "cancel", "retry", "remove", "approve", "diff", "logs", "review", "run", "cleanup"]
)
def test_an_unknown_id_is_refused_and_near_ones_are_named(cli: Cli, repo: Repo, command: str) -> None:
    add(cli, repo, "T-100")
    refused(cli(command, "--id", "T-10"), 2, "T-10", "T-100")


@pytest.mark.parametrize("command", ["approve", "retry"])
def test_what_the_status_does_not_allow_is_refused_with_what_would_help(cli: Cli, repo: Repo, command: str) -> None:
    add(cli, repo)
    refused(cli(command, "T-1"), 2, "T-1 is todo", ";")


def test_a_task_that_others_wait_for_is_not_removed(cli: Cli, repo: Repo) -> None:
    add(cli, repo, "parent")
    add(cli, repo, "child", "--after", "parent")
    refused(cli("remove", "parent"), 2, "waited for by child")
    assert cli("remove", "child").code == 0
    assert cli("remove", "parent").code == 0
    assert cli("status", "--json").json == []


def test_a_missing_bulk_file_is_refused(cli: Cli) -> None:
    refused(cli("add", "--from", "nowhere.jsonl"), 2, "nowhere.jsonl")


def test_one_bad_task_among_many_adds_none(cli: Cli, repo: Repo, tmp_path: Path, journal: Callable[[], bytes]) -> None:
    good = f'{{"id": "a", "repo": "{repo.path}", "task": "x", "agent_command": "true"}}\n'
    (tmp_path / "many.jsonl").write_text(good + good.replace('"a"', '"b"').replace("task", "taks"), encoding="utf-8")
    refused(cli("add", "--from", "many.jsonl"), 2, "many.jsonl:2", "taks")
    (tmp_path / "many.jsonl").write_text(good + good, encoding="utf-8")
    refused(cli("add", "--from", "many.jsonl"), 2, "a")
    assert journal() == b""


@pytest.mark.parametrize(
    ("content", "line", "word"),
    [
        ("---\nrepo: .\nagnt: x\n---\ntext\n", 3, "did you mean"),
        ("---\nrepo: .\npriority: high\n---\ntext\n", 3, "priority"),
        ("---\nrepo: [a, b]\n---\ntext\n", 2, "repo"),
        ("---\nrepo: .\ntext without end\n", 1, ""),
        ("---\nrepo: .\nlimits: {build: soon}\n---\ntext\n", 3, "soon"),
    ],
)
def test_a_bad_task_file_is_named_with_its_line(cli: Cli, tmp_path: Path, content: str, line: int, word: str) -> None:
    (tmp_path / "task.md").write_text(content, encoding="utf-8")
    refused(cli("add", "--task-file", "task.md"), 2, f"task.md:{line}", word)


def test_a_file_name_that_leaves_no_id_is_refused_by_name(cli: Cli, repo: Repo, tmp_path: Path) -> None:
    (tmp_path / "---.md").write_text(f"---\nrepo: {repo.path}\nagent_command: x\n---\ntext\n", encoding="utf-8")
    refused(cli("add", "--task-file", "---.md"), 2, "---.md", "--id")


def test_a_newer_journal_is_refused_by_readers_and_writers(cli: Cli, repo: Repo, tmp_path: Path) -> None:
    add(cli, repo)
    path = tmp_path / "queue/tasks.jsonl"
    with path.open("a", encoding="utf-8") as file:
        file.write('{"seq": 3, "kind": "task", "id": "new", "rev": 1, "v": 99, "status": "todo"}\n')
    before = path.read_bytes()
    refused(cli("status"), 2, "99", "upgrade")
    refused(add(cli, repo, "T-2"), 2, "upgrade")
    assert path.read_bytes() == before


def test_a_damaged_journal_is_told_by_readers_and_refused_by_writers_until_it_is_repaired(
    cli: Cli, repo: Repo, tmp_path: Path
) -> None:
    add(cli, repo, "T-1")
    add(cli, repo, "T-2")
    path = tmp_path / "queue/tasks.jsonl"
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([lines[0], lines[1].replace(b"Do it", b"Do xx"), *lines[2:]]))
    shown = cli("status")
    assert shown.code == 0
    assert "T-2" in shown.out
    assert "line 2" in shown.err
    refused(add(cli, repo, "T-3"), 4, "line 2", "taskq fsck --repair")
    assert cli("fsck").code == 4
    assert cli("fsck", "--repair").code == 0
    assert add(cli, repo, "T-3").code == 0
    assert [task["id"] for task in cli("status", "--json").json] == ["T-2", "T-3"]


def test_a_queue_that_cannot_be_written_is_an_error_that_names_it(
    cli: Cli, repo: Repo, tmp_path: Path, journal: Callable[[], bytes], capability: Callable[[str], None]
) -> None:
    capability("mount")
    add(cli, repo, "T-1")
    before = journal()
    queue = tmp_path / "queue"
    subprocess.run(["mount", "--bind", queue, queue], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", queue], check=True)
        refused(add(cli, repo, "T-2"), 3, str(queue))
        assert cli("status").code == 0
    finally:
        subprocess.run(["umount", "--lazy", queue], check=True)
    assert journal() == before


def test_a_full_disk_loses_nothing_and_says_so(
    cli: Cli, repo: Repo, tmp_path: Path, journal: Callable[[], bytes], capability: Callable[[str], None]
) -> None:
    capability("mount")
    queue = tmp_path / "queue"
    queue.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", queue], check=True)
    try:
        assert add(cli, repo, "T-1").code == 0
        filler = queue / "filler"
        with filler.open("wb") as file:
            room = os.statvfs(queue)
            file.write(b"x" * (room.f_bavail * room.f_bsize))
        before = journal()
        large = cli("add", "--id", "T-2", "--repo", str(repo.path), "--task", "x" * 8000, "--agent-command", "true")
        refused(large, 3, "full")
        assert journal() == before
        filler.unlink()
        assert add(cli, repo, "T-2").code == 0
        assert [task["id"] for task in cli("status", "--json").json] == ["T-1", "T-2"]
    finally:
        subprocess.run(["umount", "--lazy", queue], check=True)


def test_with_json_an_error_is_an_object_on_stderr(cli: Cli) -> None:
    import json

    said = cli("show", "T-404", "--json")
    assert said.code == 2
    assert said.out == ""
    error = json.loads(said.err)["error"]
    assert error["code"] == "unknown_task"
    assert error["exit_code"] == 2
    assert "T-404" in error["message"]


def test_our_own_bug_is_a_report_and_no_traceback(cli: Cli, tmp_path: Path) -> None:
    said = cli("--queue", "no shell can pass a NUL: \0", "status")
    refused(said, 70, "taskq itself failed", "please report it")
    (report,) = (tmp_path / "home/.local/state/taskq/reports").iterdir()
    assert str(report) in said.err
    assert "Traceback" in report.read_text(encoding="utf-8")


def test_a_file_in_the_place_of_the_queue_is_an_error(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "queue").write_text("no folder", encoding="utf-8")
    refused(cli("status"), 2, "queue")


def test_a_missing_task_file_is_refused(cli: Cli) -> None:
    refused(cli("add", "--task-file", "nowhere.md"), 2, "nowhere.md")


def test_a_task_file_whose_id_is_taken_is_refused_by_name(cli: Cli, repo: Repo, tmp_path: Path) -> None:
    content = f"---\nrepo: {repo.path}\nagent_command: 'true'\n---\ntext\n"
    (tmp_path / "fix.md").write_text(content, encoding="utf-8")
    assert cli("add", "--task-file", "fix.md").code == 0
    refused(cli("add", "--task-file", "fix.md"), 2, "fix.md: ", "--id")
    (tmp_path / "fix.md").write_text(content + "other\n", encoding="utf-8")
    refused(cli("add", "--task-file", "fix.md"), 2, "fix.md: ", "--id")
    assert (tmp_path / "queue/tasks/fix.md").read_text(encoding="utf-8") == content
