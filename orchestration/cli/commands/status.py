"""`taskq status`."""

from collections.abc import Iterable, Mapping

import click

from orchestration.cli.options import app, id_option, json_option, queue_option
from orchestration.cli.output import columns, is_terminal, print_json, say, warn
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
    chosen: Iterable[Task] = snapshot.tasks.values()
    if identifier is not None:
        chosen = [app(ctx).task(identifier)]
    elif statuses:
        chosen = snapshot.select([Status(status) for status in statuses])
    tasks = [task for task in chosen if _matches(task, statuses, labels)]
    if as_json:
        print_json([app(ctx).facts(task, snapshot) for task in tasks])
    else:
        _show(tasks, "No tasks match." if snapshot.tasks else "No tasks.")


def _show(tasks: list[Task], otherwise: str) -> None:
    if not tasks:
        say(otherwise)
    elif is_terminal():
        from orchestration.cli.render import show_tasks

        show_tasks(tasks)
    else:
        columns(
            (task.id, task.status, str(task.attempt), task.reason or "", task.title or "") for task in _sorted(tasks)
        )


def _show_counts(counts: Mapping[Status, int], *, as_json: bool) -> None:
    if as_json:
        print_json({str(status): number for status, number in counts.items()})
        return
    width = len(str(max(counts.values())))
    for status, number in counts.items():
        say(f"{number:>{width}} {status}")


def _matches(task: Task, statuses: tuple[str, ...], labels: tuple[str, ...]) -> bool:
    return (not statuses or task.status in statuses) and set(labels) <= set(task.labels)


def _sorted(tasks: list[Task]) -> list[Task]:
    order = list(Status)
    return sorted(tasks, key=lambda task: order.index(task.status))
