"""`taskq add`."""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from orchestration.cli.options import app, json_option, queue_option
from orchestration.cli.output import print_json_list, say_each, warn
from orchestration.core.drafts import TaskDraft
from orchestration.core.models import NETWORKS, Task


def _words(values: tuple[str, ...]) -> tuple[str, ...] | None:
    """Return the words of repeated and of comma-separated values; None when nothing was given."""
    words = tuple(word.strip() for value in values for word in value.split(",") if word.strip())
    return words or None


def _moment(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> datetime | None:
    if value is None:
        return None
    from orchestration.support.quantities import moment

    try:
        return moment(value, now=datetime.now(UTC))
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def _limits(_ctx: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, Any] | None:
    if not values:
        return None
    from orchestration.support.config import parse_limits

    pairs = {}
    for value in values:
        name, equals, amount = value.partition("=")
        if not equals:
            raise click.BadParameter(f"{value!r} has no '='; write NAME=VALUE, as in build=30m")
        pairs[name.strip()] = amount.strip()
    return parse_limits(pairs, where="--limit")


@click.command()
@click.option("--task", "text", metavar="TEXT", help="What is wanted, inline; needs --id and --repo.")
@click.option("--task-file", metavar="FILE", type=click.Path(path_type=Path), help="A Markdown file with front matter.")
@click.option("--from", "bulk", metavar="FILE", help="Many tasks: JSONL, or front matter documents; - is stdin.")
@click.option("--id", "id_", metavar="ID", help="The task's id. Default: the task file's name.")
@click.option("--title", help="One line for lists. Default: the first line of the task.")
@click.option("--repo", metavar="PATH", help="The git repository to work on.")
@click.option("--base", metavar="REV", help="Where to start. Default: the repository's current branch.")
@click.option("--branch", help="The branch that gets the work. Default: task/<id>.")
@click.option("--worktree-path", metavar="PATH", help="Where the operator's worktree goes.")
@click.option("--agent", metavar="NAME", help="opencode (default without a command), command, scripted or oracle.")
@click.option("--agent-command", metavar="CMD", help="The shell command that does the work.")
@click.option("--model", help="What the agent should use, as in anthropic/claude-sonnet-4-5.")
@click.option("--variant", help="Which variant of the model, as in high; the agent's own words.")
@click.option("--sandbox", metavar="KIND", help="Where the agent runs: docker (default) or local.")
@click.option("--network", type=click.Choice(NETWORKS), help="What the sandbox reaches. Default: allowlist.")
@click.option("--priority", type=int, help="Higher runs first. Default: 0.")
@click.option("--label", "labels", multiple=True, help="A word to find the task by; may be repeated.")
@click.option("--after", multiple=True, metavar="ID", help="Wait until this task is done; may be repeated.")
@click.option("--not-before", metavar="TIME", callback=_moment, help="2026-11-21T03:00, or +2h.")
@click.option("--limit", "limits", multiple=True, metavar="NAME=VALUE", callback=_limits, help="As in build=30m.")
@click.option("--allow-empty/--no-allow-empty", default=None, help="Changing nothing is a success.")
@json_option
@queue_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    *,
    text: str | None,
    task_file: Path | None,
    bulk: str | None,
    as_json: bool,
    id_: str | None,
    labels: tuple[str, ...],
    after: tuple[str, ...],
    **given: Any,
) -> None:
    """Queue a task, or many at once. What a flag says is stronger than front matter, which is stronger than config.

    \b
    taskq add --id T-1 --repo . --agent-command ./my-agent --task "Fix the flaky test"
    taskq add --task-file fix-login.md
    generate-tasks | taskq add --from -
    """
    if sum(source is not None for source in (text, task_file, bulk)) != 1:
        raise click.UsageError("give exactly one of --task, --task-file and --from", ctx)
    if text is not None and (id_ is None or given["repo"] is None):
        raise click.UsageError("--task needs --id and --repo", ctx)
    if bulk is not None and id_ is not None:
        raise click.UsageError("--from takes the ids from its input; leave --id out", ctx)
    flags = TaskDraft(id=id_, text=text, labels=_words(labels), after=_words(after), **given)
    app(ctx).on_warning = warn
    tasks = _add(ctx, flags, task_file=task_file, bulk=bulk)
    if as_json:
        snapshot = app(ctx).read()
        print_json_list(app(ctx).facts(task, snapshot) for task in tasks)
        return
    say_each(f"Task added: {task.id}" for task in tasks)


def _add(ctx: click.Context, flags: TaskDraft, *, task_file: Path | None, bulk: str | None) -> tuple[Task, ...]:
    if task_file is not None:
        return (app(ctx).add_file(task_file, flags),)
    if bulk is None:
        return (app(ctx).add_one(flags),)
    from orchestration.cli.tally import Tally

    with Tally("tasks settled") as tally:

        def warn_below(message: str) -> None:
            tally(None)
            warn(message)

        app(ctx).on_warning = warn_below
        if bulk == "-":
            return app(ctx).add_many("<stdin>", sys.stdin.buffer.read(), flags, tell=tally)
        return app(ctx).add_many(bulk, app(ctx).read_input(Path(bulk)), flags, tell=tally)
