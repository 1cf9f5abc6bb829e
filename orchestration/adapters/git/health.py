"""Whether the git of this machine will do."""

import re
import subprocess
from typing import Final

from orchestration.adapters.git.environment import operator_environment, walled
from orchestration.core.ports import Health

OLDEST: Final = (2, 39)
"""What taskq is tested with; older ones lack ``merge-tree --write-tree`` and safety fixes."""


def check() -> Health:
    """Say which git there is."""
    remedy = f"install git {OLDEST[0]}.{OLDEST[1]} or newer"
    try:
        done = subprocess.run(  # noqa: S603 -- git's absolute path, fixed arguments
            walled(("--version",)),
            env=operator_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError) as error:
        return Health(name="git", usable=False, detail=str(error), remedy=remedy)
    text = done.stdout.decode("utf-8", "replace").strip()
    match = re.search(r"(\d+)\.(\d+)", text)
    usable = match is not None and (int(match[1]), int(match[2])) >= OLDEST
    return Health(name="git", usable=usable, detail=text, remedy=remedy)
