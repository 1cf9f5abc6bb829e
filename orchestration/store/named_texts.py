"""The prompts in task files that plain records name.

Guarantees: only files below the given folders are read, and no link is followed, so that a record from elsewhere cannot
have any file of the operator's handed to an agent.
"""

from collections.abc import Sequence
from pathlib import Path

from orchestration.core.errors import TaskFileError
from orchestration.store.front_matter import split_document
from orchestration.store.plain_records import ReadText
from orchestration.store.task_files import TASK_FILE_BYTES
from orchestration.support.files import open_beneath, storage_errors


def text_reader(folders: Sequence[Path]) -> ReadText:
    """Return a function that finds a task file below *folders*, the first first, and returns what it asks for."""

    def read(name: str) -> str | None:
        for folder in folders:
            relative = _below(folder, Path(name))
            if relative is None:
                continue
            try:
                with open_beneath(folder, relative) as source, storage_errors("read", folder / relative):
                    content = source.read(TASK_FILE_BYTES + 1)
            except FileNotFoundError:
                continue
            return _prompt(str(folder / relative), content)
        return None

    return read


def _below(folder: Path, name: Path) -> str | None:
    """Return *name* as a path inside of *folder*, or None when it is not."""
    if ".." in name.parts:
        return None
    if not name.is_absolute():
        return str(name) if name.parts else None
    return str(name.relative_to(folder)) if name != folder and name.is_relative_to(folder) else None


def _prompt(name: str, content: bytes) -> str:
    if len(content) > TASK_FILE_BYTES:
        raise TaskFileError(f"{name}:1: it has more than the {TASK_FILE_BYTES} bytes that a task file may have")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise TaskFileError(f"{name}:1: it is no UTF-8 text") from error
    _keys, body = split_document(name, text)
    return body.strip("\n")
