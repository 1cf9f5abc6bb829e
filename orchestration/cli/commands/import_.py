"""`taskq import`."""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from orchestration.cli.options import app, json_option, queue_option
from orchestration.cli.output import print_json, say

if TYPE_CHECKING:
    from orchestration.core.transfers import ImportReport

_SHOWN: Final = 5


@click.command()
@click.argument("file", metavar="FILE")
@click.option("--skip-existing", is_flag=True, help="Leave out tasks whose id is taken, instead of refusing.")
@click.option("--rename", is_flag=True, help="Give tasks whose id taskq cannot have one that it can.")
@click.option(
    "--texts", metavar="FOLDER", multiple=True, type=click.Path(path_type=Path), help="Where plain records' files are."
)
@click.option("--dry-run", is_flag=True, help="Say what would happen, and do nothing.")
@json_option
@queue_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    *,
    file: str,
    skip_existing: bool,
    rename: bool,
    texts: tuple[Path, ...],
    dry_run: bool,
    as_json: bool,
) -> None:
    """Take tasks that `taskq export` wrote, or plain records of one flat object a line; - is stdin.

    All or none, in one change. What taskq does not know is kept and comes out again by export. A task that was running
    becomes failed. Plain records name task files: those are read below --texts, by default below FILE's folder and
    the one above. docs/reference/record.md has every field.
    """
    folder = Path.cwd() if file == "-" else Path(file).absolute().parent
    content = sys.stdin.buffer.read() if file == "-" else app(ctx).read_input(Path(file))
    report = app(ctx).import_tasks(
        "<stdin>" if file == "-" else file,
        content,
        texts=tuple(path.absolute() for path in texts) or (folder, folder.parent),
        skip_existing=skip_existing,
        rename=rename,
        dry_run=dry_run,
    )
    if as_json:
        print_json(asdict(report))
        return
    for line in _lines(report):
        say(line)


def _lines(report: "ImportReport") -> Iterator[str]:
    deed = "Would import" if report.dry_run else "Imported"
    yield f"{deed} {report.tasks} task{'' if report.tasks == 1 else 's'}"
    if report.skipped:
        more = f" and {len(report.skipped) - _SHOWN} more" if len(report.skipped) > _SHOWN else ""
        yield f"  left out, as they are here: {', '.join(report.skipped[:_SHOWN])}{more}"
    for before, after in report.renamed.items():
        yield f"  renamed {before!a} to {after}"
    if report.mapped:
        yield f"  mapped: {_counts(report.mapped)}"
    if report.kept:
        yield f"  kept, though taskq does not know it: {_counts(report.kept)}"
    for change, count in report.changed.items():
        yield f"  changed in {count}: {change}"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())
