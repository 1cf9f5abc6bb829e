"""The agent `command`: any shell command, from the flag, the task's frontmatter or the configuration.

The task's text is on stdin and in the file that ``TASKQ_TASK_FILE`` names; ``TASKQ_MODEL`` and ``TASKQ_VARIANT`` are
set when the task names them. The command runs by ``/bin/sh`` in the workspace.
"""

from collections.abc import Mapping
from typing import Final

from orchestration.adapters.agent.asked import command_of
from orchestration.adapters.agent.base import PlainAgent
from orchestration.adapters.agent.judgement import judge
from orchestration.core.attempts import AttemptSpec
from orchestration.core.ports import AgentJob, AgentResult, Command, Output, Sandbox

_TASK_FILE: Final = "task.md"


class CommandAgent(PlainAgent):
    """See `core.ports.Agent`."""

    def build(self, sandbox: Sandbox, job: AgentJob, output: Output) -> AgentResult:
        """See `core.ports.Agent.build`."""
        command = command_of(job.spec)
        invocation = Command(
            argv=("/bin/sh", "-c", command),
            timeout=job.timeout,
            stdin=job.spec.text.encode("utf-8", "surrogateescape"),
            env=give_task(sandbox, job.spec),
        )
        return judge(sandbox.run(invocation, output), command)


def give_task(sandbox: Sandbox, spec: AttemptSpec) -> Mapping[str, str]:
    """Put the task's text into the sandbox; return the variables that tell a program of it."""
    path = sandbox.send(_TASK_FILE, spec.text.encode("utf-8", "surrogateescape"))
    said = {"TASKQ_TASK_FILE": path, "TASKQ_MODEL": spec.model, "TASKQ_VARIANT": spec.variant}
    return {name: value for name, value in said.items() if value is not None}
