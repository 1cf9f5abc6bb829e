"""The main job, through the command line: from a task in a file to a landed commit."""

from pathlib import Path

from tests.journeys.shell import Repo, Taskq

FIX = "sed -i s/41/42/ src/app.py"


def test_a_task_in_a_file_becomes_a_landed_commit(taskq: Taskq, repo: Repo, tmp_path: Path) -> None:
    given = tmp_path / "fix answer.md"
    content = f"---\nrepo: {repo.path}\nagent_command: {FIX}\npriority: 2\nlabels: [bug]\n---\nThe answer is 42.\n"
    given.write_text(content, encoding="utf-8")
    before = repo.git("rev-parse", "main")

    added = taskq.json("add", "--task-file", str(given))
    assert [task["id"] for task in added] == ["fix-answer"]
    assert (tmp_path / "queue/tasks/fix-answer.md").read_text(encoding="utf-8") == content
    assert given.read_text(encoding="utf-8") == content

    ran = taskq.run("run")
    assert "fix-answer: review" in ran.stdout

    task = taskq.task("fix-answer")
    assert (task["status"], task["attempt"], task["held"]) == ("review", 1, False)
    assert [change["path"] for change in task["revision"]["files"]] == ["src/app.py"]
    assert repo.git("rev-parse", "main") == before
    assert repo.git("rev-parse", "task/fix-answer") == task["revision"]["commit"]
    assert repo.git("status", "--porcelain") == ""
    worktree = Path(task["worktree_path"])
    assert "42" in (worktree / "src/app.py").read_text(encoding="utf-8")

    assert "+    return 42" in taskq.run("diff", "fix-answer").stdout
    brief = taskq.run("review", "fix-answer").stdout
    assert "M src/app.py +1 -1" in brief
    assert "+    return 42" in brief

    taskq.run("approve", "fix-answer", "--land", "ff")
    assert repo.git("rev-parse", "main") == task["revision"]["commit"]
    assert "42" in (repo.path / "src/app.py").read_text(encoding="utf-8")
    assert repo.git("status", "--porcelain") == ""
    done = taskq.task("fix-answer")
    assert done["status"] == "done"
    assert done["landed"]["commit"] == task["revision"]["commit"]

    taskq.run("cleanup")
    cleaned = taskq.task("fix-answer")
    assert (cleaned["worktree_path"], cleaned["branch"], cleaned["run"]) == (None, None, None)
    assert not worktree.exists()
    assert not Path(task["run"]["folder"]).exists()
    assert "task/fix-answer" not in repo.git("branch", "--list", "--all")
    assert repo.git("worktree", "list", "--porcelain").count("worktree ") == 1
    assert repo.git("rev-parse", task["revision"]["ref"]) == task["revision"]["commit"]
    assert taskq.run("cleanup").stdout == taskq.run("cleanup").stdout


def test_what_the_agent_left_uncommitted_is_collected_and_what_is_ignored_is_not(taskq: Taskq, repo: Repo) -> None:
    command = (
        "echo new > added.txt; echo x > noise.log; rm README.md; git add -A; git commit -qm half; echo 43 >> src/app.py"
    )
    taskq.run("add", "--id", "T-1", "--repo", str(repo.path), "--task", "Do it", "--agent-command", command)
    taskq.run("run")
    files = {change["path"]: change["status"] for change in taskq.task("T-1")["revision"]["files"]}
    assert files == {"added.txt": "A", "README.md": "D", "src/app.py": "M"}


def test_an_agent_that_changes_nothing_fails_unless_that_is_allowed(taskq: Taskq, repo: Repo) -> None:
    common = ("--repo", str(repo.path), "--task", "Do nothing", "--agent-command", "true")
    taskq.run("add", "--id", "strict", *common)
    taskq.run("add", "--id", "lax", *common, "--allow-empty")
    taskq.run("run", code=1)
    strict = taskq.task("strict")
    assert (strict["status"], strict["error"]["code"], strict["error"]["stage"]) == ("failed", "no_changes", "collect")
    assert taskq.task("lax")["status"] == "review"
    taskq.run("approve", "lax")
    assert taskq.task("lax")["status"] == "done"


def test_a_failed_agent_leaves_a_report_its_work_and_can_be_retried(taskq: Taskq, repo: Repo) -> None:
    command = f"{FIX}; echo out-word; echo err-word >&2; exit 7"
    taskq.run("add", "--id", "T-1", "--repo", str(repo.path), "--task", "Fix", "--agent-command", command)
    ran = taskq.run("run", code=1)
    assert "T-1: failed" in ran.stdout
    failed = taskq.task("T-1")
    error = failed["error"]
    assert (error["stage"], error["code"], error["exit_code"]) == ("build", "agent_failed", 7)
    report = Path(error["report"]).read_text(encoding="utf-8")
    assert "out-word" in report
    assert "err-word" in report
    assert "err-word" in taskq.run("logs", "T-1").stdout
    assert "+    return 42" in taskq.run("diff", "T-1").stdout

    assert "attempt 2 is next" in taskq.run("retry", "--id", "T-1").stdout
    again = taskq.task("T-1")
    assert (again["status"], again["error"], again["run"]) == ("todo", None, None)
    assert again["branch"] == failed["branch"]
    taskq.run("run", code=1)
    twice = taskq.task("T-1")
    assert twice["attempt"] == 2
    assert twice["revision"]["ref"].endswith("/T-1/2.1")
    assert repo.git("rev-parse", failed["revision"]["ref"]) == failed["revision"]["commit"]


