"""`taskq restore`."""

from pathlib import Path

import click

from orchestration.cli.commands.backup import facts, summary
from orchestration.cli.options import app, json_option, queue_option
from orchestration.cli.output import print_json, say, warn


@click.command()
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@json_option
@queue_option
@click.pass_context
def command(ctx: click.Context, /, *, file: Path, as_json: bool) -> None:
    """Make the queue that a backup holds, in the folder that --queue names: a new one, or an empty one.

    Everything is checked before and after it is written; an archive that is cut or altered leaves nothing behind.
    """
    report = app(ctx).restore(file)
    for item in report.damage:
        warn(f"restored as it was: line {item.line} of the journal: {item.why}; mend it with: taskq fsck --repair")
    if as_json:
        print_json({**facts(report), "folder": str(app(ctx).queue_folder)})
        return
    say(f"Queue restored: {app(ctx).queue_folder}")
    say(f"  {summary(report)}")
    say("  It has the id of the queue that was backed up, to which attempts and refs/taskq/ belong.")
    say("  Never run both: take the other one away first, or only look at this one.")
