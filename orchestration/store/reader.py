"""The journal as it is now, read without a lock: an open file, a ledger of it, and an index where that is worth it.

Responsible for: noticing that the file grew, was cut or replaced; building, extending and dropping the index.
Guarantees: an index that cannot be had costs time, and nothing else.
Not responsible for: writing (``store.journal``). Its owner lets one thread in at a time.
"""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar
from weakref import finalize

from orchestration.core.errors import CorruptStateError
from orchestration.core.urgency import microseconds
from orchestration.store.entry import StaleIndexError
from orchestration.store.layout import QueueFolder
from orchestration.store.ledger import Ledger
from orchestration.store.tail import Tail
from orchestration.support.files import PRIVATE_FILE, read_from, storage_errors

if TYPE_CHECKING:
    from orchestration.core.ports import Clock
    from orchestration.store.index import Index


class Effort(NamedTuple):
    """When an index is worth its price. Sizes are bytes."""

    batch: int = 256 * 1024
    """Whoever meets more unknown bytes than this takes them into the index."""
    warm: int = 8 * 1024**2
    """How much a process keeps in memory beyond the index, when it knows all of it already."""
    extending: int = 6
    """A byte costs about this many times more to add to an index than to take into a new one."""


EFFORT: Final = Effort()
_TRIES: Final = 5

T = TypeVar("T")


class _Open:
    """What is open: closed when its owner lets go of it, or is gone."""

    def __init__(self) -> None:
        self.journal: int | None = None
        self.index: Index | None = None

    def close(self) -> None:
        self.close_index()
        if self.journal is not None:
            os.close(self.journal)
        self.journal = None

    def close_index(self) -> None:
        if self.index is not None:
            self.index.close()
        self.index = None


