"""`taskq approve`."""

import click

from orchestration.cli.options import app, id_option, json_option, queue_option
from orchestration.cli.output import print_json, say


@click.command()
@id_option(required=True)
@click.option("--land", type=click.Choice(["none", "ff"]), default="none", show_default=True, help="ff: move the base.")
@json_option
@queue_option
@click.pass_context
def command(ctx: click.Context, /, *, identifier: str, land: str, as_json: bool) -> None:
    """Accept a task's work. With --land ff the base moves to it, and a clean checkout of the base comes along."""
    task = app(ctx).approve(identifier, land="ff" if land == "ff" else "none")
    if as_json:
        print_json(app(ctx).facts(task, app(ctx).read()))
        return
    say(f"Task approved: {task.id}")
    if task.landed is not None:
        say(f"Landed: {task.landed.base} is now {task.landed.commit[:12]}")
    elif task.revision is not None:
        say(f"Its work is on branch {task.branch} ({task.revision.commit[:12]})")
