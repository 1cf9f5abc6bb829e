"""One line of what OpenCode tells, as a value. Pure, and of any input: what a line lacks or has wrong is left out.

The lines are those of ``opencode run --format json``; what its server tells is brought into the same form, with three
kinds more: ``status`` (it waits to ask the provider again), ``permission`` (it asks) and ``compacted``.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Literal, cast, get_args

from orchestration.core.facts import Usage

Kind = Literal[
    "step_start", "text", "reasoning", "tool_use", "step_finish", "error", "status", "permission", "compacted"
]
_KINDS: Final = frozenset(get_args(Kind))
_LINE: Final = 500
"""Characters of a tool's line for people."""
_MOST: Final = 2**53
_SHOWN: Final = ("filePath", "path", "pattern", "url", "query", "description", "name")
"""What of a tool's input says best what it is about, the first that is there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """What went wrong, as OpenCode says it. *status* is HTTP's; *headers* have names in lower case."""

    name: str
    message: str
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a line tells. *text* is what was said, what a tool did, why a step ended or what is asked for.

    *next* is when the provider is asked again, in milliseconds since 1970.
    """

    kind: Kind
    session: str | None = None
    message: str | None = None
    text: str = ""
    tool: str | None = None
    state: Literal["completed", "error"] | None = None
    usage: Usage | None = None
    trouble: Trouble | None = None
    next: float | None = None


def parse(line: bytes) -> Told | None:
    """Return what *line* tells; None for what is no event of OpenCode's."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return told(found) if isinstance(found, dict) else None


def told(event: Mapping[str, Any]) -> Told | None:
    """Return what *event* tells; None for what is of no kind that is known."""
    kind = event.get("type")
    if not isinstance(kind, str) or kind not in _KINDS:
        return None
    part = inner(event, "part")
    common: dict[str, Any] = {
        "kind": cast("Kind", kind),
        "session": text_of(event, "sessionID") or None,
        "message": text_of(part, "messageID") or None,
    }
    match kind:
        case "text" | "reasoning":
            return Told(**common, text=text_of(part, "text"))
        case "tool_use":
            return _tool(common, part)
        case "step_finish":
            return Told(**common, text=text_of(part, "reason"), usage=_usage(part))
        case "error":
            return Told(**common, trouble=_trouble(event.get("error")))
        case "status":
            status = inner(event, "status")
            return Told(**common, text=text_of(status, "message"), next=_number(status, "next"))
        case "permission":
            return Told(**common, text=text_of(event, "permission"))
    return Told(**common)


def inner(value: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return the object under *key*; an empty one when there is none."""
    found = value.get(key)
    return found if isinstance(found, dict) else MappingProxyType({})


def text_of(value: Mapping[str, Any], key: str) -> str:
    """Return the text under *key*; an empty one when there is none. It can always be encoded."""
    found = value.get(key)
    return found.encode("utf-8", "backslashreplace").decode() if isinstance(found, str) else ""


def _tool(common: Mapping[str, Any], part: Mapping[str, Any]) -> Told:
    state = inner(part, "state")
    tool = text_of(part, "tool") or "tool"
    asked = inner(state, "input")
    about = next((about for key in _SHOWN if (about := text_of(asked, key))), "")
    line = f"bash: {text_of(asked, 'command')}" if tool == "bash" else f"{tool} {text_of(state, 'title') or about}"
    has_failed = text_of(state, "status") == "error"
    if has_failed:
        line += f" failed: {text_of(state, 'error')}"
    return Told(**common, text=_line(line), tool=tool, state="error" if has_failed else "completed")


def _line(text: str) -> str:
    line = " ".join(text[: 4 * _LINE].split())
    return line if len(line) <= _LINE else f"{line[: _LINE - 1]}…"


def _usage(part: Mapping[str, Any]) -> Usage:
    tokens = inner(part, "tokens")
    cache = inner(tokens, "cache")
    return Usage(
        input_tokens=_count(tokens, "input"),
        output_tokens=_count(tokens, "output"),
        reasoning_tokens=_count(tokens, "reasoning"),
        cache_read_tokens=_count(cache, "read"),
        cache_write_tokens=_count(cache, "write"),
        cost_usd=_number(part, "cost"),
    )


def _trouble(error: Any) -> Trouble:
    if not isinstance(error, dict):
        return Trouble(name="", message=str(error)[:_LINE] if isinstance(error, str) else "")
    data = inner(error, "data")
    status = _count(data, "statusCode")
    headers = inner(data, "responseHeaders")
    return Trouble(
        name=text_of(error, "name"),
        message=text_of(data, "message") or text_of(error, "message"),
        status=status if status is not None and 100 <= status <= 599 else None,
        headers={name.lower(): text for name in headers if (text := text_of(headers, name))},
        body=text_of(data, "responseBody"),
    )


def _count(value: Mapping[str, Any], key: str) -> int | None:
    number = _number(value, key)
    return None if number is None else int(number)


def _number(value: Mapping[str, Any], key: str) -> float | None:
    """Return the number under *key*, from 0 to 2**53; None when there is none."""
    found = value.get(key)
    if isinstance(found, bool) or not isinstance(found, int | float):
        return None
    return found if 0 <= found <= _MOST and math.isfinite(found) else None
