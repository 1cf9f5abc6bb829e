"""What a task asks of the agent `opencode`, checked: all that `taskq add` needs of that agent, and light to load."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestration.core.errors import UsageError

if TYPE_CHECKING:
    from orchestration.core.models import Task


def check_opencode(asked: Task) -> None:
    """Refuse a task that OpenCode could not work at. Raises: UsageError."""
    if not (asked.text or "").strip():
        raise UsageError("the agent 'opencode' needs a text that says what is wanted", code="empty_task")
    if asked.network == "none":
        raise UsageError(
            "the agent 'opencode' cannot reach its model with --network none; use --network allowlist",
            code="no_network",
        )
    if asked.model is not None:
        provider_of(asked.model)


def provider_of(model: str) -> str:
    """Return the provider's part of a model's name. Raises: UsageError for what is no such name."""
    provider, slash, name = model.partition("/")
    if not (slash and provider and name) or not model.isprintable() or " " in model:
        raise UsageError(
            f"{model[:80]!a} is no model of OpenCode; write PROVIDER/MODEL, such as anthropic/claude-sonnet-4-5",
            code="unknown_model",
        )
    return provider
