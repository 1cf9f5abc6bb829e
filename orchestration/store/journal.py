"""The journal: an append-only file of changes, one writer at a time, readers without a lock.

Guarantees: a change that was acknowledged is durable; one that raised is not in the file, or the queue is marked as
poisoned and the error says which change is in doubt. A tail that a crash cut short is set aside, never guessed at.
Not responsible for: what the changes mean (``store.tasks``).
"""

import errno
import json
import os
from _thread import RLock  # what `threading` re-exports; the rest of it is not needed here
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeVar
from weakref import finalize

from orchestration.core.errors import CorruptStateError, StorageError, TaskqError
from orchestration.core.models import SCHEMA_VERSION
from orchestration.core.snapshot import Damage
from orchestration.store.entry import StaleIndexError
from orchestration.store.history import keep_bytes, stamp
from orchestration.store.layout import QueueFolder
from orchestration.store.ledger import Ledger
from orchestration.store.line import encode_members, seal
from orchestration.store.lock import HeldLock, JournalLock
from orchestration.store.reader import JournalReader
from orchestration.store.tail import Tail
from orchestration.store.values import encode_moment
from orchestration.support.files import (
    PRIVATE_FILE,
    REAL_DISK,
    Disk,
    storage_error,
    storage_errors,
    sync_folder,
)
from orchestration.support.mounts import refuse_network

if TYPE_CHECKING:
    from orchestration.core.ports import Clock

REPAIR_HINT: Final = "run: taskq fsck --repair"
_QUEUE_ID_LENGTH: Final = 12
_QUEUE_ID_ALPHABET: Final = "abcdefghijklmnopqrstuvwxyz234567"

T = TypeVar("T")


class Change(NamedTuple):
    """One line to be: *rev* is the task's new one, *fields* are those that changed."""

    id: str
    rev: int
    fields: Mapping[str, Any]
    encoded: str | None = None
    """The fields as ``store.line.encode_members`` gives them, if that was done already, before the lock."""


class Proposal(NamedTuple, Generic[T]):
    """What a writer wants appended, all or nothing, and what it answers when that is durable."""

    changes: Sequence[Change]
    answer: T


class _File:
    """The journal, open for appending; closed when nobody needs it any more."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        status = os.fstat(descriptor)
        self.identity = (status.st_dev, status.st_ino)
        finalize(self, os.close, descriptor)


class _Unsynced(NamedTuple):
    """An append that is in the file but not yet durable: up to which byte, and what it says for an error."""

    file: _File
    end: int
    subject: str
    is_first: bool
    """Whether this object has not synced this file before, so that the file's name may not be durable either."""


