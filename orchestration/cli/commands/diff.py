"""`taskq diff`."""

import sys
from collections.abc import Iterable, Iterator

import click

from orchestration.cli.options import app, id_option, json_option, queue_option
from orchestration.cli.output import is_terminal, page, print_json
from orchestration.support.text import decode, visible


@click.command()
@id_option(required=True)
@click.option("--stat", is_flag=True, help="Only which files, and how many lines.")
@json_option
@queue_option
@click.pass_context
def command(ctx: click.Context, /, *, identifier: str, stat: bool, as_json: bool) -> None:
    """Show what a task changed against its base. Into a pipe: the exact bytes, fit for git apply."""
    if as_json:
        facts = app(ctx).facts(app(ctx).task(identifier), app(ctx).read())
        print_json(facts["revision"])
        return
    if is_terminal():
        page(shown(app(ctx).diff(identifier, stat=stat)))
        return
    chunks = app(ctx).diff(identifier, stat=stat, binary=True)
    out = sys.stdout.buffer
    for chunk in chunks:
        out.write(chunk)
    out.flush()


def shown(chunks: Iterable[bytes]) -> Iterator[str]:
    """Yield a diff line by line for a terminal: coloured, and with every unsafe character spelled out."""
    colours = {b"+": "green", b"-": "red", b"@": "cyan"}
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield click.style(visible(decode(line)), fg=colours.get(line[:1])) + "\n"
    if rest:
        yield visible(decode(rest)) + "\n"