class JournalReader:
    """One process's eye on one journal.

    *tell* hears how many lines were read for a new index, and None when that is done.
    """

    def __init__(
        self,
        queue: QueueFolder,
        clock: "Clock",
        *,
        effort: Effort = EFFORT,
        tell: Callable[[int | None], object] | None = None,
    ) -> None:
        self._queue = queue
        self._clock = clock
        self._effort = effort
        self._tell = tell
        self._open = _Open()
        finalize(self, self._open.close)
        self._identity: tuple[int, int] | None = None
        self._ledger: Ledger | None = None
        self._process = os.getpid()
        self._without_index = False
        self._is_behind = False

    @property
    def identity(self) -> tuple[int, int] | None:
        """Device and inode of the file that was read last; None when there was none."""
        return self._identity

    def look(self, use: Callable[[Ledger, Tail], T], *, catch_up: bool = True) -> T:
        """Return what *use* makes of the journal as it is now; it is called again when the index proves to be wrong.

        With *catch_up* the index is brought up to date first, if it is far behind.
        Raises: StorageError; NewerVersionError.
        """
        for attempt in range(_TRIES):
            ledger, tail = self._current(catch_up=catch_up or attempt > 0)
            try:
                return use(ledger, tail)
            except StaleIndexError:
                if ledger.index is None:
                    raise
            finally:
                if ledger.index is not None:
                    ledger.index.unlock()
            self.distrust()
            self._without_index = attempt > 0  # then what the journal says is what counts, at any price
        raise CorruptStateError(f"{self._queue.journal} changes while it is read; check who writes to it")

    def prepare(self) -> None:
        """Do what may take long, so that a look under a lock does not: read the journal, bring the index up to date."""
        if self._ledger is None or self._is_behind:
            self.look(lambda _ledger, _tail: None)

    def distrust(self) -> None:
        """Begin anew at the next look, without the index that is there."""
        self._forget_ledger()
        with suppress(OSError):
            self._queue.index_file.unlink(missing_ok=True)

    def forget(self) -> None:
        """Let go of everything; the next look begins anew."""
        self._open.close()
        self._ledger = self._identity = None
        self._without_index = False

    # --- the file ---------------------------------------------------------------------------------------------------

    def _follow(self) -> tuple[int, int] | None:
        """Return a descriptor of the journal that is at its path now, and its size; None when there is none."""
        if self._process != os.getpid():
            self.forget()
            self._process = os.getpid()
        path = self._queue.journal
        with storage_errors("read", path):
            try:
                status = path.lstat()
            except FileNotFoundError:
                self.forget()
                return None
            if self._open.journal is None or (status.st_dev, status.st_ino) != self._identity:
                self.forget()
                self._open.journal = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
                status = os.fstat(self._open.journal)
                self._identity = (status.st_dev, status.st_ino)
        return self._open.journal, status.st_size

    def _current(self, *, catch_up: bool) -> tuple[Ledger, Tail]:
        """Return the ledger, up to date, and what it cannot take yet; its index, if it has one, is locked for us."""
        for _ in range(_TRIES):
            found = self._follow()
            if found is None:
                return Ledger(), Tail(0, b"", None)
            descriptor, size = found
            ledger = self._known(descriptor, size)
            self._is_behind = self._wants_more_index(ledger, size)
            if catch_up and self._is_behind:
                self._catch_up(ledger, descriptor, size)
                catch_up = False
            elif ledger.index is None or ledger.index.lock():
                return ledger, self._absorb(ledger, descriptor, size)
            else:
                ledger.index.unlock()
                self._forget_ledger()
        self._forget_ledger()
        self._without_index = True
        return self._current(catch_up=False)

    def _known(self, descriptor: int, size: int) -> Ledger:
        """Return the ledger of what the file begins with, as far as it is known."""
        ledger = self._ledger
        if ledger is not None and not self._continues(ledger, descriptor, size):
            self._forget_ledger()
            self._without_index = False
            ledger = None
        if ledger is None:
            self._open.close_index()
            if not self._without_index and size > self._effort.batch:
                self._open.index = self._open_index(descriptor)
            ledger = self._ledger = Ledger(self._open.index, read=partial(_read_line, self._queue.journal, descriptor))
        return ledger

    def _continues(self, ledger: Ledger, descriptor: int, size: int) -> bool:
        """Say whether the file still begins with what the ledger knows."""
        with storage_errors("read", self._queue.journal):
            guard = os.pread(descriptor, len(ledger.guard), ledger.offset - len(ledger.guard))
        return size >= ledger.offset and guard == ledger.guard

    def _absorb(self, ledger: Ledger, descriptor: int, size: int) -> Tail:
        if size == ledger.offset:
            return Tail(size, b"", None)
        try:
            with storage_errors("read", self._queue.journal):
                return ledger.take_in(read_from(descriptor, ledger.offset, size - ledger.offset))
        except BaseException:
            if ledger.index is not None:
                ledger.index.unlock()
            self._forget_ledger()  # half of the lines may be in it
            raise

    def _forget_ledger(self) -> None:
        self._open.close_index()
        self._ledger = None

    # --- the index --------------------------------------------------------------------------------------------------

    def _open_index(self, descriptor: int) -> "Index | None":
        try:
            from orchestration.store.index import Index  # noqa: PLC0415 -- loads SQLite, which a short queue never needs
        except ImportError:  # a Python that was built without SQLite
            self._without_index = True
            return None
        return Index.open(self._queue.index_file, descriptor)

    def _wants_more_index(self, ledger: Ledger, size: int) -> bool:
        """Say whether there is more beyond the index than it would cost to take it in."""
        if size <= self._effort.batch or self._without_index:
            return False
        indexed = 0 if ledger.index is None else ledger.index.head.end
        return size - ledger.offset > self._effort.batch or size - indexed > self._effort.warm

    def _catch_up(self, ledger: Ledger, descriptor: int, size: int) -> None:
        """Build or extend the index; where that cannot be done now, it stays as it is."""
        index = ledger.index
        if index is None or (size - index.head.end) * self._effort.extending > size:
            self._build(descriptor)
            return
        ledger, _ = self._current(catch_up=False)
        if ledger.index is not None:
            ledger.index.unlock()
        if ledger.index is index and index.extend(ledger, descriptor, now=microseconds(self._clock.now())):
            self._forget_ledger()

    def _build(self, descriptor: int) -> None:
        """Build the index, or wait for another process that does."""
        self._forget_ledger()
        with self._build_lock():
            index = self._open_index(descriptor)
            if index is not None and os.fstat(descriptor).st_size - index.head.end <= self._effort.batch:
                index.close()
                return
            if index is not None:
                index.close()
            if not self._without_index:
                self._scan(descriptor)

    def _scan(self, descriptor: int) -> None:
        from orchestration.store.index import Index  # noqa: PLC0415 -- see above
        from orchestration.store.scan import scan  # noqa: PLC0415 -- loads msgspec, which only this needs

        with storage_errors("read", self._queue.journal):
            extent = scan(descriptor, self._tell)
        index = Index.build(self._queue.index_file, descriptor, extent)
        if self._tell is not None:
            self._tell(None)
        if index is None:
            self._without_index = True
        else:
            index.close()

    @contextmanager
    def _build_lock(self) -> Iterator[None]:
        """Let one process at a time build; where that cannot be arranged, each builds for itself."""
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            lock = os.open(self._queue.index_lock, flags, PRIVATE_FILE)
        except OSError:
            yield
            return
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)


def _read_line(path: Path, descriptor: int, offset: int, length: int) -> bytes:
    with storage_errors("read", path):
        return os.pread(descriptor, length, offset)
