"""The index: a cache of what the journal says up to one byte, so that no answer takes longer in a longer queue.

A SQLite file without durability of its own, that anybody may delete at any time.
Guarantees: it is believed only while it fits the journal beside it (the file, its size, a checksum of its last bytes
before the recorded end), was closed cleanly, and was written since the machine started; readers and whoever extends it
exclude each other by a lock on the file itself, so that deleting or replacing it concerns nobody who has it open.
Not responsible for: what lines mean (``store.ledger``), when to build or extend it (``store.journal``).
"""

import fcntl
import math
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from orchestration.core.naming import id_key
from orchestration.core.status import Status
from orchestration.store.entry import SPAN, StaleIndexError, State
from orchestration.store.index_head import Extent, Head, believed_head, new_head
from orchestration.store.line import BadRecordError
from orchestration.support.files import PRIVATE_FILE, PRIVATE_FOLDER

if TYPE_CHECKING:
    from orchestration.store.ledger import Ledger

_COLUMNS: Final = "id, place, rev, line, status, sandbox, urgency, not_before, spans"
_TABLES: Final = """
CREATE TABLE head (
    one INTEGER PRIMARY KEY CHECK (one = 1), format INTEGER, clean INTEGER, serial INTEGER, boot TEXT, device INTEGER,
    inode INTEGER, end INTEGER, guard INTEGER, lines INTEGER, seq INTEGER, compacted INTEGER, queue TEXT, least INTEGER,
    damage TEXT
);
CREATE TABLE task (
    place INTEGER PRIMARY KEY, id TEXT NOT NULL COLLATE NOCASE, rev INTEGER, line INTEGER, status TEXT, sandbox TEXT,
    urgency INTEGER, not_before INTEGER, waits INTEGER, spans BLOB
);
CREATE TABLE awaits (parent TEXT NOT NULL, child INTEGER NOT NULL, PRIMARY KEY (parent, child)) WITHOUT ROWID;
CREATE TABLE counted (status TEXT, sandbox TEXT, number INTEGER, PRIMARY KEY (status, sandbox)) WITHOUT ROWID;
"""
_INDEXES: Final = """
CREATE UNIQUE INDEX task_by_id ON task (id);
CREATE INDEX task_by_status ON task (status, place) WHERE status IS NOT NULL;
CREATE INDEX task_ready ON task (urgency, place) WHERE status = 'todo' AND waits = 0 AND not_before IS NULL;
CREATE INDEX task_later ON task (not_before) WHERE status = 'todo' AND not_before IS NOT NULL;
CREATE INDEX awaits_by_child ON awaits (child);
"""
_INSERT: Final = f"INSERT INTO task ({_COLUMNS}, waits) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 0)"  # noqa: S608 -- our own names
_UPDATE: Final = (
    "UPDATE task SET id = ?, rev = ?, line = ?, status = ?, sandbox = ?, urgency = ?, not_before = ?, spans = ? "
    "WHERE place = ?"
)
_WAITS: Final = (
    "UPDATE task SET waits = (SELECT count(*) FROM awaits LEFT JOIN task AS parent ON parent.id = awaits.parent "
    "WHERE awaits.child = task.place AND parent.status IS NOT 'done')"
)


