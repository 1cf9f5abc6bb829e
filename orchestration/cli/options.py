"""What several commands share: the state of an invocation, ids, ``--json``, ``--queue``."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from orchestration.assembly import App
    from orchestration.cli.tally import Tally
    from orchestration.core.snapshot import Damage

Function = TypeVar("Function", bound=Callable[..., Any])


class State:
    """What was said before the command's name, and the application once somebody asked for it."""

    def __init__(self, queue: str | None = None) -> None:
        self.queue = queue
        self.opened: App | None = None
        self._reading: Tally | None = None

    def show_reading(self, lines: int | None) -> None:
        """Show how far a long journal was read for its index; None when that is done."""
        if self._reading is None:
            from orchestration.cli.tally import Tally

            self._reading = Tally("lines of the journal read, for its index")
        self._reading(lines)


def app(ctx: click.Context) -> "App":
    """Return the application of this invocation."""
    from orchestration.assembly import App

    state = ctx.find_object(State)
    if state is None:
        state = State()
    if state.opened is None:
        state.opened = App.open(state.queue)
        state.opened.on_damage = _warn_of_damage
        state.opened.on_reading = state.show_reading
    return state.opened


def _warn_of_damage(damage: "Sequence[Damage]") -> None:
    from orchestration.cli.output import warn

    for item in damage:
        warn(f"the journal is damaged at line {item.line}: {item.why}; mend it with: taskq fsck --repair")


def said_queue(ctx: click.Context) -> str | None:
    """Return what ``--queue`` said, if anything."""
    state = ctx.find_object(State)
    return None if state is None else state.queue


def _set_queue(ctx: click.Context, _parameter: click.Parameter, value: str | None) -> None:
    state = ctx.find_object(State)
    if value is not None and state is not None:
        state.queue = value


def queue_option(function: Function) -> Function:
    """Take ``--queue`` after the command's name too."""
    return click.option(
        "--queue", metavar="FOLDER", expose_value=False, callback=_set_queue, help="The queue's folder."
    )(function)


def json_option(function: Function) -> Function:
    """Take ``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, as docs/reference/json.md describes it.")(
        function
    )


def duration_option(name: str, *, default: str, text: str) -> Callable[[Function], Function]:
    """Take a duration, as in ``30d``."""

    def parse(_ctx: click.Context, _parameter: click.Parameter, value: str) -> "timedelta":
        from orchestration.support.quantities import duration

        try:
            return duration(value)
        except ValueError as error:
            raise click.BadParameter(str(error)) from error

    return click.option(name, metavar="AGE", default=default, callback=parse, help=text)


def _complete_ids(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    return list(app(ctx).read().ids(incomplete))


def _one_id(ctx: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    """Take the id from the argument or from ``--id``, and only one of them."""
    named = ctx.params.pop("id_option", None)
    if value is not None and named is not None and value != named:
        raise click.UsageError(f"two ids, {value!r} and {named!r}; give one", ctx)
    return value or named


def id_option(*, required: bool) -> Callable[[Function], Function]:
    """Take an id as an argument and as ``--id``; the command gets it as *identifier*."""

    def wrap(function: Function) -> Function:
        def check(ctx: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
            identifier = _one_id(ctx, parameter, value)
            if required and identifier is None and not ctx.resilient_parsing:
                raise click.UsageError("no id: say which task, as in: taskq " + (ctx.info_name or "") + " ID", ctx)
            return identifier

        argument = click.argument(
            "identifier", metavar="[ID]", required=False, callback=check, shell_complete=_complete_ids
        )
        option = click.option(
            "--id", "id_option", metavar="ID", is_eager=True, help="The task.", shell_complete=_complete_ids
        )
        return option(argument(function))

    return wrap
