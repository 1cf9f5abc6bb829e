"""The journal: an append-only file of changes, one writer at a time, readers without a lock.

Guarantees: a change that was acknowledged is durable; one that raised is not in the file, or the queue is marked as
poisoned and the error says which change is in doubt. A tail that a crash cut short is set aside, never guessed at.
Not responsible for: what the changes mean (``store.tasks``).
"""

import errno
import os
from _thread import RLock  # what `threading` re-exports; the rest of it is not needed here
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeVar

from orchestration.core.errors import CorruptStateError, StorageError, TaskqError
from orchestration.core.models import SCHEMA_VERSION
from orchestration.core.snapshot import Damage
from orchestration.store.history import keep_bytes, stamp
from orchestration.store.index import Index, Tail
from orchestration.store.layout import QueueFolder
from orchestration.store.line import encode_line
from orchestration.store.lock import HeldLock, JournalLock
from orchestration.store.values import encode_moment
from orchestration.support.files import (
    PRIVATE_FILE,
    REAL_DISK,
    Disk,
    read_from,
    storage_error,
    storage_errors,
    sync_folder,
)

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


class Proposal(NamedTuple, Generic[T]):
    """What a writer wants appended, all or nothing, and what it answers when that is durable."""

    changes: Sequence[Change]
    answer: T


class _Unsynced(NamedTuple):
    """An append that is in the file but not yet durable: up to which byte, and what it says for an error."""

    descriptor: int
    end: int
    subject: str
    is_first: bool
    """Whether this object has not synced this file before, so that the file's name may not be durable either."""


