"""`taskq cancel`."""

from datetime import timedelta

import click

from orchestration.cli.options import app, id_option, json_option, queue_option
from orchestration.cli.output import one_line, print_json, say
from orchestration.core.errors import ExternalError


@click.command()
@id_option(required=True)
@click.option(
    "--timeout", type=click.FloatRange(min=0), default=60, show_default=True, help="Seconds to wait for its end."
)
@json_option
@queue_option
@click.pass_context
def command(ctx: click.Context, /, *, identifier: str, timeout: float, as_json: bool) -> None:
    """Cancel a task, whatever it does; what the agent did so far is collected and kept.

    Returns when nothing of it runs any more. To cancel a cancelled task is no error.
    """
    task, stopped = app(ctx).cancel(identifier, timeout=timedelta(seconds=timeout))
    if not stopped:
        raise ExternalError(
            f"task {task.id} is cancelled, but its runner has not ended it within {timeout:g} s", code="wait"
        )
    if as_json:
        print_json(app(ctx).facts(task, app(ctx).read()))
    else:
        say(one_line(task))