class Index:
    """An index that is open. Its answers count between `lock` and `unlock` alone."""

    def __init__(self, connection: sqlite3.Connection, descriptor: int, head: Head) -> None:
        self._connection = connection
        self._descriptor = descriptor
        self.head = head

    @classmethod
    def open(cls, path: Path, journal: int) -> Self | None:
        """Return the index at *path*, if there is one that can be believed of the open file *journal*."""
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return None
        index = connection = None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            connection = _connect(path)
            if _is_at(descriptor, path):
                head = believed_head(connection, journal)
                index = None if head is None else cls(connection, descriptor, head)
                fcntl.flock(descriptor, fcntl.LOCK_UN)
        except (OSError, sqlite3.Error, ValueError, TypeError):
            return None
        finally:
            if index is None:
                os.close(descriptor)
                if connection is not None:
                    connection.close()
        return index

    @classmethod
    def build(cls, path: Path, journal: int, extent: Extent) -> Self | None:
        """Put a new index in the place of what is at *path*; None when the disk or the folder does not let us."""
        temporary = path.with_name(f".{path.name}.{os.urandom(6).hex()}.tmp")
        try:
            with suppress(FileExistsError):
                path.parent.mkdir(mode=PRIVATE_FOLDER)
            os.close(
                os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, PRIVATE_FILE)
            )
            connection = _connect(temporary)
            try:
                _fill(connection, journal, extent)
            finally:
                connection.close()
            temporary.replace(path)
        except (OSError, sqlite3.Error):
            return None
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
        return cls.open(path, journal)

    def close(self) -> None:
        """Let go of the file."""
        with suppress(sqlite3.Error):
            self._connection.close()
        os.close(self._descriptor)
        self._descriptor = -1

    # --- taking turns -----------------------------------------------------------------------------------------------

    def lock(self) -> bool:
        """Keep the index as it is until `unlock`; False when it is not what it was when it was opened."""
        fcntl.flock(self._descriptor, fcntl.LOCK_SH)
        try:
            now = self._connection.execute("SELECT serial, clean FROM head").fetchone()
        except sqlite3.Error:
            now = None
        return bool(now == (self.head.serial, 1))

    def unlock(self) -> None:
        """Let others extend it; a file that was closed meanwhile has no lock any more."""
        if self._descriptor >= 0:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def extend(self, ledger: "Ledger", journal: int, *, now: int) -> bool:
        """Take in what *ledger* knows beyond this index, in one batch; False when others are reading, or it failed.

        The index must not be locked by us, and is of no further use afterwards. *now* is in microseconds since 1970.
        """
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        try:
            if self._connection.execute("SELECT serial, clean FROM head").fetchone() != (self.head.serial, 1):
                return False
            # Not one transaction: what a kill leaves of it is not clean, and so is not believed.
            self._connection.execute("UPDATE head SET clean = 0")
            self._connection.execute("BEGIN")
            least = self.head.least + self._take_in(ledger, now)
            self._connection.execute("COMMIT")
            extent = Extent(
                ledger.offset, ledger.lines, ledger.seq, ledger.compacted, ledger.queue, least, ledger.damage, ()
            )
            self._connection.execute(*new_head(journal, extent, serial=self.head.serial + 1))
        except (OSError, sqlite3.Error, StaleIndexError):
            return False
        finally:
            self.unlock()
        return True

    def _take_in(self, ledger: "Ledger", now: int) -> int:
        """Take in what is new; return how much larger *least* is with it."""
        more = 0
        execute = self._connection.execute
        counts = dict(ledger.changed_counts())  # first, as it looks at what is there
        recount: set[int] = set()
        for key, entry in ledger.touched.items():
            before, state = self.state(key), entry.state()
            more += least_of(state) - (0 if before is None else least_of(before))
            if before is None or before.place != state.place:
                if before is not None:
                    execute("DELETE FROM task WHERE place = ?", (before.place,))
                    execute("DELETE FROM awaits WHERE child = ?", (before.place,))
                execute(_INSERT, state)
            else:
                identifier, place, *others = state
                execute(_UPDATE, (identifier, *others, place))
            if entry.says_after():
                execute("DELETE FROM awaits WHERE child = ?", (state.place,))
                with suppress(BadRecordError):
                    parents = {(id_key(parent), state.place) for parent in entry.after()}
                    self._connection.executemany("INSERT INTO awaits VALUES (?, ?)", parents)
                recount.add(state.place)
            if before is None or (before.status == Status.DONE) != (state.status == Status.DONE):
                recount.update(place for (place,) in execute("SELECT child FROM awaits WHERE parent = ?", (key,)))
        self._connection.executemany(f"{_WAITS} WHERE place = ?", [(place,) for place in recount])
        for (status, sandbox), change in counts.items():
            execute(
                "INSERT INTO counted VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET number = number + excluded.number",
                (status, sandbox, change),
            )
        due = "UPDATE task INDEXED BY task_later SET not_before = NULL WHERE status = 'todo' AND not_before <= ?"
        execute(f"{due} AND not_before IS NOT NULL", (now,))
        return more

    # --- looking ----------------------------------------------------------------------------------------------------

    def state(self, key: str) -> State | None:
        """Return what is known of the task of this key; also of one that was removed."""
        found = self._states("WHERE id = ?", (key,))
        return found[0] if found else None

    def states(self, keys: Sequence[str]) -> list[State]:
        """Return what is known of the tasks of these keys, at most some hundred; also of those that were removed."""
        return self._states(f"WHERE id IN ({','.join('?' * len(keys))})", tuple(keys))

    def counts(self) -> Mapping[tuple[str, str], int]:
        """Return how many tasks there are of each status and sandbox."""
        rows = self._rows("SELECT status, sandbox, number FROM counted")
        return {(status, sandbox): number for status, sandbox, number in rows}

    def added_after(
        self, place: int, *, limit: int, statuses: Sequence[str] | None = None
    ) -> tuple[list[State], int | None]:
        """Return at most *limit* tasks added after *place*, of *statuses* if given; the last place if more follow."""
        if statuses is None:
            found = self._states("WHERE place > ? AND status IS NOT NULL ORDER BY place LIMIT ?", (place, limit))
        else:
            where = "WHERE status = ? AND status IS NOT NULL AND place > ? ORDER BY place LIMIT ?"
            each = [self._states(where, (status, place, limit)) for status in statuses]
            found = sorted((state for states in each for state in states), key=lambda state: state.place)[:limit]
        return found, found[-1].place if len(found) == limit else None

    def ready(self, *, after: State | None, limit: int) -> list[State]:
        """Return at most *limit* tasks that are todo and wait for nothing, the most urgent first, from *after* on."""
        where = "INDEXED BY task_ready WHERE status = 'todo' AND waits = 0 AND not_before IS NULL"
        if after is None:
            return self._states(f"{where} ORDER BY urgency, place LIMIT ?", (limit,))
        return self._states(
            f"{where} AND (urgency, place) > (?, ?) ORDER BY urgency, place LIMIT ?",
            (after.urgency, after.place, limit),
        )

    def due(self, now: int) -> list[State]:
        """Return the tasks whose time has come since the index was extended; some of them may wait for others."""
        where = "INDEXED BY task_later WHERE status = 'todo' AND not_before IS NOT NULL AND not_before <= ?"
        return self._states(where, (now,))

    def next_due(self) -> float:
        """Return when the next task's time comes that is todo, in microseconds since 1970; infinity for never."""
        query = (
            "SELECT min(not_before) FROM task INDEXED BY task_later WHERE status = 'todo' AND not_before IS NOT NULL"
        )
        ((first,),) = self._rows(query)
        return math.inf if first is None else first

    def awaiting(self, key: str) -> list[State]:
        """Return the tasks that wait for the task of this key."""
        where = "WHERE place IN (SELECT child FROM awaits WHERE parent = ?) AND status IS NOT NULL"
        return self._states(where, (key,))

    def is_awaited(self, key: str) -> bool:
        """Return whether a task waits for the task of this key."""
        return bool(self._rows("SELECT 1 FROM awaits WHERE parent = ? LIMIT 1", (key,)))

    def ids(self, prefix: str, *, limit: int) -> list[str]:
        """Return at most *limit* ids that begin with *prefix*, case ignored, in alphabetical order."""
        rows = self._rows(
            "SELECT id FROM task WHERE id >= ? AND id < ? AND status IS NOT NULL ORDER BY id LIMIT ?",
            (prefix, prefix + "\x7f", limit),
        )
        return [identifier for (identifier,) in rows]

    def everything(self) -> list[tuple[State, int]]:
        """Return all that is known of every task, in the order of adding, and of how many tasks each waits."""
        rows = self._rows(f"SELECT {_COLUMNS}, waits FROM task ORDER BY place")  # noqa: S608 -- our own words
        return [(State._make(row[:-1]), row[-1]) for row in rows]

    def edges(self) -> list[tuple[str, int]]:
        """Return which tasks wait for which: the key of the one waited for, and the place of the one that waits."""
        return self._rows("SELECT parent, child FROM awaits")

    def _states(self, where: str, values: tuple[Any, ...]) -> list[State]:
        return [State._make(row) for row in self._rows(f"SELECT {_COLUMNS} FROM task {where}", values)]  # noqa: S608 -- our own words

    def _rows(self, query: str, values: tuple[Any, ...] = ()) -> list[Any]:
        try:
            return self._connection.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise StaleIndexError(f"the index cannot be read: {error}") from error


