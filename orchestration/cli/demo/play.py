"""Runs the demonstration on an `App` of its own, in a folder of its own."""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from typing import Final

from orchestration.assembly import App
from orchestration.cli.demo.project import BASKET_COMMAND, FILES, STOCK_PATCH, TEST_COMMAND, TEXT_SCRIPT
from orchestration.core.drafts import TaskDraft
from orchestration.core.events import Observer
from orchestration.core.models import Task
from orchestration.core.ports import discard_output
from orchestration.core.status import Status
from orchestration.engine.options import RunOptions

TIMEOUT: Final = timedelta(seconds=30)


def environment_in(folder: Path) -> dict[str, str]:
    """Return the environment with every folder of taskq's inside *folder*."""
    names = ("XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TASKQ_")}
    return kept | {name: str(folder / name.removeprefix("XDG_").removesuffix("_HOME").lower()) for name in names}


class Demo:
    """One demonstration in *folder*; *say* prints a line, *title* a heading, *show_diff* a diff."""

    def __init__(
        self,
        folder: Path,
        *,
        say: Callable[[str], None],
        title: Callable[[str], None],
        show_diff: Callable[[App, Task], None],
        watch: Callable[[], AbstractContextManager[Observer]],
    ) -> None:
        self._repo = folder / "shop"
        self._folder = folder
        self._say = say
        self._title = title
        self._show_diff = show_diff
        self._watch = watch
        self._app = App.open(str(folder / "queue"), environment=environment_in(folder))

    def play(self) -> bool:
        """Play it; return whether every task ended in review and one was landed."""
        self._title("1. A repository with three bugs")
        self._app.init(self._folder / "queue")
        self._app.make_sample_repository(self._repo, FILES)
        self._say(f"{self._repo}: {len(FILES)} files, 6 tests")

        self._title("2. Three tasks, three kinds of agent, each in a clone and a local sandbox, which needs no engine")
        tasks = self._app.add(self._drafts())
        for task in tasks:
            self._say(f"{task.id:<8} {task.agent:<9} {task.title}")

        self._title("3. taskq run")
        with self._watch() as observe:
            summary = self._app.run(RunOptions(max_parallel=3), observe=observe)

        self._title("4. What came back, and what the tests say in a second sandbox that no agent saw")
        for task in tasks:
            self._look_at(self._app.task(task.id))

        self._title("5. taskq approve stock --land ff")
        landed = self._land("stock")
        in_review = [task.status is Status.REVIEW for task in summary.settled]
        return landed and all(in_review) and len(in_review) == len(tasks)

    def _land(self, identifier: str) -> bool:
        task = self._app.task(identifier)
        if task.status is not Status.REVIEW:
            self._say(f"{identifier} is {task.status}, so there is nothing to land")
            return False
        landed = self._app.approve(identifier, land="ff").landed
        if landed is not None:
            self._say(f"landed: {landed.base} is now {landed.commit[:12]}, and its checkout came along")
        return landed is not None

    def _drafts(self) -> list[TaskDraft]:
        patch = self._folder / "stock.patch"
        patch.write_text(STOCK_PATCH, encoding="utf-8")
        repo = str(self._repo)
        return [
            TaskDraft(
                id="basket",
                repo=repo,
                sandbox="local",
                agent="command",
                agent_command=BASKET_COMMAND,
                text="A discount must make a basket cheaper.",
            ),
            TaskDraft(
                id="stock",
                repo=repo,
                sandbox="local",
                agent="oracle",
                agent_command=str(patch),
                text="Two stocks must not share their counts.",
            ),
            TaskDraft(id="text", repo=repo, sandbox="local", agent="scripted", text=TEXT_SCRIPT),
        ]

    def _look_at(self, task: Task) -> None:
        self._say("")
        if task.revision is None:
            self._say(f"{task.id}: {task.status}: {task.error.message if task.error else task.reason}")
            return
        before, after = self._tests(task, task.revision.base_commit), self._tests(task, task.revision.commit)
        self._say(f"{task.id}: its tests {before} on the base, and {after} on what came back")
        self._show_diff(self._app, task)

    def _tests(self, task: Task, commit: str) -> str:
        """Return in a word what the task's tests say of a commit, run by taskq."""
        command = (*TEST_COMMAND, f"tests.test_{task.id}")
        ended = self._app.check(task, commit, command, timeout=TIMEOUT, output=discard_output)
        return "pass" if ended.succeeded else "fail"
