"""`taskq cleanup`."""

from dataclasses import asdict
from typing import Literal

import click

from orchestration.cli.options import app, id_option, json_option, queue_option
from orchestration.cli.output import one_line, print_json, say
from orchestration.core.errors import EXIT_FAILED


@click.command()
@id_option(required=False)
@click.option("--done-only", is_flag=True, help="Only tasks that are done.")
@click.option("--cancelled-only", is_flag=True, help="Only tasks that are cancelled.")
@click.option("--keep-worktree", is_flag=True, help="Leave worktrees and branches.")
@json_option
@queue_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    *,
    identifier: str | None,
    done_only: bool,
    cancelled_only: bool,
    keep_worktree: bool,
    as_json: bool,
) -> int:
    """Take away what done and cancelled tasks left: worktrees, attempts, error reports, landed branches.

    Kept, and said: worktrees with changes, branches that are not landed, work that could not be collected. Every
    collected state stays under refs/taskq/.
    """
    if done_only and cancelled_only:
        raise click.UsageError("--done-only and --cancelled-only exclude each other; without either, both go", ctx)
    only: Literal["done", "cancelled"] | None = "done" if done_only else "cancelled" if cancelled_only else None
    reports = app(ctx).cleanup(identifier, only=only, keep_worktree=keep_worktree)
    if as_json:
        print_json([asdict(report) for report in reports])
    elif not any(report.removed or report.kept or report.problem for report in reports):
        say(
            "Nothing to clean up."
            if identifier is None
            else f"Nothing to clean up: {one_line(app(ctx).task(identifier))}"
        )
    else:
        for report in reports:
            what = ", ".join(report.removed) or "nothing removed"
            if not (report.removed or report.kept or report.problem):
                continue
            say(f"{report.task}: " + (f"error: {report.problem}" if report.problem else what))
            for kept in report.kept:
                say(f"  kept {kept}")
    return EXIT_FAILED if any(report.problem for report in reports) else 0
