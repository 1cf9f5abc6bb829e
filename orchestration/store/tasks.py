"""The tasks of one queue, on its journal.

Guarantees: what ``core.ports.TaskStore`` promises, for any number of threads and processes.
Not responsible for: when a change is wise; that is the caller's function, which runs under the lock.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from orchestration.core.errors import CorruptStateError, TaskNotFoundError
from orchestration.core.models import SCHEMA_VERSION, Task
from orchestration.core.naming import TaskId, id_key
from orchestration.core.snapshot import Damage, Snapshot
from orchestration.store.blobs import Blobs, referred_blob
from orchestration.store.codec import decode_task, encode_task
from orchestration.store.index import Entry, Index
from orchestration.store.journal import Change, Journal, Proposal
from orchestration.store.layout import QueueFolder
from orchestration.store.line import BadRecordError
from orchestration.store.rules import check_dependencies, check_new, check_transition
from orchestration.store.values import decode_moment
from orchestration.support.files import REAL_DISK, Disk

if TYPE_CHECKING:
    from orchestration.core.ports import Clock

_ENVELOPE_FIELDS: Final = ("id", "rev")
_BOOKKEEPING: Final = ("v", "id", "rev", "updated_at")


class JournalTaskStore:
    """``core.ports.TaskStore`` for the queue in *folder*."""

    def __init__(self, folder: Path, clock: "Clock", *, disk: Disk = REAL_DISK) -> None:
        queue = QueueFolder(folder)
        self._blobs = Blobs(queue.blobs, disk=disk)
        self._journal = Journal(queue, clock, disk=disk)

    def read(self) -> Snapshot:
        """Return the queue as it is now; damage is reported in it, never raised."""
        return self._journal.read(self._snapshot)

    def add(self, tasks: Sequence[Task], *, by: str) -> tuple[Task, ...]:
        """Add all of *tasks* or none, in one append; they come back with their rev."""
        if not tasks:
            return ()
        fields = [self._blobs.shrink(encode_task(task)) for task in tasks]

        def propose(index: Index, _at: str) -> Proposal[tuple[Task, ...]]:
            check_new(tasks, lambda identifier: _taken(index, identifier))
            check_dependencies(tasks, lambda identifier: self._after(index, identifier))
            added = tuple(self._numbered(index, task) for task in tasks)
            changes = [_first_line(task, given) for task, given in zip(added, fields, strict=True)]
            return Proposal(changes=changes, answer=added)

        return self._journal.append(propose, by=by)

    def change(self, identifier: str, how: Callable[[Task], Task], *, by: str) -> Task:
        """Replace the task by ``how(task)``; *how* runs under the lock, and what it raises changes nothing."""

        def propose(index: Index, at: str) -> Proposal[Task]:
            return self._changed(index, self._current(index, identifier), how, at)

        return self._journal.append(propose, by=by)

    def claim(self, choose: Callable[[Snapshot], Task | None], how: Callable[[Task], Task], *, by: str) -> Task | None:
        """Replace the chosen task by ``how(task)`` in one step that no other claimer can come between."""

        def propose(index: Index, at: str) -> Proposal[Task | None]:
            chosen = choose(self._snapshot(index, ()))
            if chosen is None:
                return Proposal(changes=(), answer=None)
            proposal = self._changed(index, self._current(index, chosen.id), how, at)
            return Proposal(changes=proposal.changes, answer=proposal.answer)

        return self._journal.append(propose, by=by)

    def remove(self, identifier: str, check: Callable[[Task], None], *, by: str) -> Task:
        """Take the task out of the queue unless *check* raises; a missing blob does not keep it in."""

        def propose(index: Index, _at: str) -> Proposal[Task]:
            entry = _entry(index, identifier)
            try:
                task = self._decoded(entry)
            except CorruptStateError:
                task = _without_blobs(entry)
            check(task)
            line = Change(id=task.id, rev=entry.rev + 1, fields={"removed": True})
            return Proposal(changes=(line,), answer=task)

        return self._journal.append(propose, by=by)

    def _snapshot(self, index: Index, damage: tuple[Damage, ...]) -> Snapshot:
        tasks: dict[str, Task] = {}
        faults: list[Damage] = []
        for entry in index.entries.values():
            if entry.task is None or entry.fault is not None:
                self._try_to_decode(entry)
            if entry.task is not None:
                tasks[entry.id] = entry.task
            if entry.fault is not None:
                faults.append(Damage(line=entry.line, offset=entry.offset, why=entry.fault))
        return Snapshot(queue=index.queue, seq=index.seq, tasks=MappingProxyType(tasks), damage=(*damage, *faults))

    def _try_to_decode(self, entry: Entry) -> None:
        """Decode for reading: a task whose long text is gone is shown without it, and the damage is told."""
        entry.task = entry.fault = None
        try:
            entry.task = self._decoded(entry)
        except CorruptStateError as error:
            entry.fault = str(error)
            if error.code != "damaged":
                entry.task = _without_blobs(entry)

    def _decoded(self, entry: Entry) -> Task:
        if entry.task is not None and entry.fault is None:
            return entry.task
        return decode_task(self._blobs.expand(_fields(entry)))

    def _current(self, index: Index, identifier: str) -> Entry:
        entry = _entry(index, identifier)
        entry.task = self._decoded(entry)
        entry.fault = None
        return entry

    def _changed(self, index: Index, entry: Entry, how: Callable[[Task], Task], at: str) -> Proposal[Task]:
        before = self._decoded(entry)
        after = how(before)
        check_transition(before, after)
        changed = _difference(before, after)
        if not changed:
            return Proposal(changes=(), answer=before)
        if after.after != before.after:
            check_dependencies([after], lambda identifier: self._after(index, identifier))
        result = after._replace(v=before.v, rev=entry.rev + 1, updated_at=decode_moment(at))
        fields = {**self._blobs.shrink(changed), "updated_at": at}
        return Proposal(changes=[Change(id=entry.id, rev=result.rev, fields=fields)], answer=result)

    def _after(self, index: Index, identifier: str) -> Sequence[str]:
        entry = index.entries[id_key(identifier)]
        after = _fields(entry).get("after") or ()
        return [name for name in after if isinstance(name, str)]

    def _numbered(self, index: Index, task: Task) -> Task:
        gone = index.removed.get(id_key(task.id))
        if gone is None:
            return task._replace(v=SCHEMA_VERSION, rev=1)
        attempt = _fields(gone).get("attempt")
        earlier = attempt if type(attempt) is int else 0
        return task._replace(v=SCHEMA_VERSION, rev=gone.rev + 1, attempt=max(task.attempt, earlier))


def _taken(index: Index, identifier: str) -> str | None:
    entry = index.find(identifier)
    return None if entry is None else entry.id


def _entry(index: Index, identifier: str) -> Entry:
    entry = index.find(identifier)
    if entry is None:
        raise TaskNotFoundError(f"there is no task {identifier!a} in this queue; list them with: taskq status")
    return entry


def _fields(entry: Entry) -> dict[str, Any]:
    try:
        return {**entry.fields(), "id": entry.id}
    except BadRecordError as error:
        raise CorruptStateError(f"task {entry.id} cannot be read: {error}; see: taskq fsck") from error


def _without_blobs(entry: Entry) -> Task:
    fields = _fields(entry).items()
    return decode_task({name: value for name, value in fields if referred_blob(value) is None})


def _first_line(task: Task, fields: dict[str, Any]) -> Change:
    members = {name: value for name, value in fields.items() if name not in _ENVELOPE_FIELDS}
    members["v"], members["attempt"] = task.v, task.attempt
    return Change(id=TaskId(task.id), rev=task.rev, fields=members)


def _difference(before: Task, after: Task) -> dict[str, Any]:
    old, new = encode_task(before), encode_task(after)
    return {name: value for name, value in new.items() if name not in _BOOKKEEPING and value != old[name]}
