"""Tasks as they were given, for people: ``queue/tasks/<id>.md``. The journal is the truth; nothing reads these back.

Guarantees: no other task's file is overwritten or removed.
"""

import json
import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from orchestration.core.drafts import TaskDraft
from orchestration.core.naming import task_id
from orchestration.support.files import storage_errors

_NO_KEYS = ("text", "source", "stem")


def given_file(queue: Path, identifier: str) -> Path:
    """Return where a task is kept as it was given."""
    return queue / "tasks" / f"{task_id(identifier)}.md"


def write_given(path: Path, content: bytes) -> bool:
    """Write a file that is not there yet; False when there is one. Not synced: the journal holds it all."""
    with storage_errors("write", path):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
                file.write(content)
        except FileExistsError:
            return False
    return True


def spell(draft: TaskDraft) -> bytes:
    """Return *draft* as a task file that says the same: front matter of what was said, then the prompt."""
    lines = "".join(f"{key}: {value}\n" for key, value in _said(draft))
    return f"---\n{lines}---\n{draft.text or ''}\n".encode("utf-8", "backslashreplace")


def _said(draft: TaskDraft) -> Iterator[tuple[str, str]]:
    for key, value in draft._asdict().items():
        if value is not None and key not in _NO_KEYS:
            yield key, json.dumps(_plain(value), ensure_ascii=False)


def _plain(value: Any) -> Any:
    """Return *value* as the text, list or mapping of texts that a task file has for it; JSON is YAML."""
    if isinstance(value, dict):
        return {name: _plain(amount) for name, amount in value.items()}
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, timedelta):
        return f"{value.total_seconds():.3f}s"
    if hasattr(value, "isoformat"):
        return value.isoformat()
    return value if isinstance(value, bool) else str(value)
