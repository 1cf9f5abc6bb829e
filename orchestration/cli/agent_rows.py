"""What is known of a task's agent, as rows for people: a word, and what goes with it.

Guarantees: each row is one visible line, whatever the agent said of itself.
"""

from collections.abc import Iterator
from datetime import UTC
from typing import Final

from orchestration.core.facts import Usage
from orchestration.core.models import Task
from orchestration.support.text import visible_line

_WIDEST: Final = 120


def rows(task: Task) -> Iterator[tuple[str, str]]:
    """Yield the model, the agent's session, what it used, and when it may be asked again; each where it is known."""
    model = ", ".join(_parts(task))
    if model:
        yield "model", model
    if task.run is not None and task.run.session is not None:
        yield "session", _line(task.run.session) + (" (resumed)" if task.run.is_resumed else "")
    if task.usage is not None and (used := spell_usage(task.usage)):
        yield "used", used
    if task.error is not None and task.error.retry_at is not None:
        yield "retry at", f"{task.error.retry_at.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"


def spell_usage(usage: Usage) -> str:
    """Return what is known of *usage*, as ``12,345 tokens in (2,000 from cache), 678 out (90 reasoning), $0.0123``."""
    read, written, reasoning = usage.cache_read_tokens, usage.cache_write_tokens, usage.reasoning_tokens
    parts = (
        _with(
            _counted(usage.input_tokens, "tokens in"),
            _counted(read or None, "from cache"),
            _counted(written or None, "to cache"),
        ),
        _with(_counted(usage.output_tokens, "out"), _counted(reasoning or None, "reasoning")),
        "" if usage.cost_usd is None else f"${usage.cost_usd:.4f}",
    )
    return ", ".join(filter(None, parts))


def _parts(task: Task) -> Iterator[str]:
    if task.model is not None:
        yield _line(task.model)
    if task.variant is not None:
        yield f"variant {_line(task.variant)}"


def _line(text: str) -> str:
    return visible_line(text, width=_WIDEST)


def _counted(count: int | None, what: str) -> str:
    return "" if count is None else f"{count:,} {what}"


def _with(main: str, *more: str) -> str:
    also = ", ".join(filter(None, more))
    return f"{main} ({also})" if main and also else main or also
