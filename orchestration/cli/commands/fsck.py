"""`taskq fsck`."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from orchestration.cli.options import app, json_option, queue_option
from orchestration.cli.output import print_json, say
from orchestration.core.errors import EXIT_DAMAGED

if TYPE_CHECKING:
    from orchestration.core.reports import FsckReport


@click.command()
@click.option("--repair", is_flag=True, help="Set damaged bytes aside in history/, and go on with the rest.")
@json_option
@queue_option
@click.pass_context
def command(ctx: click.Context, /, *, repair: bool, as_json: bool) -> int:
    """Check the journal, its index and what belongs to tasks. Exit code 4 when something is damaged and not repaired.

    Said, and neither changed nor an error: numbers that do not follow each other, blobs that no task has, attempts and
    refs of no task.
    """
    report = app(ctx).fsck(repair=repair)
    if as_json:
        print_json(_facts(report))
    else:
        for line in _lines(report):
            say(line)
    return 0 if report.is_sound else EXIT_DAMAGED


def _facts(report: "FsckReport") -> dict[str, object]:
    return {
        "sound": report.is_sound,
        "queue": report.queue,
        "seq": report.seq,
        "lines": report.lines,
        "tasks": report.tasks,
        "damage": [{"line": item.line, "offset": item.offset, "why": item.why} for item in report.damage],
        "torn_bytes": report.torn,
        "poison": report.poison,
        "blobs": list(report.blobs),
        "index": report.index,
        "lost": list(report.lost),
        "chain": list(report.chain),
        "unnamed": list(report.unnamed),
        "dangling": list(report.dangling),
        "notes": list(report.notes),
        "kept": [str(path) for path in report.kept],
    }


def _lines(report: "FsckReport") -> Iterator[str]:
    for item in report.damage:
        yield f"damaged: line {item.line} at byte {item.offset}: {item.why}"
    if report.torn:
        yield f"torn: the last {report.torn} bytes were never acknowledged; the next change sets them aside"
    if report.poison is not None:
        yield f"in doubt: {report.poison}"
    for blob in report.blobs:
        yield f"blob: {blob}"
    if report.index is not None:
        yield f"index: {report.index}; --repair takes it away"
    if report.lost:
        yield f"lost: changes of {', '.join(report.lost)}"
    for title, sentences in (
        ("chain", report.chain),
        ("no task has blob", report.unnamed),
        ("left over", report.dangling),
        ("note", report.notes),
    ):
        yield from (f"{title}: {sentence}" for sentence in sentences)
    for path in report.kept:
        yield f"kept: {path}"
    verdict = "sound" if report.is_sound else "damaged; mend it with: taskq fsck --repair"
    yield f"{report.tasks} tasks in {report.lines} lines: {verdict}"
