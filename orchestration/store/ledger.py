"""All that a journal says up to one byte: what an index keeps of its beginning, and the lines since then, in memory.

Responsible for: which task each line changes, and what of the journal's end is no whole append.
Guarantees: an append of several lines is seen whole or not at all; damage never hides other lines; the answers are the
same with an index and without one.
Not responsible for: files (``store.journal``), task values (``store.codec``).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Final

from orchestration.core.naming import id_key
from orchestration.core.snapshot import Damage
from orchestration.store.entry import Entry, ReadLine, State
from orchestration.store.line import BadRecordError
from orchestration.store.record import Record
from orchestration.store.skim import VERSIONS, Piece, Skimmed, said_of, seq_of_whole_appends
from orchestration.store.standing import Standing
from orchestration.store.tail import BadLine, Tail, read_line, tail_of
from orchestration.store.upcoming import Upcoming

if TYPE_CHECKING:
    from orchestration.store.index import Index
    from orchestration.store.journal import Change

GUARD_BYTES: Final = 64
_FEW_LINES: Final = 64
_FEW_BYTES: Final = 1 << 15
"""So few are folded in less time than it takes to learn how to skim."""
_REMEMBERED: Final = 1024


class Ledger:
    """What the first *offset* bytes of one journal file say. *read* gives the bytes of a line that is in an index."""

    def __init__(self, index: "Index | None" = None, *, read: ReadLine | None = None) -> None:
        self.index = index
        self.offset = 0
        self.lines = 0
        self.seq = 0
        self.compacted = 0
        """Up to this seq, lines are what compaction made of earlier ones: states, not changes."""
        self.queue: str | None = None
        self.guard = b""
        self.damage: list[Damage] = []
        self._touched: dict[str, Entry] = {}
        self._skimmed = Skimmed()
        self._folded = 0
        self._remembered: dict[str, Entry | None] = {}
        self._read = read or _unreadable
        self._upcoming = None if index is None else Upcoming(index)
        self._standing = Standing(self._touched, index)
        if index is not None:
            head = index.head
            self.offset, self.lines, self.seq, self.compacted = head.end, head.lines, head.seq, head.compacted
            self.queue, self.damage = head.queue, list(head.damage)

    # --- taking lines -----------------------------------------------------------------------------------------------

    def take_in(self, content: bytes) -> Tail:
        """Take the bytes that follow, and look into them only when somebody asks for a task that they name.

        Return what cannot be taken yet. Raises: NewerVersionError; then this ledger is of no further use.
        """
        if self.queue is None:
            first = content.find(b"\n") + 1
            tail = self.absorb(content[:first])
            if tail.content or not self._has_begun:
                return self.absorb(tail.content + content[first:])
            content = content[first:]
        if self._folded < _FEW_LINES and len(content) < _FEW_BYTES:
            return self.absorb(content)
        seq = seq_of_whole_appends(content)
        said = [] if seq is None else said_of(content)
        lines = len(said)
        if (
            seq is None
            or not seq - self.seq == lines == content.count(b"\n")
            or any(v not in VERSIONS for _, v, _ in said)
        ):
            return self.absorb(content)
        self._skimmed.add(Piece(content, self.offset, self.lines, self.seq), said)
        self.lines, self.offset, self.seq = self.lines + lines, self.offset + len(content), seq
        self.guard = content[-GUARD_BYTES:]
        return Tail(self.offset, b"", None)

    def absorb(self, content: bytes) -> Tail:
        """Fold the bytes that follow what is taken in already; return what cannot be folded yet.

        Raises: NewerVersionError; then this ledger is of no further use.
        """
        self._read_skimmed()
        lines = content.split(b"\n")
        lines.pop()
        self._folded += len(lines)
        waiting: list[Record | BadLine] = []
        start = offset = self.offset
        number = self.lines
        for raw in lines:
            number += 1
            item = read_line(raw, number, offset)
            offset += len(raw) + 1
            if not waiting and isinstance(item, Record) and not self._goes_on(item):
                self._take(item)
                self.lines, self.offset = number, offset
                continue
            if item is not None:
                waiting.append(item)
            elif waiting:
                continue
            if item is None or (isinstance(item, Record) and not self._goes_on(item)):
                self._settle(waiting, line=number, offset=offset)
                waiting = []
        waiting = self._settle_damage(waiting)
        if self.offset > start:
            self.guard = content[max(0, self.offset - start - GUARD_BYTES) : self.offset - start]
        return tail_of(self.offset, content[self.offset - start :], waiting)

    @property
    def _has_begun(self) -> bool:
        return self.queue is not None

    def _read_skimmed(self) -> None:
        """Fold what was taken in without a look; what is known of where it ends stays."""
        if self._skimmed.pieces:
            self._look_up_all(self._skimmed.keys)
            known = self.lines, self.offset, self.seq, self.guard
            for piece in self._skimmed.take():
                self.offset, self.lines, self.seq = piece.offset, piece.lines, piece.seq
                self.absorb(piece.content)
            self.lines, self.offset, self.seq, self.guard = known

    @property
    def touched(self) -> dict[str, Entry]:
        """The tasks that have lines after what the index knows; with no index, all of them."""
        self._read_skimmed()
        return self._touched

    def absorb_own(self, content: bytes, changes: Sequence["Change"]) -> None:
        """Fold what was just appended of *changes*, without reading one line that is known already."""
        if len(changes) != 1 or content.count(b"\n") != 1:
            self.absorb(content)
            return
        (change,) = changes
        is_removed = change.fields.get("removed") is True
        full = "v" in change.fields
        number, offset, raw = self.lines + 1, self.offset, content[:-1]
        self.fold(Record(number, offset, raw, "task", change.id, self.seq + 1, change.rev, 0, full, is_removed, None))
        self.lines, self.offset, self.guard = number, offset + len(content), content[-GUARD_BYTES:]

    def fold(self, record: Record) -> None:
        """Take one line. Raises: BadRecordError when it changes a task that was never added."""
        if record.kind == "task":
            self._fold_task(record)
        elif record.kind == "queue" and record.id:
            self.queue = self.queue or record.id
            if record.members is not None and record.members.get("compacted") is True:
                self.compacted = record.seq or 0
        if record.seq is not None:
            self.seq = max(self.seq, record.seq)
        elif not 0 < self.compacted == self.seq:
            self.seq += 1

    def _is_state(self, record: Record) -> bool:
        """Say whether compaction wrote (or kept) the line: such a one stands for itself."""
        return record.seq is not None and record.seq <= self.compacted

    def _goes_on(self, record: Record) -> bool:
        return record.more > 0 and not self._is_state(record)

    def _settle(self, items: Iterable[Record | BadLine], *, line: int, offset: int) -> None:
        for item in items:
            if isinstance(item, BadLine):
                self.damage.append(item.damage)
                continue
            self._take(item)
        self.lines, self.offset = line, offset

    def _take(self, record: Record) -> None:
        try:
            self.fold(record)
        except BadRecordError as error:
            self.damage.append(Damage(line=record.line, offset=record.offset, why=str(error)))

    def _settle_damage(self, waiting: list[Record | BadLine]) -> list[Record | BadLine]:
        """Settle bad lines at the end that no crash explains: more than one, or one with good lines behind."""
        bad = 0
        while bad < len(waiting) and isinstance(waiting[bad], BadLine):
            bad += 1
        if bad == 0 or (bad == 1 and len(waiting) == 1):
            return waiting
        for item in waiting[:bad]:
            if isinstance(item, BadLine):
                self._settle((item,), line=item.damage.line, offset=item.next_offset)
        return waiting[bad:]

    def _fold_task(self, record: Record) -> None:
        key = id_key(record.id)
        entry = self._look_up(key)
        if entry is None or entry.removed:
            if not (record.full and not record.removed) and not (record.removed and self._is_state(record)):
                raise BadRecordError(f"a change of task {record.id}, which was not added before")
            gone = entry
            entry = Entry(record.id, place=record.offset, rev=gone.rev if gone else 0, read=self._read)
            entry.before = gone.before if gone else None
        entry.add(record)
        self._touched[key] = entry
        self._remembered.pop(key, None)
        self._standing.touch(key)

    # --- looking ----------------------------------------------------------------------------------------------------

    def find(self, identifier: str) -> Entry | None:
        """Return the task of this id, case ignored."""
        entry = self._look_up(id_key(identifier))
        return None if entry is None or entry.removed else entry

    def removed(self, identifier: str) -> Entry | None:
        """Return the task of this id that was removed, if the last one of this id was."""
        entry = self._look_up(id_key(identifier))
        return entry if entry is not None and entry.removed else None

    def counts(self) -> Mapping[tuple[str, str], int]:
        """Return how many tasks there are of each status and sandbox."""
        counts = {} if self.index is None else dict(self.index.counts())
        for kind, change in self.changed_counts().items():
            counts[kind] = counts.get(kind, 0) + change
        return counts

    def changed_counts(self) -> Mapping[tuple[str, str], int]:
        """Return how many tasks more there are of each status and sandbox than the index says."""
        self._read_skimmed()
        return self._standing.settle().counts

    def entries(
        self, *, after: int, limit: int, statuses: Sequence[str] | None = None
    ) -> tuple[list[Entry], int | None]:
        """Return tasks added after the place *after*, of *statuses* if given, in order, and where to go on, if at all.

        Of the index at most *limit* tasks are looked at.
        """
        self._read_skimmed()
        states: list[State] = []
        last: int | None = None
        if self.index is not None:
            states, last = self.index.added_after(after, limit=limit, statuses=statuses)
        found = [self._entry(state) for state in states if id_key(state.id) not in self._touched]
        found += self._touched_between(after, last, statuses)
        found.sort(key=attrgetter("place"))
        return found, last

    def states(
        self, *, after: int, limit: int, statuses: Sequence[str] | None = None
    ) -> tuple[list[State], int | None]:
        """Return what is known of the same tasks as `entries` returns, which costs less of very many."""
        self._read_skimmed()
        states: list[State] = []
        last: int | None = None
        if self.index is not None:
            states, last = self.index.added_after(after, limit=limit, statuses=statuses)
        if not self._touched:
            return states, last
        found = [state for state in states if id_key(state.id) not in self._touched]
        found += [entry.state() for entry in self._touched_between(after, last, statuses)]
        return sorted(found, key=attrgetter("place")), last

    def _touched_between(self, after: int, last: int | None, statuses: Sequence[str] | None) -> Iterator[Entry]:
        for entry in self._touched.values():
            is_here = after < entry.place and (last is None or entry.place <= last) and not entry.removed
            if is_here and (statuses is None or entry.state().status in statuses):
                yield entry

    def read(self, offset: int, length: int) -> bytes:
        """Return bytes of the journal's file; fewer where it ends."""
        return self._read(offset, length)

    def urgent(self, now: int) -> Iterator[Entry]:
        """Yield the tasks that are todo, the most urgent first; left out are some that may not start yet.

        *now* is in microseconds since 1970.
        """
        if not self._skimmed.only_leave:
            self._read_skimmed()
        left = self._skimmed.keys
        standing = self._standing.settle()
        touched = ((order, place, self._touched[key]) for order, place, key in standing.todo() if key not in left)
        if self._upcoming is None:
            return (entry for _, _, entry in touched)
        from heapq import merge  # noqa: PLC0415 -- `taskq add` asks for no order

        ready = self._entries(self._upcoming.ready(self._has_changed))
        others = sorted({*standing.freed(), *self._upcoming.due(now)}, key=attrgetter("urgency", "place"))
        return (entry for _, _, entry in merge(touched, self._entries(others), ready, key=itemgetter(0, 1)))

    def awaiting(self, identifier: str) -> list[Entry]:
        """Return the tasks that wait for the task of this id, in the order in which they were added."""
        self._read_skimmed()
        key = id_key(identifier)
        found = [entry for entry in self._saying_after() if key in map(id_key, _after(entry))]
        for state in [] if self.index is None else self.index.awaiting(key):
            entry = self._touched.get(id_key(state.id)) or self._entry(state)
            if not entry.removed and not entry.says_after():
                found.append(entry)
        return sorted(found, key=attrgetter("place"))

    def is_awaited(self, keys: Iterable[str]) -> bool:
        """Return whether a task waits for one of the tasks of these keys."""
        self._read_skimmed()
        wanted = set(keys)
        return any(not wanted.isdisjoint(map(id_key, _after(entry))) for entry in self._saying_after()) or (
            self.index is not None and any(self.index.is_awaited(key) for key in wanted)
        )

    def _saying_after(self) -> Iterator[Entry]:
        return (entry for entry in self._touched.values() if not entry.removed and entry.says_after())

    def ids(self, prefix: str, *, limit: int) -> list[str]:
        """Return at most *limit* ids that begin with *prefix*, case ignored."""
        self._read_skimmed()
        key = id_key(prefix)
        stored = [] if self.index is None else self.index.ids(key, limit=limit + len(self._touched))
        found = [identifier for identifier in stored if id_key(identifier) not in self._touched]
        found += [entry.id for name, entry in self._touched.items() if name.startswith(key) and not entry.removed]
        return found[:limit]

    def _look_up(self, key: str) -> Entry | None:
        if key in self._skimmed.keys:
            self._read_skimmed()
        entry = self._touched.get(key)
        if entry is not None or self.index is None:
            return entry
        if key not in self._remembered:
            state = self.index.state(key)
            self._remember(key, None if state is None else Entry.kept(state, read=self._read))
        return self._remembered[key]

    def _look_up_all(self, keys: Iterable[str]) -> None:
        """Remember what the index knows of the tasks of these keys, with one question for many."""
        if self.index is None:
            return
        unknown = [key for key in keys if key not in self._touched and key not in self._remembered]
        for first in range(0, len(unknown), _REMEMBERED // 2):
            some = unknown[first : first + _REMEMBERED // 2]
            found = {id_key(state.id): state for state in self.index.states(some)}
            for key in some:
                state = found.get(key)
                self._remember(key, None if state is None else Entry.kept(state, read=self._read))

    def _remember(self, key: str, entry: Entry | None) -> None:
        if len(self._remembered) >= _REMEMBERED:
            self._remembered.clear()
        self._remembered[key] = entry

    def _entry(self, state: State) -> Entry:
        """Return the task of a state that the index keeps; the same each time, as long as it is remembered."""
        key = id_key(state.id)
        entry = self._remembered.get(key)
        if entry is None:
            entry = Entry.kept(state, read=self._read)
            self._remember(key, entry)
        return entry

    def _entries(self, states: Iterable[State]) -> Iterator[tuple[int, int, Entry]]:
        """Yield what the index knows as *states*, but for the tasks that later lines have touched."""
        return (
            (state.urgency, state.place, self._entry(state))
            for state in states
            if not self._has_changed(id_key(state.id))
        )

    def _has_changed(self, key: str) -> bool:
        return key in self._touched or key in self._skimmed.keys


def _after(entry: Entry) -> tuple[str, ...]:
    try:
        return entry.after()
    except BadRecordError:
        return ()


def _unreadable(offset: int, _length: int) -> bytes:
    raise BadRecordError(f"no line at byte {offset}")
