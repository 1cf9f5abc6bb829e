"""`taskq remove`."""

import click

from orchestration.cli.options import app, id_option, json_option, queue_option
from orchestration.cli.output import print_json, say


@click.command()
@id_option(required=True)
@json_option
@queue_option
@click.pass_context
def command(ctx: click.Context, /, *, identifier: str, as_json: bool) -> None:
    """Take a task out of the queue, with its attempts and its clean worktree.

    Kept: every collected state under refs/taskq/, a branch whose work is not in its base, a worktree with changes.
    """
    task, report = app(ctx).remove(identifier)
    if as_json:
        print_json({"task": task.id, "removed": report.removed, "kept": report.kept})
        return
    say(f"Task removed: {task.id}")
    for kept in report.kept:
        say(f"  kept {kept}")
