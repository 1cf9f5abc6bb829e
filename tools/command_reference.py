#!/usr/bin/env python3
"""Write ``docs/reference/commands.md`` from the commands' own help; a test holds the file to it.

Guarantees: a group's commands are there like all others; nothing is written when the arguments are wrong or only help
was asked for.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click

from orchestration.cli.main import SECTIONS, cli

TARGET: Final = Path(__file__).parents[1] / "docs" / "reference" / "commands.md"
_HIGHEST: Final = 3
"""The level of a command's heading; those of a group's commands are one lower."""


def main(arguments: list[str] | None = None, *, target: Path = TARGET) -> int:
    """Write the page to *target*."""
    argparse.ArgumentParser(
        prog="python -m tools.command_reference",
        description=f"Write {TARGET.name}, the reference of all commands, from their own help.",
    ).parse_args(arguments)
    target.write_text(reference(), encoding="utf-8")
    sys.stdout.write(f"{target} written\n")
    return 0


def reference() -> str:
    """Return the page."""
    root = cli.make_context("taskq", [], resilient_parsing=True)
    parts = ["# Commands\n\nGenerated from the commands' own help by `tools/command_reference.py`.\n"]
    for section, names in SECTIONS.items():
        parts.append(f"\n## {section}\n")
        for name in names:
            parts += _entries(root, name, level=_HIGHEST)
    return "".join(parts)


def _entries(parent: click.Context, name: str, *, level: int) -> Iterator[str]:
    """Yield the entry of a command and, when it is a group, those of its commands."""
    group = parent.command
    command = group.get_command(parent, name) if isinstance(group, click.Group) else None
    if command is None:
        raise LookupError(f"{parent.command_path} has no command {name}")
    context = click.Context(command, info_name=name, parent=parent, terminal_width=100)
    yield f"\n{'#' * level} {context.command_path}\n\n```\n{command.get_help(context)}\n```\n"
    if isinstance(command, click.Group):
        for inner in command.list_commands(context):
            yield from _entries(context, inner, level=level + 1)


if __name__ == "__main__":
    sys.exit(main())
