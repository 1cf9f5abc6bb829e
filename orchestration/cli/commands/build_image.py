"""`taskq build-image`."""

from dataclasses import asdict
from pathlib import Path

import click

from orchestration.cli.options import app, json_option
from orchestration.cli.output import print_json, say
from orchestration.support.text import visible


@click.command()
@click.option("--base", metavar="IMAGE", help="Build on this Debian image. Default: debian:bookworm-slim.")
@click.option("--rebuild", is_flag=True, help="Use nothing of an earlier build.")
@click.option("--no-pull", is_flag=True, help="Build on the base that is here, without asking for a newer one.")
@click.option(
    "--ca-file",
    "ca_files",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Let the image trust these certificates (PEM) too, as behind a company's proxy. Again for more.",
)
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    *,
    base: str | None,
    rebuild: bool,
    no_pull: bool,
    ca_files: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Build the image that docker sandboxes start from: git, node and a pinned OpenCode.

    What the engine says goes to stderr as it comes. A --base that is here already is never pulled. Exit code 3: no
    engine answers, or the build failed.
    """
    built = app(ctx).build_image(base=base, rebuild=rebuild, pull=not no_pull, ca_files=ca_files, output=_show)
    if as_json:
        print_json({**asdict(built), "seconds": round(built.seconds, 1)})
    else:
        say(f"Built {', '.join(built.tags)} ({built.id[7:19]}) in {built.seconds:.0f} s")


def _show(line: str) -> None:
    """Print one line of a build; on a terminal its steps stand out."""
    click.echo(click.style(visible(line), bold=line.startswith("Step "), dim=not line.startswith("Step ")), err=True)
