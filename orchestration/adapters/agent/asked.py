"""What a task asks of the agent `command`, checked: all that `taskq add` needs of that agent, and light to load."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestration.core.errors import UsageError

if TYPE_CHECKING:
    from orchestration.core.attempts import AttemptSpec
    from orchestration.core.models import Task


def check_command(asked: Task) -> None:
    """Refuse a task whose command cannot be run. Raises: UsageError."""
    command_of(asked)


def command_of(asked: AttemptSpec | Task) -> str:
    """Return the shell command that *asked* names. Raises: UsageError."""
    command = asked.agent_command
    if command is None or not command.strip():
        raise UsageError("the agent 'command' needs a command; give --agent-command or set agent_command")
    if "\0" in command:
        raise UsageError("the agent's command holds a NUL character; no shell could run it")
    return command
