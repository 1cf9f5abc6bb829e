"""The command line in this process: quick, with its own HOME, queue and repository."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from orchestration.cli.main import run
from tests.journeys.shell import Repo


@dataclass(frozen=True)
class Said:
    """What a command said, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Return stdout as JSON."""
        return json.loads(self.out)


Cli = Callable[..., Said]


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    """A repository with one commit on main."""
    made = Repo(tmp_path / "project")
    made.path.mkdir()
    made.git("init", "--quiet", "--initial-branch=main")
    made.write("README.md", "# project\n")
    made.commit("Start")
    return made


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Return a function that runs one command line."""
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TASKQ_QUEUE", str(tmp_path / "queue"))
    monkeypatch.setenv("TASKQ_DEFAULT_SANDBOX", "local")
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> Said:
        capsys.readouterr()
        code = run(list(arguments))
        out, err = capsys.readouterr()
        return Said(code, out, err)

    return call


@pytest.fixture
def journal(tmp_path: Path) -> Callable[[], bytes]:
    """Return a function that reads the journal's bytes."""

    def read() -> bytes:
        path = tmp_path / "queue" / "tasks.jsonl"
        return path.read_bytes() if path.exists() else b""

    return read
