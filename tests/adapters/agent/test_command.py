"""The agent `command`."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from orchestration.adapters.agent.asked import check_command
from orchestration.adapters.agent.command import CommandAgent
from orchestration.core.attempts import AttemptSpec
from orchestration.core.errors import UsageError


def test_the_text_is_on_stdin_and_in_a_file(work: Callable[..., Any]) -> None:
    text = "fix 'it'\n\u00e9$(touch bad)"
    _, wrote = work(CommandAgent(), text=text, agent_command='cat; echo " | "; cat "$TASKQ_TASK_FILE"')
    assert wrote == f"{text} | \n{text}"


def test_the_model_is_told_when_there_is_one(work: Callable[..., Any]) -> None:
    assert work(CommandAgent(), agent_command='echo "${TASKQ_MODEL-none}"', model="large")[1] == "large\n"
    assert work(CommandAgent(), agent_command='echo "${TASKQ_MODEL-none}"')[1] == "none\n"
    assert work(CommandAgent(), agent_command='echo "${TASKQ_VARIANT-none}"', variant="high")[1] == "high\n"
    assert work(CommandAgent(), agent_command='echo "${TASKQ_VARIANT-none}"')[1] == "none\n"


def test_the_result_carries_the_command_as_given(work: Callable[..., Any]) -> None:
    assert work(CommandAgent(), agent_command="exit 4 # why not")[0].command == "exit 4 # why not"


@pytest.mark.parametrize("missing", [None, "", "  \n", "echo a\0b"])
def test_a_command_that_cannot_be_is_refused_at_intake(spec: AttemptSpec, missing: str | None) -> None:
    with pytest.raises(UsageError, match="command"):
        check_command(replace(spec, agent_command=missing))


def test_a_command_is_accepted_at_intake(spec: AttemptSpec) -> None:
    assert check_command(replace(spec, agent_command="make")) is None  # type: ignore[func-returns-value]  # it only refuses