class Journal:
    """One queue's journal; safe to share between threads."""

    def __init__(
        self,
        queue: QueueFolder,
        clock: "Clock",
        *,
        disk: Disk = REAL_DISK,
        reader: JournalReader | None = None,
    ) -> None:
        self._queue = queue
        self._clock = clock
        self._disk = disk
        self._lock = JournalLock(queue.lock, disk=disk)
        self._mutex = RLock()
        self._is_writing = False
        self._is_local = False
        self._reader = reader or JournalReader(queue, clock)
        self._synced = 0
        self._synced_file: tuple[int, int] | None = None
        self._shown: Ledger | None = None
        self._opened: _File | None = None

    @property
    def generation(self) -> tuple[int, int] | None:
        """Which file was read last: another one than before has its lines in other places."""
        return self._reader.identity

    def read(self, look: Callable[[Ledger, tuple[Damage, ...]], T]) -> T:
        """Return what *look* makes of the journal as it is now and its damage; *look* must not keep the ledger.

        *look* is called again when what it was shown proves to be wrong. From inside of a change it sees what that
        is based on. Raises: StorageError; NewerVersionError.
        """
        with self._mutex:
            if self._shown is not None:
                return look(self._shown, ())
            return self._reader.look(lambda ledger, tail: look(ledger, self._damage(ledger, tail)))

    def append(self, propose: Callable[[Ledger, str], Proposal[T]], *, by: str) -> T:
        """Append what *propose* makes of the journal and the time, under the lock; durable when this returns.

        What *propose* raises leaves the journal as it is; it is raised only when the bytes it rests on are durable.
        Raises: StorageError; CorruptStateError; NewerVersionError.
        """
        with self._mutex:
            if self._is_writing:
                raise TaskqError("the journal was written to from inside a change of the journal")
            self._is_writing = True
            try:
                outcome, unsynced = self._append_locked(propose, by)
            finally:
                self._is_writing = False
        if unsynced is not None:
            self._sync(unsynced)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome.answer

    def _append_locked(
        self, propose: Callable[[Ledger, str], Proposal[T]], by: str
    ) -> tuple[Proposal[T] | Exception, _Unsynced | None]:
        if not self._is_local:
            if not self._queue.root.is_dir():
                raise StorageError(f"there is no queue at {self._queue.root}; make one with: taskq init")
            refuse_network(self._queue.root)
            self._is_local = True
        self._reader.prepare()
        with self._lock.hold() as held:
            refuse_poison(held)
            return self._reader.look(partial(self._append_to, held, propose=propose, by=by), catch_up=False)

    def _append_to(
        self,
        held: HeldLock,
        ledger: Ledger,
        tail: Tail,
        *,
        propose: Callable[[Ledger, str], Proposal[T]],
        by: str,
    ) -> tuple[Proposal[T] | Exception, _Unsynced | None]:
        """Append to the file that *ledger* is of; may be called again as long as nothing was written."""
        file = self._file()
        self._refuse_damage(ledger)
        if tail.content:
            self._cut(file.descriptor, tail)
        at = encode_moment(self._clock.now())
        self._shown = ledger
        try:
            proposal = propose(ledger, at)
            content = self._lines(ledger, proposal.changes, at=at, by=by)
        except StaleIndexError:
            raise
        except Exception as error:  # noqa: BLE001  # kept, and raised once what it rests on is durable
            return error, self._unsynced(file, ledger.offset, "what it read")
        finally:
            self._shown = None
        if not content:
            return proposal, self._unsynced(file, ledger.offset, "what it read")
        first, end = ledger.seq + 1, ledger.offset + len(content)
        self._write(held, file.descriptor, content, first, size=ledger.offset)
        try:
            ledger.absorb_own(content, proposal.changes)
        except StaleIndexError:
            self._reader.distrust()
        changed = ", ".join(change.id for change in proposal.changes[:3])
        more = "" if len(proposal.changes) <= 3 else f" and {len(proposal.changes) - 3} more"
        last = first - 1 + content.count(b"\n")
        return proposal, self._unsynced(file, end, f"the change seq {first} to {last} of task {changed}{more}")

    def _damage(self, ledger: Ledger, tail: Tail) -> tuple[Damage, ...]:
        torn = () if tail.damage is None else (tail.damage,)
        why = self._lock.peek()
        poison = () if why is None else (Damage(line=max(ledger.lines, 1), offset=ledger.offset, why=why),)
        return (*ledger.damage, *torn, *poison)

    def _file(self) -> "_File":
        """Return the journal that the reader sees, open for appending; one is made where there is none."""
        if self._opened is not None and self._opened.identity == self._reader.identity:
            return self._opened
        path = self._queue.journal
        with storage_errors("open", path):
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            file = _File(os.open(path, flags, PRIVATE_FILE))
        if self._reader.identity not in {None, file.identity}:
            raise StorageError(f"{path} was replaced while it was opened; try again")
        self._opened = file
        return file

    def _refuse_damage(self, ledger: Ledger) -> None:
        if not ledger.damage:
            return
        first, *others = ledger.damage
        msg = (
            f"{self._queue.journal} is damaged at line {first.line} ({first.why})"
            f"{f' and {len(others)} more' if others else ''}; nothing was changed; {REPAIR_HINT}"
        )
        raise CorruptStateError(msg)

    def _cut(self, descriptor: int, tail: Tail) -> None:
        """Move what is no whole append to the history."""
        name = f"torn-{stamp(encode_moment(self._clock.now()))}-{tail.offset}"
        keep_bytes(self._queue.history, name, tail.content, disk=self._disk)
        with storage_errors("cut the torn tail of", self._queue.journal):
            self._disk.truncate(descriptor, tail.offset)

    def _lines(self, ledger: Ledger, changes: Sequence[Change], *, at: str, by: str) -> bytes:
        when = f'"at":"{at}","by":{json.dumps(by)}'
        members = [
            f'"kind":"task","id":"{change.id}","rev":{change.rev},{when},'
            + (change.encoded or encode_members(change.fields))
            for change in changes
        ]
        if members and ledger.queue is None:
            members.insert(0, f'"kind":"queue","id":"{new_queue_id()}",{when},"v":{SCHEMA_VERSION}')
        last = len(members) - 1
        return b"".join(
            [
                seal(f'"seq":{ledger.seq + 1 + place},{member}' + (f',"more":{last - place}' if place < last else ""))
                for place, member in enumerate(members)
            ]
        )

    def _write(self, held: HeldLock, descriptor: int, content: bytes, seq: int, *, size: int) -> None:
        try:
            written = self._disk.write(descriptor, content)
            if written == len(content):
                return
            problem = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            problem = error
        try:
            self._disk.truncate(descriptor, size)
        except OSError as error:
            why = f"a change at seq {seq} was written in part and could not be cut off ({error.strerror})"
            held.set_poison(why)
            raise CorruptStateError(f"{why}; check the disk, then {REPAIR_HINT}") from error
        raise storage_error(problem, "write", self._queue.journal) from problem

    def _unsynced(self, file: "_File", end: int, subject: str) -> _Unsynced | None:
        is_first = file.identity != self._synced_file
        return None if not is_first and end <= self._synced else _Unsynced(file, end, subject, is_first=is_first)

    def _sync(self, unsynced: _Unsynced) -> None:
        """Wait for the disk, without the lock, so that writers share a flush; a failure is never tried again."""
        file = unsynced.file
        try:
            self._disk.sync(file.descriptor)
            if unsynced.is_first:
                sync_folder(self._queue.root, disk=self._disk)
        except (OSError, StorageError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            why = f"the disk did not confirm {unsynced.subject} ({reason}), so that it is in doubt"
            self._poison(why)
            raise CorruptStateError(f"{why}; check the disk, then {REPAIR_HINT}", code="in_doubt") from error
        with self._mutex:
            earlier = self._synced if self._synced_file == file.identity else 0
            self._synced_file, self._synced = file.identity, max(earlier, unsynced.end)

    def _poison(self, why: str) -> None:
        try:
            with self._lock.hold() as held:
                held.set_poison(why)
        except StorageError as error:
            msg = f"{why}, and the queue could not be marked ({error}); stop every taskq, check the disk, {REPAIR_HINT}"
            raise CorruptStateError(msg, code="in_doubt") from error


def refuse_poison(held: HeldLock) -> None:
    """Refuse to change a queue that is marked as in doubt. Raises: CorruptStateError."""
    why = held.poison()
    if why is not None:
        raise CorruptStateError(
            f"this queue refuses changes: {why}; check the disk, then {REPAIR_HINT}", code="poisoned"
        )


def new_queue_id() -> str:
    """Return a random id for a queue that has none yet."""
    return "".join(_QUEUE_ID_ALPHABET[byte % 32] for byte in os.urandom(_QUEUE_ID_LENGTH))
