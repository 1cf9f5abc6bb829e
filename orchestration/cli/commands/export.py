"""`taskq export`."""

import sys
from pathlib import Path

import click

from orchestration.cli.options import app, queue_option
from orchestration.cli.output import warn
from orchestration.cli.tally import Tally
from orchestration.core.errors import EXIT_DAMAGED


@click.command()
@click.argument("identifiers", metavar="[ID]...", nargs=-1)
@click.option("--out", metavar="FILE", type=click.Path(path_type=Path), help="A new file. Default: stdout.")
@queue_option
@click.pass_context
def command(ctx: click.Context, /, *, identifiers: tuple[str, ...], out: Path | None) -> int:
    """Write tasks as JSON, one object a line, in the order in which they were added; all of them by default.

    Each has all that the journal says of it, with long texts in place. Attempts and refs are not in it: they stay where
    they are. Exit code 4 when something is damaged and could not be written, or not in full; the rest is.

    \b
    taskq export --out tasks.jsonl
    taskq export T-1 T-2 | taskq --queue elsewhere import -
    """
    try:
        with Tally("tasks") as tally:
            report = app(ctx).export(identifiers, write=sys.stdout.buffer.write, path=out, tell=tally)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        return 0  # whoever reads us has seen enough
    for problem in report.problems:
        warn(problem)
    if report.archives:
        warn(f"archived tasks are not in it; they are in {report.archives[0].parent}/archive-*.jsonl, one a line")
    return EXIT_DAMAGED if report.problems else 0
