"""Tasks out of a queue, one JSON object per line.

Guarantees: a line has every member of its task, also those that this version does not know, with long texts in place;
the queue is read as it was at one moment, and no more than one task is in memory.
Not responsible for: what is in the state folder (attempts) and in repositories (refs); tasks only name them.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from orchestration.core.errors import CorruptStateError, TaskNotFoundError
from orchestration.core.naming import id_key
from orchestration.core.transfers import ExportReport
from orchestration.store.blobs import Blobs, referred_blob
from orchestration.store.codec import TASK, decode_task, encode_task
from orchestration.store.history import archives
from orchestration.store.layout import QueueFolder
from orchestration.store.line import BadRecordError
from orchestration.store.sweep import Swept, open_journal, read_task, sweep
from orchestration.support.files import REAL_DISK, Disk
from orchestration.support.new_file import new_file

_ENCODER: Final = json.JSONEncoder(ensure_ascii=True, allow_nan=False, separators=(",", ":"))

Write = Callable[[bytes], object]
Tell = Callable[[int], object]
"""Is told how many tasks are written."""


def export(folder: Path, identifiers: Iterable[str], write: Write, *, tell: Tell) -> ExportReport:
    """Write the tasks of these ids, or all, in the order in which they were added; none is missed in silence.

    Raises: TaskNotFoundError, before anything is written; StorageError; NewerVersionError.
    """
    queue = QueueFolder(folder)
    problems: list[str] = []
    count = 0
    with open_journal(queue.journal) as journal:
        swept = sweep(journal) if journal is not None else None
        asked = tuple(identifiers)
        wanted = _wanted(swept, asked)
        if journal is None or swept is None:
            return ExportReport(tasks=0, problems=())
        problems += [f"line {item.line} of the journal: {item.why}" for item in swept.damage]
        for record, problem in _records(journal, swept, wanted, Blobs(queue.blobs)):
            if problem is not None:
                problems.append(problem)
            if record is not None:
                write(_ENCODER.encode(record).encode("ascii") + b"\n")
                count += 1
                tell(count)
    return ExportReport(tasks=count, problems=tuple(problems), archives=() if asked else archives(queue.history))


def export_to(
    path: Path, folder: Path, identifiers: Iterable[str], *, tell: Tell, disk: Disk = REAL_DISK
) -> ExportReport:
    """Write the tasks to a new file at *path*, whole or not at all; durable when this returns.

    Raises: UsageError when something is at *path*; and as `export`.
    """
    with new_file(path, disk=disk) as file:
        return export(folder, identifiers, file.content.write, tell=tell)


def with_unknown(encoded: Mapping[str, Any], stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return *encoded* with what it lacks of *stored*, at every depth: members that this version does not know."""
    merged = dict(encoded)
    for name, value in stored.items():
        if name not in merged:
            merged[name] = value
        elif merged[name] != value:
            merged[name] = _merged(merged[name], value)
    return merged


def _merged(encoded: Any, stored: Any) -> Any:
    if isinstance(encoded, dict) and isinstance(stored, dict):
        return with_unknown(encoded, stored)
    if isinstance(encoded, list) and isinstance(stored, list) and len(encoded) == len(stored):
        return [_merged(*pair) for pair in zip(encoded, stored, strict=True)]
    return encoded


def _wanted(swept: Swept | None, identifiers: Iterable[str]) -> Iterable[str]:
    known = swept.tasks if swept is not None else {}
    asked = {id_key(identifier): identifier for identifier in identifiers}
    for key, identifier in asked.items():
        if key not in known:
            msg = f"there is no task {identifier!a} in this queue; list them with: taskq status"
            raise TaskNotFoundError(msg)
    return [key for key in known if key in asked] if asked else known


def _records(
    journal: int, swept: Swept, wanted: Iterable[str], blobs: Blobs
) -> Iterator[tuple[dict[str, Any] | None, str | None]]:
    """Yield each task's record and what is wrong with it; a record is None when nothing of it can be believed."""
    for key in wanted:
        try:
            fields, is_ours = read_task(journal, swept.tasks[key])
        except BadRecordError as error:
            yield None, f"task {key}: {error}"
            continue
        problem = None
        try:
            fields = blobs.expand(fields)
        except CorruptStateError as error:
            problem = str(error)
            fields = {name: value for name, value in fields.items() if referred_blob(value) is None}
        try:
            yield _record(fields, is_ours=is_ours), problem
        except CorruptStateError as error:
            yield None, str(error)


def _record(fields: dict[str, Any], *, is_ours: bool) -> dict[str, Any]:
    """Return *fields* in their order; what taskq wrote needs no second look. Raises: CorruptStateError."""
    if is_ours and fields.keys() >= TASK.keys():
        return {name: fields[name] for name in TASK} | fields
    return with_unknown(encode_task(decode_task(fields)), fields)
