"""Processes that get ready, start together and are timed until the last one is done.

Responsible for: `Crowd`. What each process does is in ``benchmarks.bare_worker``.
Guarantees: starting and ending them is nobody's time; one that fails stops the run.
"""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

_ROOT: Final = Path(__file__).resolve().parents[1]


class Crowd:
    """Workers that wait for `go`; each has the arguments of one of *commands*."""

    def __init__(self, commands: Sequence[Sequence[str]]) -> None:
        self._processes: list[subprocess.Popen[str]] = []
        first, *others = commands
        self._start(first)
        self._await(self._processes[0], "ready")  # it makes what all of them share
        for arguments in others:
            self._start(arguments)
        for process in self._processes[1:]:
            self._await(process, "ready")

    def go(self) -> None:
        """Let all of them work, and return when the last one is done."""
        for process in self._processes:
            if process.stdin is not None:
                process.stdin.write("go\n")
                process.stdin.flush()
        for process in self._processes:
            self._await(process, "done")

    def end(self) -> list[str]:
        """Wait until all of them are gone; return what they say that they did, one thing a line."""
        said: list[str] = []
        for process in self._processes:
            with process:  # which closes its pipes and waits
                if process.stdin is not None and process.stdout is not None:
                    process.stdin.close()
                    said += process.stdout.read().splitlines()
        codes = [process.returncode for process in self._processes]
        if any(codes):
            raise RuntimeError(f"workers ended with {codes}")
        return said

    def _start(self, arguments: Sequence[str]) -> None:
        command = [sys.executable, "-m", "benchmarks.bare_worker", *arguments]
        process = subprocess.Popen(
            command, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )
        self._processes.append(process)

    def _await(self, process: "subprocess.Popen[str]", word: str) -> None:
        said = "" if process.stdout is None else process.stdout.readline().strip()
        if said != word:
            for each in self._processes:
                each.kill()
                each.communicate()
            raise RuntimeError(f"a worker said {said!r} in place of {word!r}: {process.args!r}")