def test_many_tasks_from_one_stream_run_in_parallel_and_each_ends_in_review(taskq: Taskq, repo: Repo) -> None:
    lines = "".join(
        f'{{"id": "n{number}", "repo": "{repo.path}", "task": "Write {number}", '
        f'"agent_command": "echo {number} > file-{number}"}}\n'
        for number in range(6)
    )
    assert taskq.run("add", "--from", "-", text=lines).stdout.count("Task added") == 6
    taskq.run("run", "--max-parallel", "3")
    assert {task["status"] for task in taskq.json("status")} == {"review"}
    assert len({task["revision"]["commit"] for task in taskq.json("status")}) == 6


def test_priority_goes_first_and_a_dependency_waits_for_done(taskq: Taskq, repo: Repo) -> None:
    common = ("--repo", str(repo.path), "--task", "Work", "--agent-command", "date +%N > stamp")
    taskq.run("add", "--id", "low", *common)
    taskq.run("add", "--id", "high", *common, "--priority", "5")
    taskq.run("add", "--id", "child", *common, "--after", "low")
    ran = taskq.run("run", "--max-parallel", "1").stdout
    assert ran.index("high: started") < ran.index("low: started")
    assert "child" not in ran
    assert taskq.task("child")["waits_for"] == "after low (review)"
    refused = taskq.run("run", "--id", "child", code=3)
    assert "child waits: after low (review)" in refused.stderr
    taskq.run("approve", "low")
    taskq.run("run")
    assert taskq.task("child")["status"] == "review"


def test_a_dirty_run_starts_from_what_was_collected_and_changed_since(taskq: Taskq, repo: Repo) -> None:
    command = "test -f seen && echo found >> seen; echo first >> seen; exit 1"
    taskq.run("add", "--id", "T-1", "--repo", str(repo.path), "--task", "Work", "--agent-command", command)
    taskq.run("run", code=1)
    worktree = Path(taskq.task("T-1")["worktree_path"])
    (worktree / "by-hand.txt").write_text("mine\n", encoding="utf-8")
    taskq.run("retry", "T-1")

    taskq.run("run", code=1)
    refused = taskq.task("T-1")
    assert refused["error"]["code"] == "dirty_worktree"
    assert "--dirty-run" in refused["error"]["message"]
    assert (worktree / "by-hand.txt").exists()

    taskq.run("retry", "T-1")
    taskq.run("run", "--id", "T-1", "--dirty-run", code=1)
    files = {change["path"] for change in taskq.task("T-1")["revision"]["files"]}
    assert files == {"seen", "by-hand.txt"}
    assert "+found" in taskq.run("diff", "T-1").stdout


def test_cancel_ends_what_runs_and_keeps_its_work(taskq: Taskq, repo: Repo) -> None:
    command = f"{FIX}; echo ready; sleep 1000"
    taskq.run("add", "--id", "T-1", "--repo", str(repo.path), "--task", "Hang", "--agent-command", command)
    runner = taskq.popen("run", "--follow")
    try:
        assert runner.stdout is not None
        assert any("ready" in line for line in runner.stdout)
        taskq.run("cancel", "T-1")
        assert not taskq.task("T-1")["held"]
        runner.communicate(timeout=30)
    finally:
        runner.kill()
        runner.wait()
    task = taskq.task("T-1")
    assert task["status"] == "cancelled"
    assert [change["path"] for change in task["revision"]["files"]] == ["src/app.py"]


def test_the_demo_runs_three_tasks_and_leaves_nothing_behind(taskq: Taskq, tmp_path: Path) -> None:
    played = Taskq({**taskq.environment, "TMPDIR": str(tmp_path / "tmp")}, tmp_path)
    (tmp_path / "tmp").mkdir()
    shown = played.run("demo").stdout
    assert shown.count("its tests fail on the base, and pass on what came back") == 3
    assert shown.count(": review after") == 3
    assert "landed: main is now" in shown
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_piped_diff_can_be_applied_binary_files_included(taskq: Taskq, repo: Repo) -> None:
    command = "head -c 4096 /dev/urandom > noise.bin; rm README.md"
    taskq.run("add", "--id", "T-1", "--repo", str(repo.path), "--task", "Work", "--agent-command", command)
    taskq.run("run")
    (repo.path.parent / "work.patch").write_text(taskq.run("diff", "T-1").stdout, encoding="utf-8")
    repo.git("apply", "--index", str(repo.path.parent / "work.patch"))
    assert repo.git("write-tree") == repo.git("rev-parse", "task/t-1^{tree}")
