"""`taskq logs`."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click

from orchestration.assembly import App
from orchestration.cli.options import app, id_option, json_option, queue_option
from orchestration.cli.output import print_json
from orchestration.core.errors import UsageError
from orchestration.core.models import Task
from orchestration.support.text import decode, visible

CHUNK: Final = 64 * 1024
PAUSE: Final = 0.2


@click.command()
@id_option(required=True)
@click.option("--attempt", type=click.IntRange(min=1), help="Of this attempt. Default: the last one.")
@click.option("--stage", type=click.Choice(["setup", "plan", "build", "collect"]), help="Only of this stage.")
@click.option("-f", "--follow", is_flag=True, help="Go on until the attempt has ended.")
@json_option
@queue_option
@click.pass_context
def command(
    ctx: click.Context, /, *, identifier: str, attempt: int | None, stage: str | None, follow: bool, as_json: bool
) -> None:
    """Show what an attempt's programs wrote, with control characters spelled out. As JSON: which files hold it."""
    if follow and as_json:
        raise click.UsageError("--follow streams text; give --follow or --json", ctx)
    opened = app(ctx)
    task = opened.task(identifier)
    if as_json:
        files = opened.logs(task, attempt=attempt, stage=stage)
        print_json([{"stage": name, "path": str(path), "bytes": path.stat().st_size} for name, path in files])
        return
    if not follow and not opened.logs(task, attempt=attempt, stage=stage):
        raise UsageError(f"task {task.id} has no such log; it is {task.status}, attempt {task.attempt}", code="no_log")
    for piece in _pieces(opened, task, attempt=attempt, stage=stage, follow=follow):
        click.echo(visible(decode(piece)), nl=False)


def _pieces(app: App, task: Task, *, attempt: int | None, stage: str | None, follow: bool) -> Iterator[bytes]:
    """Yield what the log files hold; with *follow* what comes until the task has ended."""
    offsets: dict[Path, int] = {}
    while True:
        current = app.task(task.id)
        over = not current.is_running and current.status != "todo"
        for name, path in app.logs(current, attempt=attempt, stage=stage):
            for piece in _read_from(path, offsets.get(path, 0)):
                if path not in offsets:
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
