"""The agent `oracle`: applies a solution that is known, from a file of the host that ``agent_command`` names.

A ``.patch`` or ``.diff`` is applied by git and left uncommitted; anything else is run as a script in the workspace, by
the interpreter in its first line, or else by ``/bin/sh``. The sandbox sees a copy only.
"""

import shlex
from pathlib import Path
from typing import Final

from orchestration.adapters.agent.base import PlainAgent
from orchestration.adapters.agent.command import give_task
from orchestration.adapters.agent.judgement import judge
from orchestration.core.attempts import AttemptSpec
from orchestration.core.errors import UsageError
from orchestration.core.models import Task
from orchestration.core.ports import AgentJob, AgentResult, Command, Output, Sandbox

_PATCHES: Final = frozenset({".patch", ".diff"})
_LARGEST: Final = 256 * 1024**2


class OracleAgent(PlainAgent):
    """See `core.ports.Agent`."""

    def build(self, sandbox: Sandbox, job: AgentJob, output: Output) -> AgentResult:
        """See `core.ports.Agent.build`."""
        path = _solution(job.spec)
        content = _read(path)
        if path.suffix.lower() in _PATCHES:
            argv: tuple[str, ...] = (
                "git",
                "apply",
                "--index",
                "--whitespace=nowarn",
                "--",
                sandbox.send("oracle.patch", content),
            )
            failure = f"the patch {path.name} does not apply to the workspace"
        else:
            argv = (*interpreter(content), sandbox.send("oracle", content))
            failure = None
        invocation = Command(
            argv=argv,
            timeout=job.timeout,
            stdin=job.spec.text.encode("utf-8", "surrogateescape"),
            env=give_task(sandbox, job.spec),
        )
        return judge(sandbox.run(invocation, output), shlex.join(argv), failure=failure)


def check(asked: AttemptSpec | Task) -> None:
    """Refuse a solution that is not there.

    Raises: UsageError.
    """
    _solution(asked)


def interpreter(script: bytes) -> tuple[str, ...]:
    """Return what runs *script*, as the kernel reads its first line: a program and at most one argument."""
    first = script.partition(b"\n")[0]
    parts = first[2:].decode("utf-8", "surrogateescape").split(maxsplit=1) if first.startswith(b"#!") else []
    return tuple(part.strip() for part in parts) or ("/bin/sh",)


def _solution(asked: AttemptSpec | Task) -> Path:
    if not asked.agent_command:
        raise UsageError("the agent 'oracle' needs a patch or script; name it with --agent-command")
    path = Path(asked.agent_command)
    if not path.is_absolute():
        raise UsageError(f"{asked.agent_command!a} is not absolute; write the oracle's whole path: {path.absolute()}")
    if not path.is_file():
        raise UsageError(f"there is no file {asked.agent_command!a}; the oracle needs a patch or script there")
    return path


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > _LARGEST:
            raise UsageError(f"{path} is larger than {_LARGEST} bytes; the oracle takes a patch or script")
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}; the oracle needs a patch or script there") from error
