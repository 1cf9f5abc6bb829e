"""The entry point: the commands, loaded on use, and the one place where errors become exit codes.

Guarantees: every error is one line on stderr (with ``--json`` one object); stdout stays clean for results; an error
that taskq did not foresee is written to a report file and shows no traceback.
"""

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from types import MappingProxyType
from typing import Final

import click

from orchestration.cli.options import State
from orchestration.core.errors import EXIT_BUG, EXIT_INTERRUPTED, EXIT_USAGE, TaskqError

SECTIONS: Final = MappingProxyType(
    {
        "Queue": {
            "add": "Queue a task, or many at once",
            "status": "Show the tasks, by status",
            "show": "Show all that is known of one task",
            "cancel": "Cancel a task, whatever it does",
            "retry": "Put a failed task back to todo",
            "remove": "Take a task out of the queue",
        },
        "Run": {
            "run": "Run what is ready, each task in a sandbox of its own",
            "logs": "Show what an attempt wrote",
        },
        "Review": {
            "review": "Show a task's brief and its diff, or go on in its sandbox",
            "diff": "Show what a task changed",
            "collect": "Collect what a review left that ended early",
            "approve": "Accept a task's work, and land it if asked",
        },
        "Care": {
            "cleanup": "Take away what finished tasks left",
            "fsck": "Check the journal, and repair it",
            "compact": "Write the journal anew, as short as it can be",
            "archive": "Move tasks that are long over out of the queue",
            "export": "Write tasks as JSON, one a line",
            "import": "Take tasks that were exported, or plain records",
            "backup": "Write the whole queue to one file",
            "restore": "Make a queue from a backup",
            "doctor": "Say what works on this machine, and what would help",
            "config": "Show every setting and where it comes from",
            "secret": "Keep secrets for the tasks that name them",
        },
        "Start": {
            "init": "Make a queue here",
            "build-image": "Build the image that docker sandboxes start from",
            "demo": "Run three real tasks on a small repository of its own",
            "completion": "Print the completion script for a shell",
        },
    }
)

COMMANDS: Final = MappingProxyType({name: text for group in SECTIONS.values() for name, text in group.items()})

_MODULES: Final = MappingProxyType({"import": "import_"})
"""Of commands whose name is no name for a module."""


class Commands(click.Group):
    """The commands by name; a command's module is imported when the command is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of this name, or None."""
        if cmd_name not in COMMANDS:
            return None
        module = _MODULES.get(cmd_name, cmd_name.replace("-", "_"))
        command: click.Command = import_module(f"orchestration.cli.commands.{module}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that *args* name, or fail naming the nearest."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError:
            from difflib import get_close_matches

            near = get_close_matches(args[0], COMMANDS, n=1)
            hint = f"did you mean {near[0]}?" if near else "see: taskq --help"
            raise click.UsageError(f"no command {args[0]!r}; {hint}", ctx) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands by section, without loading one of them."""
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl(list(commands.items()), col_max=12)


def _print_version(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:  # noqa: FBT001 -- click's shape
    if not value or ctx.resilient_parsing:
        return
    from importlib.metadata import version

    click.echo(f"taskq {version('taskq-orchestrator')}")
    ctx.exit()


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("--queue", metavar="FOLDER", help="The queue's folder. Default: $TASKQ_QUEUE, a queue/ above, your own.")
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Show it.")
@click.pass_context
def cli(ctx: click.Context, queue: str | None) -> None:
    """Queue tasks for coding agents; each runs in a sandbox, is collected, and comes to you for review."""
    ctx.obj = State(queue)


def run(arguments: list[str]) -> int:
    """Run one command line; return its exit code."""
    try:
        result = _invoke(arguments)
        sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help())
        return EXIT_USAGE
    except click.ClickException as error:
        return _fail(error.format_message().rstrip("."), code="usage", exit_code=EXIT_USAGE, arguments=arguments)
    except (click.Abort, KeyboardInterrupt):
        return _fail("interrupted", code="interrupted", exit_code=EXIT_INTERRUPTED, arguments=arguments)
    except TaskqError as error:
        if error.exit_code != EXIT_BUG:
            return _fail(str(error), code=error.code, exit_code=error.exit_code, arguments=arguments)
        return _report_bug(error, arguments)
    except BrokenPipeError:  # whoever reads us has seen enough; nothing may be flushed into the closed pipe at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:  # noqa: BLE001 -- the edge: our own bugs become a report and exit 70
        return _report_bug(error, arguments)
    return result if isinstance(result, int) else 0


def _invoke(arguments: list[str]) -> object:
    """Do what `click.Command.main` does but for its own answer to a closed pipe, which is to fail."""
    if "_TASKQ_COMPLETE" in os.environ:
        return cli.main(arguments, prog_name="taskq", standalone_mode=False)
    try:
        with cli.make_context("taskq", list(arguments)) as ctx:
            return cli.invoke(ctx)
    except click.exceptions.Exit as ended:
        return ended.exit_code


def _fail(message: str, *, code: str, exit_code: int, arguments: Sequence[str]) -> int:
    from orchestration.support.text import visible_line

    if "--json" in arguments:
        import json

        line = json.dumps({"error": {"code": code, "message": message, "exit_code": exit_code}})
    else:
        line = click.style("error: ", fg="red", bold=True) + visible_line(" ".join(message.split("\n")))
    click.echo(line, err=True)
    return exit_code


def _report_bug(error: Exception, arguments: Sequence[str]) -> int:
    from orchestration.cli.bug import write_report

    path = write_report(error, arguments)
    where = f"; please report it with {path}" if path is not None else ""
    message = f"taskq itself failed: {type(error).__name__}: {error}{where}"
    return _fail(message, code="bug", exit_code=EXIT_BUG, arguments=arguments)
