"""`taskq show`."""

from typing import TYPE_CHECKING, Any

import click

from orchestration.cli import agent_rows, observed
from orchestration.cli.options import app, id_option, json_option, queue_option
from orchestration.cli.output import print_json, say
from orchestration.core.errors import TaskNotFoundError

if TYPE_CHECKING:
    from orchestration.core.facts import SandboxFacts
    from orchestration.core.models import Task


@click.command()
@id_option(required=True)
@json_option
@queue_option
@click.pass_context
def command(ctx: click.Context, /, *, identifier: str, as_json: bool) -> None:
    """Show all that is known of one task, also of one that was archived."""
    try:
        brief = app(ctx).brief(identifier)
    except TaskNotFoundError as unknown:
        _show_archived(ctx, identifier, as_json=as_json, otherwise=unknown)
        return
    facts = app(ctx).facts(brief.task, app(ctx).read())
    if as_json:
        print_json(facts)
        return
    _show(brief.task, facts, brief.sandbox)


def _show_archived(ctx: click.Context, identifier: str, *, as_json: bool, otherwise: TaskNotFoundError) -> None:
    try:
        (archived,) = app(ctx).archived(identifier)
    except TaskNotFoundError:
        raise otherwise from None
    facts = app(ctx).archived_facts(archived)
    if as_json:
        print_json(facts)
        return
    say(f"Task {archived.task.id} was archived, to {archived.file}")
    _show(archived.task, facts, None)


def _show(task: "Task", facts: dict[str, Any], seen: "SandboxFacts | None") -> None:
    text = facts.pop("text", None) or ""
    for told in ("model", "variant", "usage"):
        del facts[told]
    if facts["run"] is not None:
        for told in ("observed", "session", "is_resumed"):
            del facts["run"][told]
    for name, value in facts.items():
        if value not in (None, [], {}, False):
            say(f"{name + ':':<15}{_spell(value)}")
    sandbox = observed.rows(seen) if seen is not None else ()
    for name, value in (*agent_rows.rows(task), *sandbox):
        say(f"{name + ':' if name else '':<15}{value}")
    say(f"\n{text}")


def _spell(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_spell(item)}" for name, item in value.items() if item not in (None, [], "", False))
    if isinstance(value, list):
        return ", ".join(_spell(item) for item in value)
    return " | ".join(str(value).strip().splitlines())
