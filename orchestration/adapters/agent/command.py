"""The agent `command`: any shell command, from the flag, the task's frontmatter or the configuration.

The task's text is on stdin and in the file that ``TASKQ_TASK_FILE`` names; ``TASKQ_MODEL`` is set when the task names a
model. The command runs by ``/bin/sh`` in the workspace.
"""

from collections.abc import Mapping
from typing import Final

from orchestration.adapters.agent.asked import command_of
from orchestration.adapters.agent.judgement import judge
from orchestration.core.attempts import AttemptSpec
from orchestration.core.ports import AgentJob, AgentResult, Command, Output, Sandbox

_TASK_FILE: Final = "task.md"


class CommandAgent:
    """See `core.ports.Agent`."""

    def plan(self, _sandbox: Sandbox, _job: AgentJob, _output: Output) -> AgentResult | None:
        """Return None: a command has no plan."""
        return None

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
    return {"TASKQ_TASK_FILE": path} | ({"TASKQ_MODEL": spec.model} if spec.model is not None else {})
