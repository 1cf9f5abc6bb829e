"""`taskq archive`."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

import click

from orchestration.cli.options import app, duration_option, json_option, queue_option
from orchestration.cli.output import print_json, say
from orchestration.cli.tally import Tally

if TYPE_CHECKING:
    from datetime import timedelta

    from orchestration.core.transfers import ArchiveReport

_SHOWN: Final = 20


@click.command()
@duration_option("--older-than", default="30d", text="Only what was not changed for so long. Default: 30d.")
@click.option("--dry-run", is_flag=True, help="Say what would happen, and do nothing.")
@json_option
@queue_option
@click.pass_context
def command(ctx: click.Context, /, *, older_than: "timedelta", dry_run: bool, as_json: bool) -> None:
    """Move done and cancelled tasks out of the queue to a file in its history/, where nothing has to read them.

    Kept in the queue, and said: what an unfinished task waits for, and what `taskq cleanup` has still to do with. Find
    archived tasks with `taskq status --archived`; their ids can be used again.
    """
    with Tally("tasks") as tally:
        report = app(ctx).archive(older_than=older_than, dry_run=dry_run, tell=tally)
    if as_json:
        print_json(_facts(report))
        return
    for line in _lines(report):
        say(line)


def _facts(report: "ArchiveReport") -> dict[str, object]:
    return {
        "archived": list(report.archived),
        "kept": dict(report.kept),
        "files": [str(path) for path in report.files],
        "dry_run": report.dry_run,
    }


def _lines(report: "ArchiveReport") -> Iterator[str]:
    deed = "Would archive" if report.dry_run else "Archived"
    count = len(report.archived)
    yield f"{deed} {count} task{'' if count == 1 else 's'}" if count else "Nothing to archive"
    for path in report.files:
        yield f"  to {path}"
    yield from _reasons(report.kept)


def _reasons(kept: Mapping[str, str]) -> Iterator[str]:
    for identifier, why in list(kept.items())[:_SHOWN]:
        yield f"  kept {identifier}: {why}"
    if len(kept) > _SHOWN:
        yield f"  kept {len(kept) - _SHOWN} more; see all of them with --json"
