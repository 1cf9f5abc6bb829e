"""The keys of a task as people write it, and what each becomes in a draft.

Guarantees: an unknown key is an error that names the nearest right one; an empty value means "not said".
"""

import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final

from orchestration.core.drafts import TaskDraft
from orchestration.core.errors import TaskFileError, TaskqError
from orchestration.core.models import check_network
from orchestration.core.naming import check_branch, check_label, task_id
from orchestration.store.front_matter import Given, Keys
from orchestration.support.limits import LIMITS
from orchestration.support.quantities import moment

_INTEGER: Final = r"[+-]?\d{1,9}"
_LARGEST: Final = 10**9 - 1
_SWITCH: Final[Mapping[str, bool]] = MappingProxyType(
    {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
)
_PROMPTS: Final = ("task", "text")
PLAIN: Final = frozenset(
    {"title", "repo", "base", "worktree_path", "agent", "agent_command", "model", "variant", "sandbox"}
)
"""The keys of which every text is right."""

Reader = Callable[[Given], Any]


def draft_from(
    name: str,
    keys: Keys,
    *,
    text: str | None,
    line: int,
    stem: str | None,
    now: datetime,
    prompts: bool = False,
    plain: Mapping[str, str] = MappingProxyType({}),
) -> TaskDraft:
    """Return the draft that *keys* describe; the document starts at *line* of the file *name*.

    *plain* are more of them, of PLAIN and with texts that are not empty.
    *prompts* says that the prompt can be a key too, which only helps with the advice. Raises: TaskFileError.
    """
    readers = _readers(now)
    said: dict[str, Any] = {**plain, "text": text or None, "source": f"{name}:{line}", "stem": stem}
    for key, given in keys.items():
        reader = readers.get(key)
        if reader is None:
            advice = _advice(key, [*readers, *(_PROMPTS if prompts else ())])
            raise TaskFileError(f"{name}:{given.line}: unknown key {key!a:.60}; {advice}")
        if given.value not in ("", [], {}):
            said[key] = _read(name, key, given, reader)
    return TaskDraft(**said)


class _WrongError(ValueError):
    """A value is not what its key takes; *line* is where."""

    def __init__(self, problem: str, line: int) -> None:
        super().__init__(problem)
        self.line = line


def _read(name: str, key: str, given: Given, reader: Reader) -> Any:
    try:
        return reader(given)
    except _WrongError as error:
        raise TaskFileError(f"{name}:{error.line}: {key}: {error}") from error
    except (ValueError, TaskqError) as error:
        raise TaskFileError(f"{name}:{given.line}: {key}: {error}") from error


@lru_cache(maxsize=1)  # the documents of one file share their *now*
def _readers(now: datetime) -> Mapping[str, Reader]:
    return {
        "id": lambda given: task_id(_text(given)),
        "title": _text,
        "repo": _text,
        "base": _text,
        "branch": lambda given: check_branch(_text(given)),
        "worktree_path": _text,
        "agent": _text,
        "agent_command": _text,
        "model": _text,
        "variant": _text,
        "sandbox": _text,
        "network": lambda given: check_network(_text(given)),
        "priority": _integer,
        "labels": lambda given: _words(given, check_label),
        "after": lambda given: _words(given, task_id),
        "not_before": lambda given: moment(_text(given), now=now),
        "limits": _limits,
        "allow_empty": _switch,
    }


def _advice(key: str, known: list[str]) -> str:
    from difflib import get_close_matches  # noqa: PLC0415 -- only for an error

    near = get_close_matches(key, known, n=1)
    return f"did you mean {near[0]}?" if near else f"there are: {', '.join(known)}"


def _text(given: Given) -> str:
    if not isinstance(given.value, str):
        raise _WrongError("must be plain text", given.line)
    return given.value


def _scalar(given: Given) -> str:
    """Return a number or a text as text, as JSON may give either."""
    if isinstance(given.value, bool) or not isinstance(given.value, (str, int)):
        raise _WrongError("must be a single value", given.line)
    return str(given.value)


def _integer(given: Given) -> int:
    if type(given.value) is int and -_LARGEST <= given.value <= _LARGEST:
        return given.value
    text = _scalar(given).strip()
    if not re.fullmatch(_INTEGER, text, re.ASCII):
        raise _WrongError(f"{text!a:.40} is no whole number", given.line)
    return int(text)


def _switch(given: Given) -> bool:
    if isinstance(given.value, bool):
        return given.value
    text = _text(given)
    if text.lower() not in _SWITCH:
        raise _WrongError(f"{text!a:.40} is neither true nor false", given.line)
    return _SWITCH[text.lower()]


def _words(given: Given, check: Callable[[str], str]) -> tuple[str, ...]:
    """Return a list, or a text with commas, as words without repeats."""
    if isinstance(given.value, list):
        words = [(_text(item).strip(), item.line) for item in given.value]
    else:
        words = [(word.strip(), given.line) for word in _text(given).split(",")]
    checked = []
    for word, line in words:
        try:
            checked.append(check(word))
        except (ValueError, TaskqError) as error:
            raise _WrongError(str(error), line) from error
    return tuple(dict.fromkeys(checked))


def _limits(given: Given) -> Mapping[str, timedelta | float]:
    if not isinstance(given.value, dict):
        raise _WrongError(f"must be names with values, of: {', '.join(LIMITS)}", given.line)
    limits: dict[str, timedelta | float] = {}
    for key, member in given.value.items():
        reader = LIMITS.get(key)
        if reader is None:
            raise _WrongError(f"unknown limit {key!a:.60}; {_advice(key, list(LIMITS))}", member.line)
        try:
            limits[key] = reader(_scalar(member))
        except _WrongError:
            raise
        except ValueError as error:
            raise _WrongError(f"{key}: {error}", member.line) from error
    return limits
