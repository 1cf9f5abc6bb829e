"""The report of an error that taskq did not foresee: a file with the traceback, for whoever mends it.

Not responsible for: secrets; arguments of commands can hold a prompt, so only the command's name is written.
"""

import os
import platform
import sys
import traceback
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from orchestration.support.paths import state_folder


def write_report(error: Exception, arguments: Sequence[str]) -> Path | None:
    """Write what is known of *error*; return the file, or None when it cannot be written."""
    now = datetime.now(UTC)
    path = state_folder(os.environ) / "reports" / f"{now:%Y%m%dT%H%M%S}-{os.getpid()}.txt"
    command = next((word for word in arguments if not word.startswith("-")), "")
    text = "".join(
        (
            f"taskq {version('taskq-orchestrator')}, Python {platform.python_version()}, {sys.platform}\n",
            f"command: {command}\ntime: {now:%Y-%m-%dT%H:%M:%SZ}\n\n",
            *traceback.format_exception(error),
        )
    )
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError:
        return None
    return path
