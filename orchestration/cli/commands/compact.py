"""`taskq compact`."""

import click

from orchestration.cli.options import app, json_option, queue_option
from orchestration.cli.output import print_json, say
from orchestration.cli.tally import Tally


@click.command()
@json_option
@queue_option
@click.pass_context
def command(ctx: click.Context, /, *, as_json: bool) -> None:
    """Write the journal anew with one line for each task, while others go on working.

    Kept: the old journal, in history/, whole. `taskq run` does the same by itself when nothing runs and the journal has
    more than 8 MiB and more than twice what it needs, so that this is rarely of use.
    """
    with Tally("tasks") as tally:
        report = app(ctx).compact(tell=tally)
    if as_json:
        history = None if report.history is None else str(report.history)
        print_json({"before": report.before, "after": report.after, "tasks": report.tasks, "history": history})
    elif report.history is None:
        say(f"Nothing to gain: {report.before} bytes for {report.tasks} tasks")
    else:
        say(f"Journal compacted: {report.tasks} tasks, {report.before} bytes before, {report.after} now")
        say(f"  kept {report.history}")
