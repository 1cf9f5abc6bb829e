"""`taskq retry`."""

import click

from orchestration.cli.options import app, id_option, json_option, queue_option
from orchestration.cli.output import print_json, say


@click.command()
@id_option(required=True)
@click.option("--resume", is_flag=True, help="Go on in the last attempt's workspace and its agent's session.")
@json_option
@queue_option
@click.pass_context
def command(ctx: click.Context, /, *, identifier: str, resume: bool, as_json: bool) -> None:
    """Put a failed task back to todo: a fresh workspace next time, unless --resume; its branch and worktree stay."""
    task = app(ctx).retry(identifier, resume=resume)
    if as_json:
        print_json(app(ctx).facts(task, app(ctx).read()))
    elif resume:
        say(f"Task to be resumed: {task.id} (attempt {task.attempt} goes on)")
    else:
        say(f"Task retried: {task.id} (attempt {task.attempt + 1} is next)")
