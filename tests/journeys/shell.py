"""The command line as a person uses it: real processes and a real repository."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

GIT_IDENTITY = {
    "GIT_AUTHOR_NAME": "Operator",
    "GIT_AUTHOR_EMAIL": "operator@example.invalid",
    "GIT_COMMITTER_NAME": "Operator",
    "GIT_COMMITTER_EMAIL": "operator@example.invalid",
}


@dataclass(frozen=True)
class Taskq:
    """taskq's command line with its own HOME and queue."""

    environment: Mapping[str, str]
    cwd: Path
    patience: float = 60
    """Seconds that one command may take."""

    def run(self, *arguments: str, code: int = 0, text: str = "") -> subprocess.CompletedProcess[str]:
        """Run one command and check its exit code."""
        done = subprocess.run(
            [sys.executable, "-m", "orchestration", *arguments],
            env=self.environment,
            cwd=self.cwd,
            input=text,
            capture_output=True,
            encoding="utf-8",
            timeout=self.patience,
            check=False,
        )
        assert done.returncode == code, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def json(self, *arguments: str, code: int = 0) -> Any:
        """Run one command with --json and return what it printed."""
        return json.loads(self.run(*arguments, "--json", code=code).stdout)

    def task(self, identifier: str) -> Any:
        """Return the facts of one task."""
        return self.json("show", identifier)

    def popen(self, *arguments: str) -> "subprocess.Popen[str]":
        """Start one command and leave it running."""
        return subprocess.Popen(
            [sys.executable, "-m", "orchestration", *arguments],
            env=self.environment,
            cwd=self.cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            start_new_session=True,
        )


@dataclass(frozen=True)
class Repo:
    """The operator's repository."""

    path: Path

    def git(self, *arguments: str) -> str:
        """Run git as the operator and return what it said."""
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.path.parent),
            "GIT_CONFIG_NOSYSTEM": "1",
            **GIT_IDENTITY,
        }
        done = subprocess.run(
            ["git", "-C", str(self.path), *arguments],
            env=environment,
            capture_output=True,
            encoding="utf-8",
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"git {arguments}: {done.stderr}"
        return done.stdout.strip()

    def write(self, name: str, content: str) -> None:
        """Write a file of the checkout."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")

    def commit(self, message: str) -> str:
        """Commit everything; return the commit."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)
        return self.git("rev-parse", "HEAD")
