"""A page is opened in the person's browser, and its password stands in no argument of any process.

A browser is told of a file that only its user can read, which sends it on to the page.
"""

import html
import os
import tempfile
import webbrowser
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from orchestration.support.files import create_new, write_all

_REDIRECT: Final = """<!DOCTYPE html>
<html><head><meta charset="utf-8"><title>taskq review</title>
<meta name="referrer" content="no-referrer"><meta http-equiv="refresh" content="0;url={url}"></head>
<body><a href="{url}">Open the session</a></body></html>
"""


def has_display(environment: Mapping[str, str], *, platform: str) -> bool:
    """Return whether a browser window could be opened where this person is."""
    if environment.get("SSH_CONNECTION"):
        return False
    return platform == "darwin" or bool(environment.get("DISPLAY") or environment.get("WAYLAND_DISPLAY"))


@contextmanager
def private_folder(environment: Mapping[str, str]) -> Iterator[Path]:
    """Give a new folder that is this user's alone, in memory where the system has that; it goes with the block."""
    runtime = environment.get("XDG_RUNTIME_DIR", "")
    where = runtime if runtime.startswith("/") and os.access(runtime, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="taskq-review-", dir=where, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def redirect(folder: Path, url: str) -> Path:
    """Write the file that sends a browser on to *url* into the private *folder*; return it."""
    file = folder / "open.html"
    descriptor = create_new(file)
    try:
        write_all(descriptor, _REDIRECT.format(url=html.escape(url)).encode())
    finally:
        os.close(descriptor)
    return file


def show(file: Path) -> bool:
    """Open *file* in the person's browser; False when there is none."""
    return webbrowser.open(file.as_uri())
