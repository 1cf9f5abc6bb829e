"""`taskq collect`."""

import click

from orchestration.cli.commands.review import tell_collected
from orchestration.cli.options import app, id_option, json_option, queue_option
from orchestration.cli.output import print_json


@click.command()
@id_option(required=True)
@json_option
@queue_option
@click.pass_context
def command(ctx: click.Context, /, *, identifier: str, as_json: bool) -> None:
    """Collect what a review left in a task's sandbox, as a new revision, when the review ended early.

    Leaving a review collects by itself. Until this has collected, such a task is not approved.
    """
    collected = app(ctx).collect(identifier)
    if as_json:
        print_json(
            {
                "task": collected.task.id,
                "added": collected.revision is not None,
                "ref": None if collected.revision is None else collected.revision.ref,
                "unrecorded": collected.unrecorded,
                "revision": app(ctx).facts(collected.task, app(ctx).read())["revision"],
            }
        )
        return
    tell_collected(collected)
