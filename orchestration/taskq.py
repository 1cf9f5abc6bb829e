"""The console script: hands over to the command line.

Guarantees: the process ends as soon as its output is flushed; what Python would only tidy up, the kernel takes back.
"""

import gc
import os
import sys
from contextlib import suppress


def main() -> None:
    """Run the command line and end the process with its exit code."""
    gc.disable()  # a short command makes no garbage worth looking for; `run` turns it on again
    from orchestration.support import lazy

    lazy.load_on_use(*lazy.NAMES)
    from orchestration.cli.main import run

    code = run(sys.argv[1:])
    for stream in (sys.stdout, sys.stderr):
        with suppress(BrokenPipeError, ValueError):
            stream.flush()
    os._exit(code)
