"""How close the quick commands come to bare Python: whole processes, from start to end.

Guarantees: the one git process that `add` starts is measured in the same rounds and taken off, so what is left is ours.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.harness import Row, Work, command, main
from orchestration.adapters.git.environment import operator_environment, walled

TASKQ = str(Path(sys.executable).parent / "taskq")
HOW = ("--agent-command", "true", "--sandbox", "local")
TASK_FILE = """---
title: Mend the parser
repo: {repo}
priority: 3
labels: [parser, quick]
limits:
  build: 30m
---

The parser stops at the first empty line. Make it go on, and add a test.
"""


def rows(folder: Path) -> tuple[Row, ...]:
    """Return the rows; queue, repository and task files live in *folder*."""
    environ = surroundings(folder)
    repo = repository(folder / "repo", environ)
    command([TASKQ, "init", environ["TASKQ_QUEUE"]], environ=environ)()

    def git(_number: int) -> Work:
        ask = walled(
            ("-C", str(repo), "rev-parse", "--verify", "--quiet", "--end-of-options", "refs/heads/main^{commit}")
        )
        return command(ask, environ=operator_environment())

    def add(number: int) -> Work:
        what = ("--id", f"inline-{number}", "--repo", str(repo), "--base", "main", "--task", "Mend the parser")
        return command([TASKQ, "add", *what, *HOW], environ=environ)

    def add_file(number: int) -> Work:
        file = folder / f"file-{number}.md"
        file.write_text(TASK_FILE.format(repo=repo), encoding="utf-8")
        return command([TASKQ, "add", "--task-file", str(file), *HOW], environ=environ)

    bare, child = "python -c pass", "git rev-parse, as add calls it"
    return (
        Row(name=bare, prepare=lambda _number: command([sys.executable, "-c", "pass"], environ=environ)),
        Row(name=child, prepare=git),
        Row(
            name="taskq --help",
            prepare=lambda _number: command([TASKQ, "--help"], environ=environ),
            against=bare,
            at_most=6,
        ),
        Row(name="taskq add, without its git", prepare=add, against=bare, without=child, at_most=6),
        Row(name="taskq add --task-file, without its git", prepare=add_file, against=bare, without=child, at_most=8),
    )


def surroundings(folder: Path) -> dict[str, str]:
    """Return an environment that holds nothing of the operator's and lets Python keep its compiled files."""
    (folder / "home").mkdir()
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder / "home"),
        "LANG": "C.UTF-8",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "TASKQ_QUEUE": str(folder / "queue"),
    }


def repository(folder: Path, environ: dict[str, str]) -> Path:
    """Make a repository with one commit on ``main``."""
    git = shutil.which("git") or "git"
    identity = ("-c", "user.name=A Tester", "-c", "user.email=tester@example.invalid")
    for arguments in (("init", "-q", "-b", "main", str(folder)), ("-C", str(folder), *identity, "commit", "-q")):
        more = ("--allow-empty", "--message", "Start") if "commit" in arguments else ()
        subprocess.run([git, *arguments, *more], env=environ, check=True)
    return folder


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        sys.exit(main("Start-up: whole processes against bare Python", rows(Path(scratch))))
