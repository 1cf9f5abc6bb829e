"""`taskq run`."""

from collections import Counter
from contextlib import AbstractContextManager
from datetime import timedelta

import click

from orchestration.cli.options import app, id_option, json_option, queue_option
from orchestration.cli.output import is_terminal, print_json_line, say
from orchestration.core.errors import EXIT_DAMAGED, EXIT_FAILED, EXIT_INTERRUPTED
from orchestration.core.events import Observer
from orchestration.core.status import Status
from orchestration.engine.options import RunOptions
from orchestration.engine.pool import RunSummary


def _poll(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> timedelta | None:
    if value is None:
        return None
    from orchestration.support.quantities import duration

    try:
        return duration(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@click.command()
@id_option(required=False)
@click.option("--max-parallel", type=click.IntRange(min=1), help="How many tasks at a time. Default: 3, or config.")
@click.option(
    "--poll", is_flag=False, flag_value="5", metavar="[S]", callback=_poll, help="Keep on, looking every S seconds."
)
@click.option("--cleanup-on-fail", is_flag=True, help="Take away worktree and attempt of what fails; its work is kept.")
@click.option("--dirty-run", is_flag=True, help="Start from what was collected last and changed in the worktree since.")
@click.option("--follow", is_flag=True, help="Show what the agents write, while they do.")
@click.option("-v", "--verbose", is_flag=True, help="Tell the story on stderr.")
@click.option("--log-json", is_flag=True, help="Log as JSON.")
@json_option
@queue_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    *,
    identifier: str | None,
    max_parallel: int | None,
    poll: timedelta | None,
    cleanup_on_fail: bool,
    dirty_run: bool,
    follow: bool,
    verbose: bool,
    log_json: bool,
    as_json: bool,
) -> int:
    """Run what is ready, each task in a sandbox of its own; stop when nothing is, unless --poll.

    Ctrl-C lets running tasks end and starts no more; a second one ends them now: their work is collected and they go
    back to todo. Exit code 0: all went to review; 1: some failed; 130: interrupted.
    """
    if identifier is not None and poll is not None:
        raise click.UsageError("--id runs one task and --poll never ends; give one of them", ctx)
    import gc

    from orchestration.support import logs

    gc.enable()
    logs.configure(json=log_json, verbose=verbose)
    options = RunOptions(
        identifier=identifier,
        max_parallel=max_parallel,
        poll=poll,
        cleanup_on_fail=cleanup_on_fail,
        dirty_run=dirty_run,
    )
    with watch_run(follow=follow, as_json=as_json) as observe:
        summary = app(ctx).run(options, observe=observe)
    _report(ctx, summary, as_json=as_json)
    return exit_code(summary)


def watch_run(*, follow: bool, as_json: bool = False) -> AbstractContextManager[Observer]:
    """Return what shows a run while it happens: rows for a person, lines for a pipe, events for a machine."""
    if as_json:
        from orchestration.cli.progress import EventLines

        return EventLines()
    if is_terminal():
        from orchestration.cli.render import LiveRun

        return LiveRun(follow=follow)
    from orchestration.cli.progress import PlainLines

    return PlainLines(follow=follow)


def _report(ctx: click.Context, summary: RunSummary, *, as_json: bool) -> None:
    counts = Counter(str(task.status) for task in summary.settled)
    if as_json:
        in_doubt = [{"id": identifier, "why": why} for identifier, why in summary.in_doubt]
        print_json_line(
            {"event": "run_ended", "settled": dict(counts), "in_doubt": in_doubt, "interrupted": summary.interrupted}
        )
        return
    if not summary.settled and not summary.in_doubt:
        waiting = app(ctx).read().counts()[Status.TODO]
        say("Nothing to run." if not waiting else f"Nothing is ready; {waiting} waiting, see why with: taskq show ID")
        return
    say("Run ended: " + ", ".join(f"{count} {status}" for status, count in sorted(counts.items())))
    for identifier, why in summary.in_doubt:
        say(f"In doubt: {identifier}: {why}")


def exit_code(summary: RunSummary) -> int:
    """Return the exit code that tells how a run went."""
    if summary.in_doubt:
        return EXIT_DAMAGED
    if summary.interrupted:
        return EXIT_INTERRUPTED
    return EXIT_FAILED if summary.failed else 0
