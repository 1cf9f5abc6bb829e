"""An operator whose OpenCode knows a fake model: the real program in real containers, through the command line."""

import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.journeys.containers import AWAIT_GATE, OWN, Docked
from tests.model.replies import Answer, Asked, Reply, do_as_told
from tests.model.server import FakeModel, config

HOLD = f"run {AWAIT_GATE}"
"""A line of a task: the agent waits inside until `Docked.open_gate`."""


@dataclass(frozen=True)
class Desk:
    """taskq with docker, the fake model, and the operator's OpenCode."""

    docked: Docked
    model: FakeModel

    @property
    def home(self) -> Path:
        return Path(self.docked.taskq.environment["HOME"])

    def configure(self, content: Mapping[str, Any]) -> Path:
        """Write the operator's ``opencode.json``; return its path."""
        return self.write(".config/opencode/opencode.json", json.dumps(content))

    def write(self, name: str, text: str) -> Path:
        """Write a file of the operator's home."""
        path = self.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def add(self, text: str, *flags: str, identifier: str = OWN) -> None:
        """Queue a task; the text's lines say what the agent does."""
        common = ("--id", identifier, "--repo", str(self.docked.repo.path), "--agent", "opencode")
        self.docked.taskq.run("add", *common, "--task", text, *flags)

    def paths(self, identifier: str = OWN) -> list[str]:
        """Return what the task's revision changes."""
        revision = self.docked.task(identifier)["revision"]
        return [] if revision is None else [change["path"] for change in revision["files"]]

    def branch(self, name: str, files: Mapping[str, str]) -> str:
        """Commit *files* on a branch of their own; return its name."""
        repo = self.docked.repo
        repo.git("switch", "--quiet", "--create", name)
        for path, content in files.items():
            repo.write(path, content)
        repo.commit(f"Make {name}")
        repo.git("switch", "--quiet", "main")
        return name


@pytest.fixture
def desk(docked: Docked) -> Iterator[Desk]:
    with FakeModel() as model:
        made = Desk(docked, model)
        made.configure(config(model.url))
        yield made


def by_task(answers: Mapping[str, Answer]) -> Answer:
    """Return an answer that is the one of the task whose text holds the name; the others do as they are told."""

    def answer(asked: Asked) -> Reply:
        said = json.dumps(asked.messages)
        found = next((each for name, each in answers.items() if f"<{name}>" in said), do_as_told)
        return found(asked)

    return answer


def script(command: str) -> str:
    """Return a line of a task that has the agent's shell run *command*, in one line whatever is in it."""
    return f"run sh -c {shlex.quote(command)}"
