"""`taskq doctor`."""

from dataclasses import asdict

import click

from orchestration.cli.options import app, json_option, queue_option
from orchestration.cli.output import print_json, say
from orchestration.core.errors import EXIT_NOT_NOW


@click.command()
@json_option
@queue_option
@click.pass_context
def command(ctx: click.Context, /, *, as_json: bool) -> int:
    """Say what works on this machine, and what would help. Exit code 3 when something that is needed does not."""
    healths = app(ctx).doctor()
    if as_json:
        print_json([asdict(health) for health in healths])
    else:
        for health in healths:
            say(f"{'ok ' if health.usable else 'NO '} {health.name + ':':<13} {health.detail}")
            if not health.usable and health.remedy:
                say(f"    {'':<13} {health.remedy}")
    return 0 if all(health.usable for health in healths) else EXIT_NOT_NOW