class Journal:
    """One queue's journal; safe to share between threads."""

    def __init__(self, queue: QueueFolder, clock: "Clock", *, disk: Disk = REAL_DISK) -> None:
        self._queue = queue
        self._clock = clock
        self._disk = disk
        self._lock = JournalLock(queue.lock, disk=disk)
        self._mutex = RLock()
        self._is_writing = False
        self._index = Index()
        self._identity: tuple[int, int] | None = None
        self._synced = 0

    def read(self, look: Callable[[Index, tuple[Damage, ...]], T]) -> T:
        """Return what *look* makes of the journal as it is now and its damage; *look* must not keep the index.

        Raises: StorageError; NewerVersionError.
        """
        with self._mutex:
            damage = self._refresh()
            return look(self._index, damage)

    def append(self, propose: Callable[[Index, str], Proposal[T]], *, by: str) -> T:
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
        self, propose: Callable[[Index, str], Proposal[T]], by: str
    ) -> tuple[Proposal[T] | Exception, _Unsynced | None]:
        if not self._queue.root.is_dir():
            raise StorageError(f"there is no queue at {self._queue.root}; make one with: taskq init")
        with self._lock.hold() as held:
            _refuse_poison(held)
            descriptor = self._open()
            try:
                self._settle(descriptor)
                at = encode_moment(self._clock.now())
                try:
                    proposal = propose(self._index, at)
                    content = self._lines(proposal.changes, at=at, by=by)
                except Exception as error:  # noqa: BLE001  # kept, and raised once what it rests on is durable
                    return error, self._unsynced(descriptor, "what it read")
                if not content:
                    return proposal, self._unsynced(descriptor, "what it read")
                first = self._index.seq + 1
                self._write(held, descriptor, content, first)
                self._index.absorb(content)
                changed = ", ".join(change.id for change in proposal.changes[:3])
                more = "" if len(proposal.changes) <= 3 else f" and {len(proposal.changes) - 3} more"
                subject = f"the change seq {first} to {self._index.seq} of task {changed}{more}"
                return proposal, self._unsynced(descriptor, subject)
            except BaseException:
                os.close(descriptor)
                raise

    def _refresh(self) -> tuple[Damage, ...]:
        path = self._queue.journal
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            self._index, self._identity, self._synced = Index(), None, 0
            return self._poison_damage()
        except OSError as error:
            raise storage_error(error, "read", path) from error
        try:
            tail = self._catch_up(descriptor)
        finally:
            os.close(descriptor)
        torn = () if tail.damage is None else (tail.damage,)
        return (*self._index.damage, *torn, *self._poison_damage())

    def _poison_damage(self) -> tuple[Damage, ...]:
        why = self._lock.peek()
        return () if why is None else (Damage(line=max(self._index.lines, 1), offset=self._index.offset, why=why),)

    def _open(self) -> int:
        path = self._queue.journal
        with storage_errors("open", path):
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            return os.open(path, flags, PRIVATE_FILE)

    def _catch_up(self, descriptor: int) -> Tail:
        with storage_errors("read", self._queue.journal):
            if not self._continues(descriptor):
                self._index, self._synced = Index(), 0
            try:
                return self._index.absorb(read_from(descriptor, self._index.offset))
            except BaseException:
                self._index, self._identity, self._synced = Index(), None, 0
                raise

    def _continues(self, descriptor: int) -> bool:
        """Say whether the file is the one that is indexed, grown or as it was."""
        status = os.fstat(descriptor)
        identity = (status.st_dev, status.st_ino)
        if identity != self._identity:
            self._identity = identity
            return False
        index = self._index
        guard = os.pread(descriptor, len(index.guard), index.offset - len(index.guard))
        return status.st_size >= index.offset and guard == index.guard

    def _settle(self, descriptor: int) -> None:
        """Bring the index up to date and the file to its last whole line, or refuse."""
        tail = self._catch_up(descriptor)
        if self._index.damage:
            first = self._index.damage[0]
            count = len(self._index.damage)
            msg = (
                f"{self._queue.journal} is damaged at line {first.line} ({first.why})"
                f"{f' and {count - 1} more' if count > 1 else ''}; nothing was changed; {REPAIR_HINT}"
            )
            raise CorruptStateError(msg)
        if tail.content:
            name = f"torn-{stamp(encode_moment(self._clock.now()))}-{tail.offset}"
            keep_bytes(self._queue.history, name, tail.content, disk=self._disk)
            with storage_errors("cut the torn tail of", self._queue.journal):
                self._disk.truncate(descriptor, tail.offset)

    def _lines(self, changes: Sequence[Change], *, at: str, by: str) -> bytes:
        members = [
            {"kind": "task", "id": change.id, "rev": change.rev, "at": at, "by": by, **change.fields}
            for change in changes
        ]
        if members and self._index.queue is None:
            members.insert(0, {"kind": "queue", "id": _new_queue_id(), "at": at, "by": by, "v": SCHEMA_VERSION})
        last = len(members) - 1
        return b"".join(
            encode_line(
                {"seq": self._index.seq + 1 + place, **member, **({"more": last - place} if place < last else {})}
            )
            for place, member in enumerate(members)
        )

    def _write(self, held: HeldLock, descriptor: int, content: bytes, seq: int) -> None:
        size = self._index.offset
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

    def _unsynced(self, descriptor: int, subject: str) -> _Unsynced | None:
        end = self._index.offset
        if end <= self._synced:
            os.close(descriptor)
            return None
        return _Unsynced(descriptor, end, subject, is_first=self._synced == 0)

    def _sync(self, unsynced: _Unsynced) -> None:
        """Wait for the disk, without the lock, so that writers share a flush; a failure is never tried again."""
        try:
            status = os.fstat(unsynced.descriptor)
            self._disk.sync(unsynced.descriptor)
            if unsynced.is_first:
                sync_folder(self._queue.root, disk=self._disk)
        except (OSError, StorageError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            why = f"the disk did not confirm {unsynced.subject} ({reason}), so that it is in doubt"
            self._poison(why)
            raise CorruptStateError(f"{why}; check the disk, then {REPAIR_HINT}", code="in_doubt") from error
        finally:
            os.close(unsynced.descriptor)
        with self._mutex:
            if self._identity == (status.st_dev, status.st_ino):
                self._synced = max(self._synced, unsynced.end)

    def _poison(self, why: str) -> None:
        try:
            with self._lock.hold() as held:
                held.set_poison(why)
        except StorageError as error:
            msg = f"{why}, and the queue could not be marked ({error}); stop every taskq, check the disk, {REPAIR_HINT}"
            raise CorruptStateError(msg, code="in_doubt") from error


def _refuse_poison(held: HeldLock) -> None:
    why = held.poison()
    if why is not None:
        raise CorruptStateError(
            f"this queue refuses changes: {why}; check the disk, then {REPAIR_HINT}", code="poisoned"
        )


def _new_queue_id() -> str:
    return "".join(_QUEUE_ID_ALPHABET[byte % 32] for byte in os.urandom(_QUEUE_ID_LENGTH))
