"""Tasks that are over, moved out of the journal into files beside it, which are read only when somebody asks.

An archive is ``history/archive-<seq>-<time>.jsonl``, one task a line as an export has it; long texts stay blobs.
Guarantees: a task is durable in its file before the journal says that it is gone; a kill in between leaves it in both,
where the journal counts; a task that changed meanwhile stays.
Not responsible for: which tasks (``engine.archive``).
"""

import json
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from orchestration.core.errors import CorruptStateError
from orchestration.core.models import Task
from orchestration.core.naming import id_key
from orchestration.core.snapshot import Damage
from orchestration.core.status import Status
from orchestration.core.transfers import Archived
from orchestration.store.blobs import Blobs, referred_blob
from orchestration.store.codec import TASK, decode_task, encode_task
from orchestration.store.decoder import all_fields
from orchestration.store.export import with_unknown
from orchestration.store.history import archives, stamp
from orchestration.store.journal import Change, Journal, Proposal
from orchestration.store.layout import QueueFolder
from orchestration.store.ledger import Ledger
from orchestration.store.line import BadRecordError, strict_object
from orchestration.store.values import encode_moment
from orchestration.support.files import REAL_DISK, Disk, make_private_folder, storage_errors
from orchestration.support.new_file import new_file

if TYPE_CHECKING:
    from orchestration.core.ports import Clock

BATCH: Final = 10_000
"""So many tasks share a file and an append."""
_CHUNK: Final = 256
_OVER: Final = (Status.DONE, Status.CANCELLED)
_ENCODER: Final = json.JSONEncoder(ensure_ascii=True, allow_nan=False, separators=(",", ":"))

Tell = Callable[[int], object]
"""Is told how many tasks were looked at."""


class Moved(NamedTuple):
    """What was moved: the ids, and the files that they are in."""

    ids: tuple[str, ...]
    files: tuple[Path, ...]


def archive(
    folder: Path, clock: "Clock", tasks: Sequence[Task], *, tell: Tell = lambda _count: None, disk: Disk = REAL_DISK
) -> Moved:
    """Move *tasks*, as far as they are still what they are here, from the journal into new files.

    Raises: StorageError, CorruptStateError; what was moved until then stays moved.
    """
    queue = QueueFolder(folder)
    journal = Journal(queue, clock, disk=disk)
    ids: list[str] = []
    files: list[Path] = []
    for first in range(0, len(tasks), BATCH):
        batch = tasks[first : first + BATCH]
        path = _free_name(queue, journal, clock.now())
        _write(path, journal, batch, disk=disk)
        moved = journal.append(partial(_removal, tasks=batch, path=path), by="archive")
        tell(first + len(batch))
        if moved:
            ids += moved
            files.append(path)
        else:
            path.unlink()
    return Moved(tuple(ids), tuple(files))


def read_archive(folder: Path, clock: "Clock", tell_damage: Callable[[str], object]) -> list[Archived]:
    """Return the tasks that were archived and are in the queue no more, the last known state of each.

    A line that cannot be read is told to *tell_damage* and left out.
    """
    queue = QueueFolder(folder)
    newest: dict[str, Archived] = {}
    for path in archives(queue.history):
        for found in _read(path, Blobs(queue.blobs), tell_damage):
            key = id_key(found.task.id)
            if key not in newest or newest[key].task.rev <= found.task.rev:
                newest.pop(key, None)
                newest[key] = found
    journal = Journal(queue, clock)

    def gone(ledger: Ledger, _damage: tuple[Damage, ...]) -> list[Archived]:
        return [found for key, found in newest.items() if _is_archived(ledger, key)]

    return journal.read(gone) if newest else []


