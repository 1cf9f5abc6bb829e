"""`taskq demo`."""

import tempfile
from pathlib import Path

import click

from orchestration.assembly import App
from orchestration.cli.commands.diff import shown
from orchestration.cli.commands.run import watch_run
from orchestration.cli.demo.play import Demo
from orchestration.cli.output import is_terminal, say
from orchestration.core.errors import EXIT_FAILED
from orchestration.core.models import Task
from orchestration.support import logs
from orchestration.support.trees import remove_tree


@click.command()
@click.option("--keep", is_flag=True, help="Leave the folder, to try more commands on it.")
def command(*, keep: bool) -> int:
    """Run three real tasks on a small repository of its own; under 30 seconds, and nothing stays behind."""
    logs.configure(json=False, verbose=False)
    folder = Path(tempfile.mkdtemp(prefix="taskq-demo-"))
    try:
        demo = Demo(folder, say=say, title=_title, show_diff=_show_diff, watch=lambda: watch_run(follow=False))
        succeeded = demo.play()
        _next_steps(folder, keep=keep)
    finally:
        if not keep:
            remove_tree(folder)
    return 0 if succeeded else EXIT_FAILED


def _title(text: str) -> None:
    click.echo("\n" + click.style(text, bold=True))


def _show_diff(app: App, task: Task) -> None:
    for line in shown(app.diff(task.id, stat=False)):
        click.echo("    " + line, nl=False, color=None if is_terminal() else False)


def _next_steps(folder: Path, *, keep: bool) -> None:
    _title("What next")
    if keep:
        for name in ("state", "cache", "data"):
            say(f"  export XDG_{name.upper()}_HOME={folder}/{name}")
        say(f"  export TASKQ_QUEUE={folder}/queue")
        say("  taskq status; taskq review text; taskq approve text")
        say(f"  rm -r {folder}     when you have seen enough")
        return
    say("  taskq build-image     once: what containers start from; without an engine, add --sandbox local below")
    say("  taskq init            makes a queue/ here")
    say("  taskq add --id T-1 --repo . --agent-command './my-agent' --task 'Fix the typo'")
    say("  taskq run && taskq review T-1 && taskq approve T-1 --land ff")
