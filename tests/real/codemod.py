#!/usr/bin/env python3
"""Rename one identifier in all Python files below some folders: by tokens, so that texts and comments stay."""

import io
import sys
import tokenize
from pathlib import Path


def renamed(source: str, before: str, after: str) -> str:
    """Return *source* with every token *before* as *after*."""
    lines = source.splitlines(keepends=True)
    tokens = list(tokenize.generate_tokens(io.StringIO(source, newline="").readline))
    for token in reversed(tokens):
        if token.type == tokenize.NAME and token.string == before:
            row, column = token.start
            line = lines[row - 1]
            lines[row - 1] = line[:column] + after + line[column + len(before) :]
    return "".join(lines)


def main(before: str, after: str, *folders: str) -> None:
    """Change the files that hold the identifier and touch no other."""
    for path in sorted(path for folder in folders for path in Path(folder).rglob("*.py")):
        source = path.read_bytes().decode()
        changed = renamed(source, before, after)
        if changed != source:
            path.write_bytes(changed.encode())


if __name__ == "__main__":
    main(*sys.argv[1:])
