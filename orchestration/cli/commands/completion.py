"""`taskq completion`."""

import click
from click.shell_completion import get_completion_class

from orchestration.cli.output import say


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, /, *, shell: str) -> None:
    """Print the completion script for SHELL.

    \b
    bash:  eval "$(taskq completion bash)"
    zsh:   eval "$(taskq completion zsh)"
    fish:  taskq completion fish | source
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"no completion for {shell}", ctx)
    say(kind(ctx.find_root().command, {}, "taskq", "_TASKQ_COMPLETE").source())
