r"""The agent `scripted`: a fake for tests and demos. It is no agent; it does what the task's text says, line by line.

The text may start with prose; after a line ``script:`` each line is one instruction. Blank lines and lines that start
with ``#`` mean nothing. In TEXT, ``\n``, ``\t`` and ``\\`` are a new line, a tab and a backslash.

===================== ==============================================================================
``write PATH: TEXT``  write a file of one or more lines, with its folders
``append PATH: TEXT`` add lines to a file
``delete PATH``       remove a file or folder
``commit MESSAGE``    commit everything
``say TEXT``          write a line to stdout
``warn TEXT``         write a line to stderr
``run SHELL``         run a line of shell
``sleep DURATION``    do nothing for a while, such as ``500ms`` or ``2s``
``fail CODE``         end with an exit code from 1 to 255
``hang``              never end
``flood SIZE``        write so much to stdout, such as ``100MB``
``lie``               claim that all is done and tested
``crash``             kill itself
``spawn``             leave a process behind, in a session of its own, that holds stdout open
``break-git``         damage the workspace's git beyond use
===================== ==============================================================================

The first instruction that fails ends the script. It is compiled here to one POSIX shell script, so that the sandbox
needs only sh, git and the core utilities.
"""

import difflib
import re
import shlex
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from orchestration.adapters.agent.base import PlainAgent
from orchestration.adapters.agent.command import give_task
from orchestration.adapters.agent.judgement import judge
from orchestration.core.attempts import AttemptSpec
from orchestration.core.errors import UsageError
from orchestration.core.models import Task
from orchestration.core.ports import AgentJob, AgentResult, Command, Output, Sandbox
from orchestration.support.quantities import duration, size

_ESCAPE: Final = re.compile(r"\\([nt\\])")
_MEANING: Final = MappingProxyType({"n": "\n", "t": "\t", "\\": "\\"})
_LOUDEST_EXIT: Final = 255


class ScriptedAgent(PlainAgent):
    """See `core.ports.Agent`. A fake: for tests and demos."""

    def build(self, sandbox: Sandbox, job: AgentJob, output: Output) -> AgentResult:
        """See `core.ports.Agent.build`."""
        path = sandbox.send("script.sh", compile_script(job.spec.text).encode("utf-8", "surrogateescape"))
        argv = ("/bin/sh", path)
        invocation = Command(argv=argv, timeout=job.timeout, env=give_task(sandbox, job.spec))
        return judge(sandbox.run(invocation, output), shlex.join(argv))


def check(asked: AttemptSpec | Task) -> None:
    """Refuse a text that is no script.

    Raises: UsageError.
    """
    compile_script(asked.text or "")


def compile_script(text: str) -> str:
    """Return the shell script that the task's text stands for.

    Raises: UsageError that names the line.
    """
    lines = text.split("\n")
    start = next((number for number, line in enumerate(lines) if line.strip() == "script:"), None)
    if start is None:
        raise UsageError(
            "the agent 'scripted' finds no line 'script:' in the task's text; "
            f"put one there, and below it instructions, one per line: {', '.join(_INSTRUCTIONS)}"
        )
    compiled = ["set -eu"]
    for number, line in enumerate(lines[start + 1 :], start + 2):
        stripped = line.strip()
        if stripped and not stripped.startswith("#"):
            compiled.append(_compile_line(stripped, number))
    return "\n".join(compiled) + "\n"


def _compile_line(line: str, number: int) -> str:
    word, _, rest = line.partition(" ")
    compile_rest = _INSTRUCTIONS.get(word)
    if compile_rest is None:
        near = difflib.get_close_matches(word, _INSTRUCTIONS, n=1, cutoff=0)[0]
        raise UsageError(f"line {number} of the script: {word[:40]!a} is no instruction; did you mean '{near}'")
    if "\0" in rest:
        raise UsageError(f"line {number} of the script: '{word}' holds a NUL character; no shell could run it")
    try:
        return compile_rest(rest.strip())
    except ValueError as error:
        raise UsageError(f"line {number} of the script: '{word}' {error}") from error


def _needs(rest: str, what: str) -> str:
    if not rest:
        raise ValueError(f"needs {what}")
    return rest


def _text(rest: str) -> str:
    return shlex.quote(_ESCAPE.sub(lambda match: _MEANING[match[1]], rest))


def _path_and_text(rest: str) -> tuple[str, str]:
    path, colon, text = rest.partition(":")
    if not colon or not path.strip():
        raise ValueError("needs a path, a colon and a text, such as 'notes/a.txt: hello'")
    return _path(path.strip()), _text(text.removeprefix(" "))


def _path(rest: str) -> str:
    """Quote a path, so that it cannot be taken for an option."""
    path = _needs(rest, "a path")
    return shlex.quote(path if path.startswith("/") else f"./{path}")


def _write(rest: str, *, how: str) -> str:
    path, text = _path_and_text(rest)
    return f"mkdir -p -- \"$(dirname -- {path})\"\nprintf '%s\\n' {text} {how} {path}"


def _fail(rest: str) -> str:
    if not rest.isascii() or not rest.isdecimal() or not 1 <= int(rest) <= _LOUDEST_EXIT:
        raise ValueError(f"needs an exit code from 1 to {_LOUDEST_EXIT}")
    return f"exit {int(rest)}"


def _alone(script: str) -> Callable[[str], str]:
    def compile_rest(rest: str) -> str:
        if rest:
            raise ValueError(f"takes nothing after it, but here is {rest[:40]!a}")
        return script

    return compile_rest


_SLEEPER: Final = "while :; do sleep 3600; done"

_INSTRUCTIONS: Final[Mapping[str, Callable[[str], str]]] = MappingProxyType(
    {
        "write": lambda rest: _write(rest, how=">"),
        "append": lambda rest: _write(rest, how=">>"),
        "delete": lambda rest: f"rm -r -- {_path(rest)}",
        "commit": lambda rest: f"git add -A\ngit commit -q -m {_text(_needs(rest, 'a message'))}",
        "say": lambda rest: f"printf '%s\\n' {_text(rest)}",
        "warn": lambda rest: f"printf '%s\\n' {_text(rest)} >&2",
        "run": lambda rest: f"/bin/sh -c {shlex.quote(_needs(rest, 'a line of shell'))}",
        "sleep": lambda rest: f"sleep {duration(rest).total_seconds():.3f}",
        "fail": _fail,
        "hang": _alone(_SLEEPER),
        "flood": lambda rest: f"yes 'and so it goes on and on' | head -c {size(rest)}",
        "lie": _alone("echo 'All done: the bug is fixed, every test passes, and everything is committed.'"),
        "crash": _alone("kill -KILL $$"),
        "spawn": _alone(
            f"if command -v setsid >/dev/null; then (setsid /bin/sh -c '{_SLEEPER}' &)\n"
            f"else (trap '' HUP; /bin/sh -c '{_SLEEPER}' &)\nfi"
        ),
        "break-git": _alone(
            'git_dir=$(git rev-parse --absolute-git-dir)\nrm -rf -- "$git_dir/HEAD" "$git_dir/index" "$git_dir/objects"'
        ),
    }
)
