"""A HOME, a repository and a queue for each journey."""

import os
from pathlib import Path

import pytest

from tests.journeys.shell import Repo, Taskq


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    """A small repository on branch main."""
    made = Repo(tmp_path / "project")
    made.path.mkdir()
    made.git("init", "--quiet", "--initial-branch=main")
    made.write("README.md", "# project\n")
    made.write("src/app.py", "def answer():\n    return 41\n")
    made.write(".gitignore", "*.log\n")
    made.commit("Start")
    return made


@pytest.fixture
def taskq(tmp_path: Path, repo: Repo) -> Taskq:
    """The command line beside the repository, with a queue that is made."""
    home = tmp_path / "home"
    home.mkdir()
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "TASKQ_QUEUE": str(tmp_path / "queue"),
        "LANG": "C.UTF-8",
        "TASKQ_DEFAULT_SANDBOX": "local",
    }
    ready = Taskq(environment, tmp_path)
    ready.run("init", str(tmp_path / "queue"))
    return ready
