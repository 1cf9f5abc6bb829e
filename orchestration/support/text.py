"""Hostile text made safe to show: no escape sequence, no hidden or reordering character reaches a terminal.

Guarantees: what comes back holds no control character but newline and tab, and no bidirectional or zero-width one.
"""

import re
from functools import cache
from typing import Final

_UNSAFE: Final = (
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 without tab and newline, DEL, C1
    "\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff"  # zero-width, line separators, bidi, invisible operators
    "\ufff9-\ufffb\U000e0000-\U000e007f"  # interlinear marks, tags
    "\ud800-\udfff]"  # lone surrogates cannot be printed at all
)


@cache
def _unsafe() -> re.Pattern[str]:
    """Return the pattern, compiled once it is needed: plain ASCII, the usual case, gets by without it."""
    return re.compile(_UNSAFE)


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def visible(text: str) -> str:
    r"""Return *text* with every unsafe character spelled out, as in ``\x1b[2J``; a final ``\r`` of a line goes."""
    if text.isascii() and text.isprintable():
        return text
    return _unsafe().sub(_escape, text.replace("\r\n", "\n"))


def visible_line(text: str, *, width: int = 0) -> str:
    """Return *text* as one visible line: newlines spelled out, cut to *width* characters when that is above 0."""
    line = visible(text).replace("\n", "\\n").replace("\t", " ")
    return line if width <= 0 or len(line) <= width else line[: max(width - 1, 0)] + "…"


def decode(content: bytes) -> str:
    r"""Return *content* as text; what is no UTF-8 is spelled out as ``\\xff``."""
    return content.decode("utf-8", "backslashreplace")
