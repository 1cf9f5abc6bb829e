"""`taskq init`."""

from pathlib import Path

import click

from orchestration.cli.options import app, json_option, queue_option, said_queue
from orchestration.cli.output import print_json, say


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), required=False)
@json_option
@queue_option
@click.pass_context
def command(ctx: click.Context, /, folder: Path | None, *, as_json: bool) -> None:
    """Make a queue in FOLDER (default: what --queue says, or queue/ here); taskq finds it from everywhere below.

    What is in an existing queue stays as it is.
    """
    made = app(ctx).init((folder or Path(said_queue(ctx) or "queue")).absolute())
    if as_json:
        print_json({"queue": str(made)})
        return
    say(f"Queue ready: {made}")
    say("Next: taskq build-image     once on this machine; without an engine, add tasks with --sandbox local")
    say("      taskq add --id T-1 --repo . --task 'What is wanted'     another agent: --agent-command 'CMD'")
