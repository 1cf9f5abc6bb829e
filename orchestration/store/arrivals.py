"""Lines of another queue as tasks of this one: what an export wrote, or plain records.

Guarantees: every line is read and checked before any is given out, and one that cannot be a task is named by its
number; members that taskq does not know are kept as they are.
Not responsible for: what the queue holds already (``store.adopt``).
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from orchestration.core.errors import TaskFileError, TaskqError
from orchestration.core.models import Task
from orchestration.core.naming import id_from_stem, id_key, task_id
from orchestration.store.blobs import referred_blob
from orchestration.store.codec import TASK, decode_task, encode_task
from orchestration.store.export import with_unknown
from orchestration.store.line import BadRecordError, strict_object
from orchestration.store.plain_records import RULES, TEXTLESS, ReadText, is_empty, is_plain, settle_running, translate
from orchestration.store.record import ENVELOPE

UNKNOWN_BYTES: Final = 128 * 1024
"""How much JSON the members may take that taskq does not know: a line of the journal has its limit."""

_RESERVED: Final = (ENVELOPE - {"rev"}) | {"crc"}


class Arrival(NamedTuple):
    """One task that came: as a value, as all fields that are to be stored, and what is told of it.

    *said* names the members that came with a value.
    """

    task: Task
    fields: dict[str, Any]
    said: frozenset[str]
    changes: tuple[str, ...]


class Arrivals(NamedTuple):
    """What came, in its order; *renamed* maps ids as they were to what they are now."""

    tasks: tuple[Arrival, ...]
    renamed: Mapping[str, str]


def read_arrivals(
    name: str, content: bytes, *, defaults: Mapping[str, Any], read_text: ReadText, rename: bool
) -> Arrivals:
    """Return the tasks that the lines of *content* are; *defaults* are for what plain records do not say.

    With *rename* an id that breaks the grammar becomes one that does not, everywhere in the file.
    Raises: TaskFileError, for the first line that is wrong.
    """
    lines = [(number, line) for number, line in enumerate(content.split(b"\n"), start=1) if line.strip()]
    if not lines:
        raise TaskFileError(f"{name}:1: there is no task in it")
    records = [(f"{name}:{number}", _record(f"{name}:{number}", line)) for number, line in lines]
    renamed = _new_ids([record for _, record in records]) if rename else {}
    arrivals = [_arrival(where, _renamed(record, renamed), defaults, read_text) for where, record in records]
    return Arrivals(tuple(arrivals), renamed)


def mapped(arrivals: Sequence[Arrival]) -> Counter[str]:
    """Return how often each field of a task came with a value."""
    return Counter(name for item in arrivals for name in TASK if name in item.said)


def kept(arrivals: Sequence[Arrival]) -> Counter[str]:
    """Return how often each member came that taskq does not know."""
    return Counter(name for item in arrivals for name in item.fields if name not in TASK)


def _record(where: str, line: bytes) -> dict[str, Any]:
    try:
        record = strict_object(line)
    except BadRecordError as error:
        raise TaskFileError(f"{where}: {str(error).removeprefix('bad record: ')}") from error
    if "seq" in record:
        hint = "this is a line of a taskq journal, not a task; import what this prints: taskq export"
        raise TaskFileError(f"{where}: {hint}")
    reserved = sorted(_RESERVED & record.keys())
    if reserved:
        raise TaskFileError(f"{where}: the member {reserved[0]!a} has a meaning in the journal; give it another name")
    blobs = sorted(member for member, value in record.items() if referred_blob(value) is not None)
    if blobs:
        raise TaskFileError(f"{where}: {blobs[0]} names a blob of another queue; import what this prints: taskq export")
    unknown = {member: value for member, value in record.items() if member not in TASK and member not in RULES}
    size = len(json.dumps(unknown)) if unknown else 0
    if size > UNKNOWN_BYTES:
        msg = f"{where}: members that taskq does not know take {size} bytes of the {UNKNOWN_BYTES} that they may"
        raise TaskFileError(f"{msg}: {', '.join(sorted(unknown))[:200]}")
    return record


def _arrival(where: str, record: dict[str, Any], defaults: Mapping[str, Any], read_text: ReadText) -> Arrival:
    plain = is_plain(record)
    fields, changes = translate(record, defaults=defaults, read_text=read_text) if plain else (dict(record), ())
    settled = settle_running(fields)
    try:
        identifier = fields.get("id")
        task_id(identifier if isinstance(identifier, str) else "")
        task = decode_task(fields)
    except TaskqError as error:
        hint = "; or give it one with --rename" if error.code == "bad_id" else ""
        raise TaskFileError(
            f"{where}: {str(error).removesuffix('; see: taskq fsck')}{hint}", code=error.code
        ) from error
    if plain and not task.text and task.status not in TEXTLESS:
        msg = (
            f"{where}: task {task.id} is {task.status} and says nothing of what is wanted: no text, and its task file "
            f"{task.task_file or ''!a} was not found; say where task files are with: --texts FOLDER"
        )
        raise TaskFileError(msg)
    said = frozenset(name for name, value in record.items() if not is_empty(name, value))
    stored = with_unknown(encode_task(task), fields)
    return Arrival(task, stored, said, (*changes, settled) if settled else changes)


def _new_ids(records: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return a legal id for each one that is not; the same file gives the same ids."""
    ids = [record.get("id") for record in records]
    taken = {id_key(identifier) for identifier in ids if isinstance(identifier, str) and _is_legal(identifier)}
    renamed: dict[str, str] = {}
    for identifier in ids:
        if isinstance(identifier, str) and not _is_legal(identifier) and identifier not in renamed:
            stem = id_from_stem(identifier)[:56].rstrip("-.") or "task"
            number = 1
            while id_key(fresh := stem if number == 1 else f"{stem}-{number}") in taken:
                number += 1
            taken.add(id_key(fresh))
            renamed[identifier] = fresh
    return renamed


def _is_legal(identifier: str) -> bool:
    try:
        task_id(identifier)
    except TaskqError:
        return False
    return True


def _renamed(record: dict[str, Any], renamed: Mapping[str, str]) -> dict[str, Any]:
    if not renamed:
        return record
    after = record.get("after")
    if isinstance(after, list):
        record = {**record, "after": [renamed.get(name, name) if isinstance(name, str) else name for name in after]}
    identifier = record.get("id")
    if not isinstance(identifier, str) or identifier not in renamed:
        return record
    return {**record, "id": renamed[identifier], "imported_id": identifier}
