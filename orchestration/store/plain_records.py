"""Plain task records of one flat object each, as an older queue kept them, to the fields of a task.

Responsible for: the mapping that docs/reference/record.md shows; a test holds the page to ``RULES``.
Guarantees: nothing is made up: what has no place in a task keeps its own name, and every change is told.
Not responsible for: whether the fields make a task (``store.codec``), where task files are (the caller's *read_text*).
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from orchestration.core.models import SCHEMA_VERSION
from orchestration.core.status import RUNNING, Status
from orchestration.store.codec import TASK

ReadText = Callable[[str], str | None]
"""Returns the prompt in the task file that a record names, or None when it is not found."""


class Rule(NamedTuple):
    """Where a field of a plain record goes: *field* of a task, or None for a member under its own name."""

    field: str | None
    how: str


RULES: Final[Mapping[str, Rule]] = MappingProxyType(
    {
        "id": Rule("id", "as it is; one that breaks the grammar is an error, or a new id with `--rename`"),
        "repo": Rule("repo", "as it is"),
        "base": Rule("base", "as it is; `main` when empty"),
        "task_file": Rule("task_file", "as it is; what the file says, without its front matter, becomes `text`"),
        "status": Rule("status", "as it is; one that was running becomes `failed`, as its runner is elsewhere"),
        "branch": Rule("branch", "as it is"),
        "worktree_path": Rule("worktree_path", "as it is"),
        "container": Rule(None, "kept; `run` is of attempts that taskq made"),
        "port": Rule(None, "kept"),
        "session_id": Rule(None, "kept"),
        "attempt": Rule(
            "attempt", "the number of the last attempt, where the record counts retries: one more if it ran"
        ),
        "error_file": Rule(None, "kept, and named in `reason`"),
        "created_at": Rule("created_at", "as it is; without a zone it is UTC"),
        "updated_at": Rule("updated_at", "as it is; without a zone it is UTC"),
        "opencode_attempt_dir": Rule(None, "kept"),
        "opencode_config_dir": Rule(None, "kept"),
        "opencode_data_dir": Rule(None, "kept"),
    }
)
"""What each field becomes. An empty text and port 0 are how absence was written; they become null or are left out."""

TEXTLESS: Final = frozenset({Status.DONE, Status.CANCELLED})
"""Statuses in which a task needs no text, because it is never run again."""

_TITLE_LENGTH: Final = 72
_TRACES: Final = ("container", "session_id", "opencode_attempt_dir", "opencode_config_dir", "opencode_data_dir")
"""What a record has when its last attempt was begun."""


class Translated(NamedTuple):
    """A record as fields of a task and members beside them, with a sentence for each thing that is not as it was."""

    fields: dict[str, Any]
    changes: tuple[str, ...]


def is_plain(record: Mapping[str, Any]) -> bool:
    """Return whether *record* is a plain one: what taskq writes has its version."""
    return "v" not in record


def translate(record: Mapping[str, Any], *, defaults: Mapping[str, Any], read_text: ReadText) -> Translated:
    """Return what *record* becomes; *defaults* are encoded fields for what a plain record does not say."""
    given = {name: value for name, value in record.items() if not is_empty(name, value)}
    fields: dict[str, Any] = {"v": SCHEMA_VERSION, **given}
    changes: list[str] = []
    fields.setdefault("base", "main")
    _count_attempts(fields, changes)
    _explain(fields, changes)
    if not given.get("text") and isinstance(given.get("task_file"), str):
        fields["text"] = read_text(given["task_file"])
        changes.append("text: not found" if fields["text"] is None else "text: read from its task file")
    if not given.get("title") and isinstance(fields.get("text"), str):
        fields["title"] = next((line.strip() for line in fields["text"].splitlines() if line.strip()), "")[
            :_TITLE_LENGTH
        ]
    for name, value in defaults.items():
        if fields.get(name) is None and value is not None:
            fields[name] = value
            if isinstance(value, str):
                changes.append(f"{name}: set to {value}, from the configuration")
    return Translated(fields, tuple(changes))


def is_empty(name: str, value: object) -> bool:
    """Return whether *value* is how absence is written in the field *name*."""
    absent = name in RULES or name in TASK
    return value is None or (absent and value == "") or (name == "port" and value == 0 and type(value) is int)


def settle_running(fields: dict[str, Any]) -> str | None:
    """Make a task that was running a failed one, and say so; its runner is not ours, and may still be at work."""
    status = fields.get("status")
    if not isinstance(status, str) or status not in RUNNING:
        return None
    fields["status"] = str(Status.FAILED)
    fields["reason"] = f"imported while {status}; its runner is elsewhere"
    return f"status: {status} became failed, as its runner is elsewhere"


def _count_attempts(fields: dict[str, Any], changes: list[str]) -> None:
    """Turn a count of retries into the number of the last attempt."""
    retries = fields.get("attempt", 0)
    idle = fields.get("status") in {"todo", "cancelled"} and not any(name in fields for name in _TRACES)
    if type(retries) is int and not idle:
        fields["attempt"] = retries + 1
        changes.append("attempt: one more, as it counted retries")


def _explain(fields: dict[str, Any], changes: list[str]) -> None:
    """Say in the reason what an operator must know of a task that came from elsewhere."""
    status = fields.get("status")
    if fields.get("reason") is not None:
        return
    if status == "failed":
        report = f"; its report: {fields['error_file']}" if "error_file" in fields else ""
        fields["reason"] = f"failed before it was imported{report}"
        changes.append("reason: says that it failed before it was imported")
    elif status == "review":
        fields["reason"] = "imported; its work is in its worktree and branch, and is not collected"
        changes.append("reason: says that its work is not collected")
