"""Plain lines and JSON on stdout: one result per line, no colour, nothing that a program could not read."""

import json
import os
import re
import sys
from collections.abc import Iterable
from itertools import islice
from typing import Any, Final

import click

from orchestration.core.models import Task
from orchestration.support.text import visible, visible_line

_MANY: Final = 400
"""So many values or lines go at once; from here on it is worth to load what encodes them quickly."""


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


def print_json_list(values: Iterable[Any]) -> None:
    """Print *values* as one indented JSON array; quickly where they are many. Nothing is printed before all are there.

    Many may be whatever msgspec encodes.
    """
    source = iter(values)
    first = list(islice(source, _MANY))
    if len(first) < _MANY and all(isinstance(value, dict) for value in first):
        print_json(first)
        return
    import msgspec

    encode = msgspec.json.Encoder().encode
    pieces = []
    while first:
        pieces.append(encode(first))
        first = list(islice(source, _MANY))
    for place, piece in enumerate(pieces):
        text = msgspec.json.format(piece, indent=2).decode("utf-8")
        before, after = "[\n" if place == 0 else "", "\n]\n" if place == len(pieces) - 1 else ",\n"
        click.echo(before + _ascii(text[2:-2]) + after, nl=False)


def _ascii(text: str) -> str:
    """Return JSON with everything but ASCII spelled out, as `print_json` has it."""
    if text.isascii() and "\x7f" not in text:
        return text
    return re.sub("[\x7f-\U0010ffff]+", lambda match: json.dumps(match[0])[1:-1], text)


def print_json_line(value: Any) -> None:
    """Print *value* as one line of JSON."""
    click.echo(json.dumps(value, allow_nan=False))


def warn(message: str) -> None:
    """Say on stderr what the operator should know although the command went on."""
    click.echo(click.style("warning: ", fg="yellow", bold=True) + visible(message), err=True)


def say(message: str) -> None:
    """Print one line for people and scripts alike."""
    click.echo(visible(message))


def say_each(messages: Iterable[str]) -> None:
    """Print one line for each of *messages*, of which there may be very many."""
    _echo_lines(map(visible, messages))


def columns(rows: Iterable[tuple[str, ...]]) -> None:
    """Print *rows* as tab-separated lines; fields hold no tab and no newline."""
    _echo_lines("\t".join([visible_line(field) for field in row]) for row in rows)


def _echo_lines(lines: Iterable[str]) -> None:
    source = iter(lines)
    while some := list(islice(source, _MANY)):
        click.echo("\n".join(some))


def one_line(task: Task) -> str:
    """Return a task as one line: id, status, and why."""
    why = f" ({task.reason})" if task.reason else ""
    return visible_line(f"{task.id}: {task.status}{why}")
