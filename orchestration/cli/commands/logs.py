"""`taskq logs`."""

import time
from codecs import getincrementaldecoder
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from orchestration.assembly import App
from orchestration.cli.options import app, id_option, json_option, queue_option
from orchestration.cli.output import is_terminal, print_json
from orchestration.core.errors import UsageError
from orchestration.core.models import Task
from orchestration.engine.brief import LogKind
from orchestration.support.text import visible

CHUNK: Final = 64 * 1024
PAUSE: Final = 0.2


@click.command()
@id_option(required=True)
@click.option("--attempt", type=click.IntRange(min=1), help="Of this attempt. Default: the last one.")
@click.option("--stage", type=click.Choice(["setup", "plan", "build", "collect"]), help="Only of this stage.")
@click.option("-f", "--follow", is_flag=True, help="Go on until the attempt has ended.")
@click.option("--events", "kind", flag_value="events", help="What the agent did, as JSON lines in taskq's words.")
@click.option("--raw", "kind", flag_value="raw", help="What the agent told, as JSON lines in its own words.")
@json_option
@queue_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    *,
    identifier: str,
    attempt: int | None,
    stage: str | None,
    follow: bool,
    kind: LogKind | None,
    as_json: bool,
) -> None:
    """Show what an attempt's programs wrote, with control characters spelled out. As JSON: which files hold it.

    --events and --raw are for programs: a pipe gets them as they are.
    """
    if follow and as_json:
        raise click.UsageError("--follow streams text; give --follow or --json", ctx)
    opened = app(ctx)
    task = opened.task(identifier)
    wanted = _Wanted(attempt=attempt, stage=stage, kind=kind or "log")
    if as_json:
        files = wanted.files(opened, task)
        print_json([{"stage": name, "path": str(path), "bytes": path.stat().st_size} for name, path in files])
        return
    if not follow and not wanted.files(opened, task):
        raise UsageError(f"task {task.id} has no such log; it is {task.status}, attempt {task.attempt}", code="no_log")
    pieces = _pieces(opened, task, wanted, follow=follow)
    for shown in pieces if kind is not None and not is_terminal() else _visible(pieces):
        click.echo(shown, nl=False)


def _visible(pieces: Iterable[bytes]) -> Iterator[str]:
    """Yield *pieces* as text made safe; a character that lies in two of them is one."""
    decoder = getincrementaldecoder("utf-8")("backslashreplace")
    for piece in pieces:
        yield visible(decoder.decode(piece))
    yield visible(decoder.decode(b"", final=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """Which files are to be shown."""

    attempt: int | None
    stage: str | None
    kind: LogKind

    def files(self, app: App, task: Task) -> tuple[tuple[str, Path], ...]:
        """Return them with their stages, as far as they are there."""
        return app.logs(task, attempt=self.attempt, stage=self.stage, kind=self.kind)


def _pieces(app: App, task: Task, wanted: _Wanted, *, follow: bool) -> Iterator[bytes]:
    """Yield what the log files hold; with *follow* what comes until the task has ended."""
    offsets: dict[Path, int] = {}
    while True:
        current = app.task(task.id)
        over = not current.is_running and current.status != "todo"
        for name, path in wanted.files(app, current):
            for piece in _read_from(path, offsets.get(path, 0)):
                if path not in offsets and wanted.kind == "log":
                    yield b"==> %b <==\n" % name.encode()
                offsets[path] = offsets.get(path, 0) + len(piece)
                yield piece
        if not follow or over:
            return
        time.sleep(PAUSE)


def _read_from(path: Path, offset: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        file.seek(offset)
        while piece := file.read(CHUNK):
            yield piece