def _connect(path: Path) -> sqlite3.Connection:
    """Open the file for reading and writing, without SQLite's locks and journals: ours are on the file itself."""
    name = str(path).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    connection = sqlite3.connect(
        f"file:{name}?mode=rw&nolock=1", uri=True, isolation_level=None, check_same_thread=False
    )
    try:
        for pragma in ("journal_mode = OFF", "synchronous = OFF", "temp_store = MEMORY"):
            connection.execute(f"PRAGMA {pragma}").close()
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _fill(connection: sqlite3.Connection, journal: int, extent: Extent) -> None:
    connection.executescript(_TABLES)
    connection.execute("PRAGMA cache_size = -65536")
    connection.execute("BEGIN")
    edges: list[tuple[str, int]] = []
    counts: dict[tuple[str, str], int] = {}
    connection.executemany(_INSERT, _noting(extent.tasks, edges, counts))
    connection.executemany("INSERT INTO awaits VALUES (?, ?)", edges)
    rows = [(status, sandbox, number) for (status, sandbox), number in counts.items()]
    connection.executemany("INSERT INTO counted VALUES (?, ?, ?)", rows)
    for statement in _INDEXES.strip().split("\n"):
        connection.execute(statement)
    if edges:
        connection.execute(f"{_WAITS} WHERE place IN (SELECT child FROM awaits)")  # noqa: S608 -- our own words
    connection.execute(*new_head(journal, extent, serial=1))
    connection.execute("COMMIT")


def _noting(
    tasks: Iterable[tuple[State, tuple[str, ...]]], edges: list[tuple[str, int]], counts: dict[tuple[str, str], int]
) -> Iterator[State]:
    for state, after in tasks:
        if after:
            edges.extend({(id_key(parent), state.place) for parent in after})
        if state.status is not None:
            kind = (state.status, state.sandbox)
            counts[kind] = counts.get(kind, 0) + 1
        yield state


def least_of(state: State) -> int:
    """Return the size of the line that added the task; 0 when it is gone."""
    return 0 if state.status is None else SPAN.unpack_from(state.spans)[1] + 1


def _is_at(descriptor: int, path: Path) -> bool:
    ours, there = os.fstat(descriptor), path.lstat()
    return (ours.st_dev, ours.st_ino) == (there.st_dev, there.st_ino)
