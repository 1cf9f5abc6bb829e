"""The tasks of one queue, on its journal.

Guarantees: what ``core.ports.TaskStore`` promises, for any number of threads and processes.
Not responsible for: when a change is wise; that is the caller's function, which runs under the lock.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from orchestration.core.errors import CorruptStateError, TaskNotFoundError
from orchestration.core.models import SCHEMA_VERSION, Task
from orchestration.core.naming import TaskId, id_key
from orchestration.core.snapshot import Damage, Snapshot
from orchestration.store.blobs import Blobs
from orchestration.store.codec import TASK, encode_task
from orchestration.store.decoder import TaskDecoder, all_fields
from orchestration.store.entry import Entry, after_of
from orchestration.store.journal import Change, Journal, Proposal
from orchestration.store.layout import QueueFolder
from orchestration.store.ledger import Ledger
from orchestration.store.line import encode_members
from orchestration.store.reader import JournalReader
from orchestration.store.rules import check_dependencies, check_new, check_transition
from orchestration.store.values import decode_moment
from orchestration.support.files import REAL_DISK, Disk

if TYPE_CHECKING:
    from orchestration.core.ports import Clock

_ENVELOPE_FIELDS: Final = ("id", "rev")
_BOOKKEEPING: Final = ("v", "id", "rev", "updated_at")


class JournalTaskStore:
    """``core.ports.TaskStore`` for the queue in *folder*."""

    def __init__(
        self,
        folder: Path,
        clock: "Clock",
        *,
        disk: Disk = REAL_DISK,
        reader: JournalReader | None = None,
        on_fault: Callable[[Damage], None] | None = None,
        on_reading: Callable[[int | None], object] | None = None,
    ) -> None:
        queue = QueueFolder(folder)
        self._blobs = Blobs(queue.blobs, disk=disk)
        self._decoder = TaskDecoder(self._blobs)
        self._on_fault = on_fault
        self._journal = Journal(queue, clock, disk=disk, reader=reader or JournalReader(queue, clock, tell=on_reading))

    def read(self) -> Snapshot:
        """Return what sees the queue as it is; damage is reported in it, never raised."""
        from orchestration.store.snapshot import JournalSnapshot  # noqa: PLC0415 -- `taskq add` reads nothing

        return JournalSnapshot(self._journal, self._decoder, self._on_fault)

    def add(self, tasks: Sequence[Task], *, by: str) -> tuple[Task, ...]:
        """Add all of *tasks* or none, in one append; they come back with their rev."""
        if not tasks:
            return ()
        first = [_first_line(task._replace(v=SCHEMA_VERSION, rev=1), self._blobs) for task in tasks]

        def propose(ledger: Ledger, _at: str) -> Proposal[tuple[Task, ...]]:
            check_new(tasks, lambda identifier: _taken(ledger, identifier))
            check_dependencies(tasks, LedgerDependencies(ledger))
            added = tuple(self._numbered(ledger, task) for task in tasks)
            changes = [
                change if change.rev == task.rev else _first_line(task, self._blobs)
                for task, change in zip(added, first, strict=True)
            ]
            return Proposal(changes=changes, answer=added)

        return self._journal.append(propose, by=by)

    def change(self, identifier: str, how: Callable[[Task], Task], *, by: str) -> Task:
        """Replace the task by ``how(task)``; *how* runs under the lock, and what it raises changes nothing."""

        def propose(ledger: Ledger, at: str) -> Proposal[Task]:
            return self._changed(ledger, self._current(ledger, identifier), how, at)

        return self._journal.append(propose, by=by)

    def claim(self, choose: Callable[[Snapshot], Task | None], how: Callable[[Task], Task], *, by: str) -> Task | None:
        """Replace the chosen task by ``how(task)`` in one step that no other claimer can come between."""

        def propose(ledger: Ledger, at: str) -> Proposal[Task | None]:
            chosen = choose(self.read())
            if chosen is None:
                return Proposal(changes=(), answer=None)
            proposal = self._changed(ledger, self._current(ledger, chosen.id), how, at)
            return Proposal(changes=proposal.changes, answer=proposal.answer)

        return self._journal.append(propose, by=by)

    def remove(self, identifier: str, check: Callable[[Task], None], *, by: str) -> Task:
        """Take the task out of the queue unless *check* raises; a missing blob does not keep it in."""

        def propose(ledger: Ledger, _at: str) -> Proposal[Task]:
            entry = _entry(ledger, identifier)
            try:
                task = self._decoder.task(entry)
            except CorruptStateError:
                task = self._decoder.without_blobs(entry)
            check(task)
            line = Change(id=task.id, rev=entry.rev + 1, fields={"removed": True})
            return Proposal(changes=(line,), answer=task)

        return self._journal.append(propose, by=by)

    def _current(self, ledger: Ledger, identifier: str) -> Entry:
        entry = _entry(ledger, identifier)
        self._decoder.task(entry)
        return entry

    def _changed(self, ledger: Ledger, entry: Entry, how: Callable[[Task], Task], at: str) -> Proposal[Task]:
        before = self._decoder.task(entry)
        after = how(before)
        check_transition(before, after)
        changed = _difference(before, after)
        if not changed:
            return Proposal(changes=(), answer=before)
        if after.after != before.after:
            check_dependencies([after], LedgerDependencies(ledger))
        result = after._replace(v=before.v, rev=entry.rev + 1, updated_at=decode_moment(at))
        fields = {**self._blobs.shrink(changed), "updated_at": at}
        return Proposal(changes=[Change(id=entry.id, rev=result.rev, fields=fields)], answer=result)

    def _numbered(self, ledger: Ledger, task: Task) -> Task:
        gone = ledger.removed(task.id)
        if gone is None:
            return task._replace(v=SCHEMA_VERSION, rev=1)
        attempt = all_fields(gone).get("attempt")
        earlier = attempt if type(attempt) is int else 0
        return task._replace(v=SCHEMA_VERSION, rev=gone.rev + 1, attempt=max(task.attempt, earlier))


class LedgerDependencies:
    """Which tasks of a queue wait for which; see ``store.rules``."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def waits_for(self, identifier: str) -> Sequence[str]:
        """Return what the task of this id waits for. Raises: KeyError when there is no such task."""
        entry = self._ledger.find(identifier)
        if entry is None:
            raise KeyError(identifier)
        return after_of(all_fields(entry))

    def is_awaited(self, identifiers: Iterable[str]) -> bool:
        """Return whether a task of the queue waits for one of *identifiers*."""
        return self._ledger.is_awaited(map(id_key, identifiers))


def _taken(ledger: Ledger, identifier: str) -> str | None:
    entry = ledger.find(identifier)
    return None if entry is None else entry.id


def _entry(ledger: Ledger, identifier: str) -> Entry:
    entry = ledger.find(identifier)
    if entry is None:
        raise TaskNotFoundError(f"there is no task {identifier!a} in this queue; list them with: taskq status")
    return entry


def _first_line(task: Task, blobs: Blobs) -> Change:
    """Return the line that adds *task*, encoded, so that nobody waits for that under the lock."""
    members = blobs.shrink(encode_task(task))
    for name in _ENVELOPE_FIELDS:
        del members[name]
    return Change(id=TaskId(task.id), rev=task.rev, fields=members, encoded=encode_members(members))


def _difference(before: Task, after: Task) -> dict[str, Any]:
    changed = {}
    for name, (encode, _, _) in TASK.items():
        old, new = getattr(before, name), getattr(after, name)
        if new is old or name in _BOOKKEEPING:
            continue
        value = None if new is None else encode(new)
        if value != (None if old is None else encode(old)):
            changed[name] = value
    return changed
