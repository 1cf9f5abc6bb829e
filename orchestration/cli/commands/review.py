"""`taskq review`."""

import itertools
import shutil
import sys
import textwrap
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from orchestration.cli import agent_rows
from orchestration.cli.commands.diff import shown
from orchestration.cli.observed import rows as sandbox_rows
from orchestration.cli.options import app, id_option, json_option, queue_option
from orchestration.cli.output import columns, is_terminal, page, print_json, print_json_list, say
from orchestration.core.errors import UsageError
from orchestration.core.models import Task
from orchestration.core.status import Status
from orchestration.engine.brief import Brief
from orchestration.support.quantities import spell_duration
from orchestration.support.text import visible

if TYPE_CHECKING:
    from orchestration.assembly import Attending
    from orchestration.core.facts import Revision
    from orchestration.core.review import Page
    from orchestration.engine.attend import Collected


@click.command()
@id_option(required=False)
@click.option("--diff/--no-diff", "diff", default=None, help="Only the diff, whatever the status; or only the brief.")
@click.option("--web", "how", flag_value="web", help="Go on in the agent's session, in a browser.")
@click.option("--tui", "how", flag_value="tui", help="Go on in the agent's session, on this terminal.")
@click.option("--shell", "how", flag_value="shell", help="Look around with a shell in the task's sandbox.")
@click.option("--open/--no-open", "opens", default=None, help="Open a browser. Default: where there is a display.")
@json_option
@queue_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    *,
    identifier: str | None,
    diff: bool | None,
    how: "Attending | None",
    opens: bool | None,
    as_json: bool,
) -> None:
    """Show a task's brief and its diff, or go on in its sandbox. Without an ID: list what is in review.

    On a terminal, a task whose agent left a session is opened in that: its sandbox starts again from what was kept.
    Leaving collects what you and the agent added, as a new revision to be approved by itself.
    """
    _check(ctx, identifier=identifier, diff=diff, how=how, opens=opens, as_json=as_json)
    if identifier is None:
        _list(ctx, as_json=as_json)
        return
    if diff and not as_json:
        _show((), shown(app(ctx).diff(identifier, stat=False)))
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
    told = [visible(line) + "\n" for line in lines(brief, is_ahead=app(ctx).is_ahead(brief.task))]
    how = how or _default(ctx, brief.task, diff=diff, opens=opens)
    if how is not None:
        click.echo("".join(told), nl=False)
        _attend(ctx, brief.task, how, opens=opens)
    elif diff is False or brief.task.revision is None:
        click.echo("".join(told), nl=False)
    else:
        _show(told, shown(app(ctx).diff(brief.task.id, stat=False)))


def _check(
    ctx: click.Context,
    /,
    *,
    identifier: str | None,
    diff: bool | None,
    how: "Attending | None",
    opens: bool | None,
    as_json: bool,
) -> None:
    """Refuse what does not go together, or would have no effect."""
    goes_in = how is not None or opens is not None
    if identifier is None and (goes_in or diff is not None):
        raise click.UsageError("no id: say which task, as in: taskq review ID", ctx)
    if goes_in and (diff is not None or as_json):
        raise click.UsageError("--diff, --no-diff and --json only show; give them without the other flags", ctx)
    if diff and as_json:
        raise click.UsageError("--json has no diff; see: taskq diff ID --json", ctx)
    if opens is not None and how not in {None, "web"}:
        raise click.UsageError("--open and --no-open are about the browser of --web", ctx)
    if goes_in and not (is_terminal() and sys.stdin.isatty()):
        raise click.UsageError(
            "going on in a sandbox needs a terminal; without one there is: taskq review ID --diff", ctx
        )


def _default(ctx: click.Context, task: Task, /, *, diff: bool | None, opens: bool | None) -> "Attending | None":
    """Return how a task is opened when nobody said: where a person is there, and a session to go on with."""
    if opens is not None:
        return "web"
    is_visit = diff is None and is_terminal() and sys.stdin.isatty() and app(ctx).session(task) is not None
    return "web" if is_visit else None


def _show(told: Iterable[str], diff: Iterable[str]) -> None:
    if is_terminal():
        page(itertools.chain(told, diff))
        return
    for line in itertools.chain(told, diff):
        click.echo(line, nl=False, color=False)


def _attend(ctx: click.Context, task: Task, how: "Attending", /, *, opens: bool | None) -> None:
    """Let the person in; then say what became of it. Raises: what opening or collecting raises."""
    say(f"Opening the sandbox of {task.id} ...")
    collected = app(ctx).attend(task.id, how, opens=opens, tell=_tell_page)
    tell_collected(collected)
    if collected.problem is not None:
        raise collected.problem


def _tell_page(found: "Page") -> None:
    say(f"{found.title}: {found.url}")
    if found.password is not None:
        say(f"Its password: {found.password}")
    say("Leave with Ctrl-C; what was added is collected then.")


def tell_collected(collected: "Collected") -> None:
    """Say what became of an attempt that was open."""
    task, revision = collected.task, collected.revision
    if revision is None:
        is_at = f"is at {task.revision.commit[:12]}" if task.revision is not None else "has no changes"
        say(f"Nothing new: {task.id} {is_at}")
    elif collected.unrecorded is not None:
        say(f"Kept as {revision.ref} ({revision.commit[:12]}), but not recorded: {collected.unrecorded}")
    else:
        which = f"attempt {revision.attempt}, collect {revision.collect}"
        say(f"New revision of {task.id}: {size(revision)} ({revision.commit[:12]}, {which})")
        for flag in revision.flags:
            say(f"  FLAG {flag}")
        say(f"  next taskq review {task.id} --diff | taskq approve {task.id} [--land ff]")


def _list(ctx: click.Context, /, *, as_json: bool) -> None:
    snapshot = app(ctx).read()
    if as_json:
        print_json_list(app(ctx).all_facts(snapshot.glances((Status.REVIEW,)), snapshot))
    elif rows := [(task.id, size(task.revision), task.title or "") for task in snapshot.select((Status.REVIEW,))]:
        columns(rows)
    else:
        say("Nothing is in review.")


def size(revision: "Revision | None") -> str:
    """Return how much a revision changes, as ``3 files +20 -4``."""
    if revision is None:
        return "no changes"
    count = len(revision.files)
    added = sum(change.added or 0 for change in revision.files)
    removed = sum(change.removed or 0 for change in revision.files)
    return f"{count} file{'' if count == 1 else 's'} +{added} -{removed}"


def lines(brief: Brief, *, is_ahead: bool = False) -> list[str]:
    """Return the brief of a task, made for one screen. *is_ahead* is whether its sandbox may hold more."""
    task = brief.task
    took = [f"{stage} {spell_duration(value)}" for stage, value in brief.result.timings.items()] if brief.result else []
    rows = [f"{task.id}: {task.title or ''}", *_asked(task)]
    rows.append(f"  changed  {size(task.revision)}, attempt {task.attempt}, agent {task.agent}, sandbox {task.sandbox}")
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
    if is_ahead:
        rows.append(f"  FLAG     a review ended early; collect what it left with: taskq collect {task.id}")
    rows += [f"  {name:<8} {value}" for name, value in agent_rows.rows(task)]
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
