"""Hostile bytes made fit for one line of a message."""

from orchestration.support.text import decode, visible_line


def shown(text: bytes | str, *, longest: int = 160) -> str:
    """Return *text* as one visible line of at most *longest* characters."""
    return visible_line(decode(text) if isinstance(text, bytes) else text, width=longest)


def last_line(stderr: bytes) -> str:
    """Return the most telling line of a git process's stderr: the last error, else the last line."""
    lines = [line.strip() for line in stderr.split(b"\n") if line.strip()]
    telling = [line for line in lines if line.startswith((b"fatal:", b"error:"))]
    chosen = (telling or lines or [b"no message"])[-1]
    return shown(chosen.removeprefix(b"fatal: ").removeprefix(b"error: ").rstrip(b"."), longest=300)
