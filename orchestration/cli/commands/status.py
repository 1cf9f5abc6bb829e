"""`taskq status`."""

from collections.abc import Iterable, Mapping

import click

from orchestration.cli.options import app, id_option, json_option, queue_option
from orchestration.cli.output import columns, is_terminal, print_json, print_json_list, say, warn
from orchestration.core.glance import Glance
from orchestration.core.models import Task
from orchestration.core.status import Status


@click.command()
@id_option(required=False)
@click.option(
    "--status", "statuses", multiple=True, type=click.Choice([str(item) for item in Status]), help="Only these."
)
@click.option("--label", "labels", multiple=True, help="Only tasks with this label; may be repeated.")
@click.option("--archived", is_flag=True, help="Instead, the tasks that `taskq archive` moved out of the queue.")
@click.option("--counts", is_flag=True, help="Only how many tasks have each status; quick in any queue.")
@json_option
@queue_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    *,
    identifier: str | None,
    statuses: tuple[str, ...],
    labels: tuple[str, ...],
    archived: bool,
    counts: bool,
    as_json: bool,
) -> None:
    """Show the tasks, by status. Into a pipe: one line a task, with tabs: id, status, attempt, reason, title."""
    snapshot = app(ctx).read()
    if counts:
        if identifier is not None or statuses or labels or archived:
            others = "ID, --status, --label and --archived"
            raise click.UsageError(f"--counts is of the whole queue; leave out {others}", ctx)
        _show_counts(snapshot.counts(), as_json=as_json)
        return
    if archived:
        app(ctx).on_warning = warn
        found = [each for each in app(ctx).archived(identifier) if _matches(each.task, statuses, labels)]
        if as_json:
            print_json([app(ctx).archived_facts(each) for each in found])
        else:
            _show(
                [each.task for each in found],
                "No archived tasks match." if statuses or labels else "No archived tasks.",
            )
        return
    wanted = [Status(status) for status in statuses] if statuses else None
    otherwise = "No tasks match." if snapshot.tasks else "No tasks."
    if is_terminal() and not as_json:
        tasks = snapshot.tasks.values() if wanted is None else snapshot.select(wanted)
        asked = tasks if identifier is None else [app(ctx).task(identifier)]
        _show([task for task in asked if _matches(task, statuses, labels)], otherwise)
        return
    chosen = snapshot.glances(wanted) if identifier is None else [app(ctx).task(identifier)]
    glances = (one for one in chosen if _matches(one, statuses, labels))
    if as_json:
        print_json_list(app(ctx).all_facts(glances, snapshot))
    else:
        _show_rows(glances, otherwise)


def _show(tasks: list[Task], otherwise: str) -> None:
    if tasks and is_terminal():
        from orchestration.cli.render import show_tasks

        show_tasks(tasks)
    else:
        _show_rows(tasks, otherwise)


def _show_rows(glances: Iterable[Glance], otherwise: str) -> None:
    rows = [(one.id, str(one.status), str(one.attempt), one.reason or "", one.title or "") for one in glances]
    if not rows:
        say(otherwise)
    order = {str(status): place for place, status in enumerate(Status)}
    columns(sorted(rows, key=lambda row: order[row[1]]))


def _show_counts(counts: Mapping[Status, int], *, as_json: bool) -> None:
    if as_json:
        print_json({str(status): number for status, number in counts.items()})
        return
    width = len(str(max(counts.values())))
    for status, number in counts.items():
        say(f"{number:>{width}} {status}")


def _matches(task: Glance, statuses: tuple[str, ...], labels: tuple[str, ...]) -> bool:
    return (not statuses or task.status in statuses) and (not labels or set(labels) <= set(task.labels))
