"""`taskq backup`."""

from pathlib import Path

import click

from orchestration.cli.options import app, json_option, queue_option
from orchestration.cli.output import print_json, say, warn
from orchestration.core.transfers import BackupReport


@click.command()
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.option("--damaged", is_flag=True, help="Take a damaged queue too, as it is.")
@json_option
@queue_option
@click.pass_context
def command(ctx: click.Context, /, *, file: Path, damaged: bool, as_json: bool) -> None:
    """Write the whole queue as it is now to one new file, .tar or .tar.gz, while others go on working.

    Inside: the journal, long texts, task files, error reports, history, config.toml. Not inside: attempts (in the state
    folder), collected work (refs/taskq/ of the repositories), secrets. The file is read back before it gets its name.
    """
    report = app(ctx).backup(file, damaged=damaged)
    for item in report.damage:
        warn(f"backed up as it is: line {item.line} of the journal: {item.why}")
    for problem in report.problems:
        warn(f"backed up as it is: {problem}")
    if as_json:
        print_json(facts(report))
        return
    say(f"Backup written: {report.path}")
    say(f"  {summary(report)}")
    say("  not in it: attempts, and the repositories with refs/taskq/")


def facts(report: BackupReport) -> dict[str, object]:
    """Return *report* as the JSON of `backup` and `restore`."""
    return {
        "path": str(report.path),
        "queue": report.queue,
        "seq": report.seq,
        "tasks": report.tasks,
        "files": report.files,
        "bytes": report.size,
        "damage": [{"line": item.line, "offset": item.offset, "why": item.why} for item in report.damage],
        "problems": list(report.problems),
    }


def summary(report: BackupReport) -> str:
    """Return what a backup holds, in one line."""
    queue = f"queue {report.queue}" if report.queue is not None else "a queue without tasks"
    return f"{queue}: {report.tasks} tasks, up to change {report.seq}, {report.size} bytes in {report.files} files"
