"""Tables and live progress for people; the only user of rich.

Guarantees: text of agents and tasks reaches the terminal with every control character spelled out, and is never read
as markup.
"""

import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Final

from rich.console import Console, Group
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from orchestration.cli.progress import PlainLines, settled_line, waiver_lines
from orchestration.core.events import (
    Observer,
    OutputSeen,
    RunEvent,
    SandboxOpened,
    StageEnded,
    StageStarted,
    TaskClaimed,
    TaskSettled,
)
from orchestration.core.models import Task
from orchestration.core.status import Status
from orchestration.support.quantities import spell_duration
from orchestration.support.text import visible_line

COLOURS: Final = {
    Status.TODO: "default",
    Status.PLANNING: "cyan",
    Status.BUILDING: "cyan",
    Status.VERIFYING: "cyan",
    Status.REVIEW: "yellow",
    Status.FAILED: "red",
    Status.DONE: "green",
    Status.CANCELLED: "bright_black",
}


def show_tasks(tasks: Sequence[Task]) -> None:
    """Print the tasks as a table, grouped by status."""
    console = Console()
    table = Table(box=None, pad_edge=False, header_style="bold", expand=True)
    widest = max(len(task.id) for task in tasks)
    table.add_column("STATUS", no_wrap=True, min_width=14)
    table.add_column("ID", no_wrap=True, overflow="ellipsis", min_width=min(widest, 24), max_width=24)
    table.add_column("TRY", justify="right", no_wrap=True, min_width=3)
    table.add_column("AGE", justify="right", no_wrap=True, min_width=5)
    table.add_column("CHANGE", no_wrap=True, min_width=min(14, max(len(_change(task)) for task in tasks)))
    table.add_column("TITLE", no_wrap=True, overflow="ellipsis", ratio=1)
    now = datetime.now(UTC)
    for status in Status:
        group = [task for task in tasks if task.status is status]
        for position, task in enumerate(group):
            name = f"{status} ({len(group)})" if position == 0 else ""
            table.add_row(
                Text(name, style=COLOURS[status]),
                Text(visible_line(task.id)),
                str(task.attempt or "-"),
                spell_duration(now - task.updated_at),
                Text(_change(task)),
                Text(_title(task)),
            )
    console.print(table)


def _change(task: Task) -> str:
    if task.revision is None:
        return "-"
    added = sum(change.added or 0 for change in task.revision.files)
    removed = sum(change.removed or 0 for change in task.revision.files)
    return f"{len(task.revision.files)}f +{added} -{removed}"


def _title(task: Task) -> str:
    why = f"{task.reason}: " if task.reason and task.status in {Status.FAILED, Status.TODO} else ""
    return visible_line(why + (task.title or ""))


class LiveRun:
    """One row per running task with its stage and time; what ended scrolls by above. Use as a context manager."""

    def __init__(self, *, follow: bool) -> None:
        self._console = Console()
        self._live = Live(console=self._console, refresh_per_second=8, transient=True)
        self._lock = threading.Lock()
        self._rows: dict[str, tuple[Task, str, datetime]] = {}
        self._output = PlainLines(follow=follow)
        self._ended: dict[Status, int] = {}

    def __enter__(self) -> Observer:
        self._live.start()
        return self._observe

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def _observe(self, event: RunEvent) -> None:
        with self._lock:
            task = event.task
            match event:
                case TaskClaimed():
                    self._rows[task.id] = (task, "claimed", event.at)
                case StageStarted() if task.id in self._rows:
                    self._rows[task.id] = (task, event.stage, self._rows[task.id][2])
                case SandboxOpened():
                    for line in waiver_lines(event):
                        self._console.print(Text(line, style="yellow"))
                case StageEnded():
                    self._print(self._output.rests(task))
                    return
                case TaskSettled():
                    self._rows.pop(task.id, None)
                    self._print(self._output.rests(task))
                    self._ended[task.status] = self._ended.get(task.status, 0) + 1
                    self._console.print(Text(settled_line(event), style=COLOURS[task.status]))
                case OutputSeen():
                    self._print(self._output.lines_of(event))
            if not isinstance(event, OutputSeen):
                self._live.update(self._table())

    def _print(self, lines: Sequence[str]) -> None:
        """Show what agents wrote, above the rows."""
        for line in lines:
            self._console.print(Text(line), soft_wrap=True)

    def _table(self) -> Group:
        now = datetime.now(UTC)
        table = Table.grid(padding=(0, 2), expand=True)
        for column in ("id", "stage", "time", "title"):
            table.add_column(no_wrap=True, overflow="ellipsis", ratio=1 if column == "title" else None)
        for task, stage, since in self._rows.values():
            table.add_row(
                Spinner("dots", Text(visible_line(task.id))),
                Text(stage, style="cyan"),
                _Elapsed(since),
                Text(visible_line(task.title or "")),
            )
        counts = ", ".join(f"{count} {status}" for status, count in self._ended.items())
        footer = Text(
            f"{len(self._rows)} running{', ' + counts if counts else ''} at {now:%H:%M:%S}Z", style="bright_black"
        )
        return Group(table, footer)


class _Elapsed:
    """The time since a moment, computed anew each time that the screen is drawn."""

    def __init__(self, since: datetime) -> None:
        self._since = since

    def __rich__(self) -> Text:
        return Text(spell_duration(datetime.now(UTC) - self._since), style="bright_black")
