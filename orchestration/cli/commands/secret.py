"""`taskq secret`."""

import sys
from pathlib import Path

import click

from orchestration.cli.options import app, json_option
from orchestration.cli.output import print_json, say
from orchestration.core.errors import UsageError
from orchestration.support.secrets import VALUE_LIMIT


class Verbs(click.Group):
    """A group that names its commands when it is asked for one that it does not have."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that *args* name, or fail naming all of them."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError:
            raise click.UsageError(f"no command {args[0]!r}; there are: {', '.join(self.commands)}", ctx) from None


@click.group(cls=Verbs)
def command() -> None:
    """Keep secrets for tasks: a repository names them in .taskq.toml, and its sandboxes find them as files.

    \b
    taskq secret set NPM_TOKEN
    taskq secret set NPM_TOKEN < token.txt
    taskq secret list
    """


@command.command("set", short_help="Keep a value under NAME.")
@click.argument("name")
@click.option("--from-file", metavar="FILE", type=click.Path(path_type=Path), help="Take the value from a file.")
@click.pass_context
def set_(ctx: click.Context, /, *, name: str, from_file: Path | None) -> None:
    """Keep a value under NAME: asked for on a terminal, else from standard input. One newline at its end goes."""
    app(ctx).secrets.set(name, _value(name, from_file))
    say(f"Secret set: {name}")


@command.command("list")
@json_option
@click.pass_context
def list_(ctx: click.Context, /, *, as_json: bool) -> None:
    """List the names of the secrets. Values are never shown."""
    names = app(ctx).secrets.names()
    if as_json:
        print_json(names)
        return
    for name in names:
        say(name)


@command.command()
@click.argument("name")
@click.pass_context
def remove(ctx: click.Context, /, *, name: str) -> None:
    """Forget a secret."""
    app(ctx).secrets.remove(name)
    say(f"Secret removed: {name}")


def _value(name: str, from_file: Path | None) -> bytes:
    """Return the value, from where it cannot be seen by others."""
    if from_file is not None:
        try:
            with from_file.open("rb") as file:
                return _without_newline(file.read(VALUE_LIMIT + 3))
        except OSError as error:
            raise UsageError(f"{from_file}: cannot be read: {error.strerror}", code="no_file") from error
    if sys.stdin.isatty():
        text: str = click.prompt(f"Value of {name}", hide_input=True, err=True)
        return text.encode("utf-8", "surrogateescape")
    return _without_newline(sys.stdin.buffer.read(VALUE_LIMIT + 3))


def _without_newline(content: bytes) -> bytes:
    r"""Return *content* without one newline, ``\n`` or ``\r\n``, at its end."""
    return content[: -2 if content.endswith(b"\r\n") else -1] if content.endswith(b"\n") else content
