"""The most memory that a command held: ``bare_peak.py PROGRAM ARGUMENT...`` prints it in KiB.

A process of its own, because a child starts with the peak of whoever started it, and this one is small.
"""

import os
import sys


def main(argv: list[str]) -> int:
    """Run *argv* with its output thrown away; return its exit code."""
    away = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    _, status, used = os.wait4(os.posix_spawnp(argv[0], argv, os.environ, file_actions=away), 0)
    sys.stdout.write(f"{used.ru_maxrss // (1024 if sys.platform == 'darwin' else 1)}\n")
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
