"""Task files: what an operator writes, turned into drafts.

Guarantees: strings stay as they were written, every key has an effect, and every error starts with ``file:line``.
The given file is never rewritten; what is stored is a copy, byte for byte, that replaces nothing.
"""

import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path, PurePath
from typing import Final

from orchestration.core.drafts import TaskDraft
from orchestration.core.errors import DuplicateTaskError, StorageError, TaskFileError
from orchestration.store.draft_keys import PLAIN, draft_from
from orchestration.store.front_matter import Given, is_fence, opens, split_document
from orchestration.store.given import given_file, write_given
from orchestration.store.line import BadRecordError, strict_object
from orchestration.support.files import storage_errors

TASK_FILE_BYTES: Final = 8 * 1024**2
BULK_FILE_BYTES: Final = 256 * 1024**2

_OPENS_NEXT: Final = r"[a-z_]+:(?: |$)"
_JSON_NESTING: Final = 8
_PROMPTS: Final = ("text", "task")
BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


def read_task_file(path: Path) -> bytes:
    """Return the content of a task file. Raises: TaskFileError when it is too large; StorageError."""
    with storage_errors("read", path), path.open("rb") as source:
        content = source.read(TASK_FILE_BYTES + 1)
    _check_size(str(path), content, TASK_FILE_BYTES)
    return content


def parse_task_file(name: str, content: bytes, *, now: datetime) -> TaskDraft:
    """Return the draft that one task file holds; without front matter the whole file is the prompt.

    Raises: TaskFileError.
    """
    _check_size(name, content, TASK_FILE_BYTES)
    keys, body = split_document(name, _decoded(name, content))
    return draft_from(name, keys, text=body, line=1, stem=PurePath(name).stem, now=now)


def parse_many(name: str, content: bytes, *, now: datetime) -> tuple[TaskDraft, ...]:
    """Return the drafts that a bulk file holds: JSON lines, or documents with front matter one after another.

    It is JSON lines when its first character that is not blank is ``{``. Otherwise the first line that is not blank
    must be ``---`` and opens a document. Inside of a body, a line ``---`` opens the next document exactly when the line
    after it starts with a lower-case word and a colon (``title: ...``); any other ``---`` belongs to the body.
    Raises: TaskFileError, for the first document that is wrong.
    """
    _check_size(name, content, BULK_FILE_BYTES)
    text = _decoded(name, content)
    if not text.strip():
        raise TaskFileError(f"{name}:1: there is no task in it")
    if text.lstrip().startswith("{"):
        return tuple(_json_drafts(name, text, now=now))
    if not opens(text):
        raise TaskFileError(f"{name}:1: neither JSON lines nor documents that start with a line '---'")
    return tuple(_documents(name, text, now=now))


def store_task_file(queue: Path, identifier: str, content: bytes, given: Path | None = None) -> Path:
    """Keep *content* as ``tasks/<id>.md`` and return its path; when *given* is that file, there is nothing to do.

    Raises: DuplicateTaskError when another file is there; StorageError.
    """
    path = given_file(queue, identifier)
    if given is not None and path.exists() and path.samefile(given):
        return path
    if write_given(path, content) or _holds(path, content):
        return path
    msg = f"{path} is there with other content; move it away or give the task another id"
    raise DuplicateTaskError(msg, code="task_file_exists")


def _holds(path: Path, content: bytes) -> bool:
    if path.is_symlink() or not path.is_file():
        raise StorageError(f"{path} is no regular file; move it away")
    with storage_errors("read", path):
        return path.read_bytes() == content


def _documents(name: str, text: str, *, now: datetime) -> Iterator[TaskDraft]:
    lines = text.split("\n")
    document = next(place for place, line in enumerate(lines) if is_fence(line))
    while document < len(lines):
        end = _document_end(lines, document)
        part = "\n".join(lines[document:end])
        keys, body = split_document(name, part, line=document + 1)
        yield draft_from(name, keys, text=body, line=document + 1, stem=None, now=now)
        document = end


def _document_end(lines: list[str], start: int) -> int:
    """Return where the document that opens at *start* ends: at the next opening line, or at the end."""
    closed = False
    for place in range(start + 1, len(lines)):
        if not is_fence(lines[place]):
            continue
        if not closed:
            closed = True
        elif place + 1 < len(lines) and re.match(_OPENS_NEXT, lines[place + 1]):
            return place
    return len(lines)


def _json_drafts(name: str, text: str, *, now: datetime) -> Iterator[TaskDraft]:
    for number, line in enumerate(_lines(text), start=1):
        if not line.strip():
            continue
        if len(line) > TASK_FILE_BYTES:
            raise TaskFileError(f"{name}:{number}: a line of more than {TASK_FILE_BYTES} characters; shorten it")
        try:
            fields = strict_object(line.encode("utf-8"), nesting=_JSON_NESTING)
        except BadRecordError as error:
            raise TaskFileError(f"{name}:{number}: {error}; each line is one JSON object") from error
        yield _json_draft(name, fields, number, now=now)


def _lines(text: str) -> Iterator[str]:
    """Yield the lines of *text*, of which there may be very many, without holding all of them."""
    start = 0
    while (end := text.find("\n", start)) >= 0:
        yield text[start:end]
        start = end + 1
    yield text[start:]


def _json_draft(name: str, fields: dict[str, object], line: int, *, now: datetime) -> TaskDraft:
    prompts = [key for key in _PROMPTS if fields.get(key) is not None]
    if len(prompts) == 2:
        raise TaskFileError(f"{name}:{line}: both 'task' and 'text' are given; keep one")
    text = fields[prompts[0]] if prompts else None
    if text is not None and not isinstance(text, str):
        raise TaskFileError(f"{name}:{line}: {prompts[0]!r} must be text")
    plain: dict[str, str] = {}
    keys: dict[str, Given] = {}
    for key, value in fields.items():
        if key in PLAIN and isinstance(value, str) and value:
            plain[key] = value
        elif value is not None and key not in _PROMPTS:
            keys[key] = _given(value, line)
    return draft_from(name, keys, text=text, line=line, stem=None, now=now, prompts=True, plain=plain)


def _given(value: object, line: int) -> Given:
    if isinstance(value, dict):
        return Given({key: _given(member, line) for key, member in value.items()}, line)
    if isinstance(value, list):
        return Given([_given(item, line) for item in value], line)
    return Given(value if isinstance(value, (str, int)) else str(value), line)


def _decoded(name: str, content: bytes) -> str:
    try:
        text = content.removeprefix(BYTE_ORDER_MARK).decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise TaskFileError(f"{name}:{line}: this is no UTF-8; save the file as UTF-8") from error
    return text.replace("\r\n", "\n")


def _check_size(name: str, content: bytes, limit: int) -> None:
    if len(content) > limit:
        raise TaskFileError(f"{name}:1: the file has more than {limit} bytes; shorten it")
