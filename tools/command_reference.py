#!/usr/bin/env python3
"""Write ``docs/reference/commands.md`` from the commands' own help; a test holds the file to it."""

import sys
from pathlib import Path
from typing import Final

import click

from orchestration.cli.main import SECTIONS, cli

TARGET: Final = Path(__file__).parents[1] / "docs" / "reference" / "commands.md"


def reference() -> str:
    """Return the page."""
    root = cli.make_context("taskq", [], resilient_parsing=True)
    parts = ["# Commands\n\nGenerated from the commands' own help by `tools/command_reference.py`.\n"]
    for section, commands in SECTIONS.items():
        parts.append(f"\n## {section}\n")
        for name in commands:
            command = cli.get_command(root, name)
            if command is not None:
                context = click.Context(command, info_name=name, parent=root, terminal_width=100)
                parts.append(f"\n### taskq {name}\n\n```\n{command.get_help(context)}\n```\n")
    return "".join(parts)


if __name__ == "__main__":
    TARGET.write_text(reference(), encoding="utf-8")
    sys.stdout.write(f"{TARGET} written\n")
