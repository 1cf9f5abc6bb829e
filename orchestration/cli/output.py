"""Plain lines and JSON on stdout: one result per line, no colour, nothing that a program could not read."""

import json
import os
import sys
from collections.abc import Iterable
from typing import Any

import click

from orchestration.core.models import Task
from orchestration.support.text import visible, visible_line


def is_terminal() -> bool:
    """Return whether a person reads stdout."""
    return sys.stdout.isatty()


def page(lines: Iterable[str]) -> None:
    """Show *lines* in the operator's pager; what fits on the screen stays there, as git has it."""
    os.environ.setdefault("LESS", "-FRX")
    click.echo_via_pager(lines)


def print_json(value: Any) -> None:
    """Print *value* as indented JSON."""
    click.echo(json.dumps(value, indent=2, allow_nan=False))


def print_json_line(value: Any) -> None:
    """Print *value* as one line of JSON."""
    click.echo(json.dumps(value, allow_nan=False))


def warn(message: str) -> None:
    """Say on stderr what the operator should know although the command went on."""
    click.echo(click.style("warning: ", fg="yellow", bold=True) + visible(message), err=True)


def say(message: str) -> None:
    """Print one line for people and scripts alike."""
    click.echo(visible(message))


def columns(rows: Iterable[tuple[str, ...]]) -> None:
    """Print *rows* as tab-separated lines; fields hold no tab and no newline."""
    for row in rows:
        click.echo("\t".join(visible_line(field) for field in row))


def one_line(task: Task) -> str:
    """Return a task as one line: id, status, and why."""
    why = f" ({task.reason})" if task.reason else ""
    return visible_line(f"{task.id}: {task.status}{why}")
