"""`taskq retry`."""

import click

from orchestration.cli.options import app, id_option, json_option, queue_option
from orchestration.cli.output import print_json, say


@click.command()
@id_option(required=True)
@json_option
@queue_option
@click.pass_context
def command(ctx: click.Context, /, *, identifier: str, as_json: bool) -> None:
    """Put a failed task back to todo: a fresh workspace next time; its branch and worktree stay."""
    task = app(ctx).retry(identifier)
    if as_json:
        print_json(app(ctx).facts(task, app(ctx).read()))
    else:
        say(f"Task retried: {task.id} (attempt {task.attempt + 1} is next)")
