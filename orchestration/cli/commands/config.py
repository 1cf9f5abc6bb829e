"""`taskq config`."""

import click

from orchestration.cli.options import app, json_option, queue_option
from orchestration.cli.output import columns, print_json


@click.command()
@json_option
@queue_option
@click.pass_context
def command(ctx: click.Context, /, *, as_json: bool) -> None:
    """Show every setting, its value and where it comes from."""
    opened = app(ctx)
    values = {name: value for name, value in opened.settings._asdict().items() if name != "limits"}
    values |= {f"limits.{name}": value for name, value in opened.settings.limits._asdict().items()}
    rows = {
        name: (None if value is None else str(value), opened.origins.get(name, "default"))
        for name, value in values.items()
    }
    if as_json:
        print_json({name: {"value": value, "origin": origin} for name, (value, origin) in rows.items()})
    else:
        columns((name, value or "-", origin) for name, (value, origin) in rows.items())
