"""`taskq review`."""

import itertools
import shutil
import textwrap

import click

from orchestration.cli.commands.diff import shown
from orchestration.cli.observed import rows as sandbox_rows
from orchestration.cli.options import app, id_option, json_option, queue_option
from orchestration.cli.output import columns, is_terminal, page, print_json, say
from orchestration.core.errors import UsageError
from orchestration.core.models import Task
from orchestration.core.status import Status
from orchestration.engine.brief import Brief
from orchestration.support.quantities import spell_duration
from orchestration.support.text import visible


@click.command()
@id_option(required=False)
@click.option("--no-diff", is_flag=True, help="Only the brief.")
@json_option
@queue_option
@click.pass_context
def command(ctx: click.Context, /, *, identifier: str | None, no_diff: bool, as_json: bool) -> None:
    """Show a task's brief and its diff. Without an ID: list what is in review."""
    if identifier is None:
        _list(ctx, as_json=as_json)
        return
    brief = app(ctx).brief(identifier)
    if brief.task.status is not Status.REVIEW:
        raise UsageError(
            f"task {brief.task.id} is {brief.task.status}, not in review; see: taskq show {brief.task.id}",
            code="illegal_transition",
        )
    if as_json:
        timings = (
            {stage: value.total_seconds() for stage, value in brief.result.timings.items()} if brief.result else {}
        )
        print_json({**app(ctx).facts(brief.task, app(ctx).read()), "timings": timings})
        return
    told = (visible(line) + "\n" for line in lines(brief))
    if no_diff or brief.task.revision is None:
        click.echo("".join(told), nl=False)
    elif is_terminal():
        page(itertools.chain(told, shown(app(ctx).diff(brief.task.id, stat=False))))
    else:
        for line in itertools.chain(told, shown(app(ctx).diff(brief.task.id, stat=False))):
            click.echo(line, nl=False, color=False)


def _list(ctx: click.Context, /, *, as_json: bool) -> None:
    snapshot = app(ctx).read()
    tasks = [task for task in snapshot.tasks.values() if task.status is Status.REVIEW]
    if as_json:
        print_json([app(ctx).facts(task, snapshot) for task in tasks])
    elif not tasks:
        say("Nothing is in review.")
    else:
        columns((task.id, size(Brief(task=task, result=None)), task.title or "") for task in tasks)


def size(brief: Brief) -> str:
    """Return how much a revision changes, as ``3 files +20 -4``."""
    if brief.task.revision is None:
        return "no changes"
    count = len(brief.task.revision.files)
    return f"{count} file{'' if count == 1 else 's'} +{brief.added} -{brief.removed}"


def lines(brief: Brief) -> list[str]:
    """Return the brief of a task, made for one screen."""
    task = brief.task
    took = [f"{stage} {spell_duration(value)}" for stage, value in brief.result.timings.items()] if brief.result else []
    rows = [f"{task.id}: {task.title or ''}", *_asked(task)]
    rows.append(f"  changed  {size(brief)}, attempt {task.attempt}, agent {task.agent}, sandbox {task.sandbox}")
    if task.revision is not None:
        revision = task.revision
        rows += [
            f"           {change.status} {change.path} {_counts(change.added, change.removed)}"
            for change in revision.files[:20]
        ]
        if len(revision.files) > 20:
            rows.append(f"           and {len(revision.files) - 20} more")
        rows.append(f"  commit   {revision.commit[:12]} on {task.branch}, from {task.base} {revision.base_commit[:12]}")
        rows.append(f"  worktree {task.worktree_path if revision.published else 'not updated: it was changed by hand'}")
        rows += [f"  FLAG     {flag}" for flag in revision.flags]
    if brief.sandbox is not None:
        rows += [f"  {name:<8} {value}" for name, value in sandbox_rows(brief.sandbox)]
    rows.append(f"  took     {', '.join(took) or 'unknown'}")
    rows.append("  checks   not verified: taskq ran no checks on this")
    rows.append(f"  next     taskq approve {task.id} [--land ff] | taskq cancel {task.id}")
    return rows


def _asked(task: Task) -> list[str]:
    """Return the start of the prompt, wrapped to the terminal."""
    width = max(shutil.get_terminal_size().columns, 40)
    return textwrap.wrap(
        " ".join((task.text or "").split()),
        width=width,
        initial_indent="  asked    ",
        subsequent_indent=" " * 11,
        max_lines=3,
        placeholder=" …",
    )


def _counts(added: int | None, removed: int | None) -> str:
    return "binary" if added is None or removed is None else f"+{added} -{removed}"