def find_archived(folder: Path, clock: "Clock", identifier: str) -> Archived | None:
    """Return the archived task of this id, case ignored; None when there is none, or it is in the queue."""
    queue = QueueFolder(folder)

    def look(ledger: Ledger, _damage: tuple[Damage, ...]) -> str | None:
        return _archive_of(ledger, identifier)

    name = Journal(queue, clock).read(look)
    if name is None:
        return None
    found = [
        each
        for path in archives(queue.history)
        if path.name == name
        for each in _read(path, Blobs(queue.blobs), lambda _problem: None)
        if id_key(each.task.id) == id_key(identifier)
    ]
    return found[-1] if found else None


# --- writing --------------------------------------------------------------------------------------------------------


def _free_name(queue: QueueFolder, journal: Journal, now: datetime) -> Path:
    make_private_folder(queue.history)
    seq = journal.read(lambda ledger, _damage: ledger.seq)
    name = f"archive-{seq}-{stamp(encode_moment(now))}"
    number = 0
    while (path := queue.history / (f"{name}-{number}.jsonl" if number else f"{name}.jsonl")).exists():
        number += 1
    return path


def _write(path: Path, journal: Journal, tasks: Sequence[Task], *, disk: Disk) -> None:
    with new_file(path, disk=disk) as file:
        for first in range(0, len(tasks), _CHUNK):
            chunk = tasks[first : first + _CHUNK]
            for record in journal.read(partial(_records, tasks=chunk)):
                file.content.write(_ENCODER.encode(record).encode("ascii") + b"\n")


def _records(ledger: Ledger, _damage: tuple[Damage, ...], *, tasks: Sequence[Task]) -> list[dict[str, Any]]:
    return [record for task in tasks if (record := _record(ledger, task)) is not None]


def _record(ledger: Ledger, task: Task) -> dict[str, Any] | None:
    """Return all that the journal says of the task; None when it is not what it was. Raises: CorruptStateError."""
    entry = ledger.find(task.id)
    if entry is None or entry.rev != task.rev:
        return None
    stored = all_fields(entry)
    blobs = {name: value for name, value in stored.items() if referred_blob(value) is not None}
    others = {name: value for name, value in stored.items() if name not in blobs}
    record = with_unknown(encode_task(decode_task(others)), others) | blobs
    return {name: record[name] for name in TASK} | record


def _removal(ledger: Ledger, _at: str, *, tasks: Sequence[Task], path: Path) -> Proposal[list[str]]:
    """Propose to take out what is still as it was written, and what nobody waits for by now."""
    changes = []
    for task in tasks:
        entry = ledger.find(task.id)
        is_awaited = any(other.state().status not in _OVER for other in ledger.awaiting(task.id))
        if entry is not None and entry.rev == task.rev and not is_awaited:
            fields = {"removed": True, "archived": path.name}
            changes.append(Change(id=entry.id, rev=entry.rev + 1, fields=fields))
    return Proposal(changes=changes, answer=[change.id for change in changes])


# --- reading --------------------------------------------------------------------------------------------------------


def _read(path: Path, blobs: Blobs, tell_damage: Callable[[str], object]) -> Iterator[Archived]:
    with storage_errors("read", path), path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                yield Archived(_task(strict_object(line), blobs), path)
            except (BadRecordError, CorruptStateError) as error:
                tell_damage(f"{path}:{number}: {error}")


def _task(fields: dict[str, Any], blobs: Blobs) -> Task:
    """Return the task of a line, without long texts that are gone. Raises: CorruptStateError."""
    try:
        return decode_task(blobs.expand(fields))
    except CorruptStateError as error:
        if error.code == "damaged":
            raise
        return decode_task({name: value for name, value in fields.items() if referred_blob(value) is None})


def _is_archived(ledger: Ledger, identifier: str) -> bool:
    """Say whether the task is gone, and was not removed in another way."""
    if ledger.find(identifier) is not None:
        return False
    return ledger.removed(identifier) is None or _archive_of(ledger, identifier) is not None


def _archive_of(ledger: Ledger, identifier: str) -> str | None:
    """Return the name of the file that the task was moved to."""
    entry = ledger.removed(identifier)
    name = None if entry is None else all_fields(entry).get("archived")
    return name if isinstance(name, str) else None
