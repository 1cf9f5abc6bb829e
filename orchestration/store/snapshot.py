"""The queue as a reader sees it, asked of the journal at every call."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence, ValuesView
from datetime import datetime
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from orchestration.core.glance import Glance
from orchestration.core.models import Task
from orchestration.core.naming import id_key
from orchestration.core.snapshot import Damage, Snapshot
from orchestration.core.status import Status
from orchestration.core.urgency import microseconds
from orchestration.store.decoder import TaskDecoder
from orchestration.store.entry import Entry, State
from orchestration.store.journal import Journal
from orchestration.store.ledger import Ledger

if TYPE_CHECKING:
    from orchestration.store.listing import Listed

_CHUNK: Final = 256
_LARGE_CHUNK: Final = 1024
_MANY: Final = 400
"""From here on it is worth to load what reads many tasks quickly."""
_MANY_IDS: Final = 10_000

K = TypeVar("K", Entry, State)
T = TypeVar("T")


class JournalSnapshot(Snapshot):
    """What sees a queue as its journal says at each call."""

    def __init__(
        self, journal: Journal, decoder: TaskDecoder, on_fault: Callable[[Damage], None] | None = None
    ) -> None:
        self._journal = journal
        self._decoder = decoder
        self._on_fault = on_fault
        self._faults: dict[str, Damage] = {}

    @property
    def queue(self) -> str | None:
        """The queue's own id; None before its first change."""
        return self._journal.read(lambda ledger, _: ledger.queue)

    @property
    def seq(self) -> int:
        """The number of the last change."""
        return self._journal.read(lambda ledger, _: ledger.seq)

    @property
    def damage(self) -> tuple[Damage, ...]:
        """What of the journal cannot be believed: its lines, and the tasks that were asked for and cannot be read."""
        return (*self._journal.read(lambda _, damage: damage), *self._faults.values())

    @property
    def tasks(self) -> Mapping[str, Task]:
        """Every task by its id, in the order in which they were added."""
        return _Tasks(self)

    def find(self, identifier: str) -> Task | None:
        """Return the task of this id, case ignored, or None."""

        def look(ledger: Ledger, _damage: object) -> Task | None:
            entry = ledger.find(identifier)
            return None if entry is None else self._task(entry)

        return self._journal.read(look)

    def counts(self) -> Mapping[Status, int]:
        """Return how many tasks have each status; all of the statuses, in their order."""
        counts = dict.fromkeys(Status, 0)
        for (status, _), number in self._counts().items():
            if status in counts:
                counts[Status(status)] += number
        return counts

    def sandboxes(self, status: Status) -> frozenset[str]:
        """Return the kinds of sandbox of the tasks that have this status."""
        return frozenset(kind for (of, kind), number in self._counts().items() if of == status and number > 0)

    def select(self, statuses: Collection[Status]) -> Iterable[Task]:
        """Yield the tasks that have one of *statuses*, in the order in which they were added."""
        return self.each([str(status) for status in statuses])

    def each(self, statuses: Sequence[str] | None = None) -> Iterator[Task]:
        """Yield the tasks of *statuses*, or all: each once, and as it is when its turn comes."""

        def find(ledger: Ledger, after: int) -> tuple[list[Entry], int | None]:
            return ledger.entries(after=after, limit=_CHUNK, statuses=statuses)

        return self._walk(find, lambda _ledger, entries: self._shown(entries))

    def glances(self, statuses: Collection[Status] | None = None) -> Iterable[Glance]:
        """Yield what lists show of the tasks that have one of *statuses*, or of all: tasks, or if many, `Listed`."""
        many = sum(number for status, number in self.counts().items() if statuses is None or status in statuses)
        names = None if statuses is None else [str(status) for status in statuses]
        return self.each(names) if many <= _MANY else self.listed(names)

    def listed(self, statuses: Sequence[str] | None = None) -> Iterator["Listed"]:
        """Yield what lists show of the tasks that `each` yields; quicker where they are very many."""
        from orchestration.store.listing import Lines, Listed, listed  # noqa: PLC0415 -- loads msgspec

        def find(ledger: Ledger, after: int) -> tuple[list[State], int | None]:
            return ledger.states(after=after, limit=_LARGE_CHUNK, statuses=statuses)

        def shown(ledger: Ledger, state: State) -> Listed | None:
            entry = ledger.find(state.id)
            task = None if entry is None else self._task(entry)
            return None if task is None else Listed.of(task)

        def show(ledger: Ledger, states: list[State]) -> list[Listed]:
            lines = Lines(ledger.read, states[0].place if states else 0)
            return [one for state in states if (one := listed(state, lines) or shown(ledger, state)) is not None]

        return self._walk(find, show)

    def urgent(self, now: datetime) -> Iterable[Task]:
        """Yield the tasks that are todo, the most urgent first, the earliest added among equals.

        One that may not start at *now* can be left out.
        """
        given, size = 0, 1
        while True:
            tasks = self._journal.read(partial(self._urgent, now=microseconds(now), first=given, size=size))
            yield from tasks
            if len(tasks) < size:
                return
            given += size
            size = _CHUNK

    def awaiting(self, identifier: str) -> Iterable[Task]:
        """Yield the tasks that wait for the task of this id, case ignored, in the order in which they were added."""
        return self._journal.read(lambda ledger, _: self._shown(ledger.awaiting(identifier)))

    def ids(self, prefix: str = "") -> Iterable[str]:
        """Yield the ids that begin with *prefix*, case ignored; of very many, some."""
        return self._journal.read(lambda ledger, _: ledger.ids(prefix, limit=_MANY_IDS))

    def _counts(self) -> Mapping[tuple[str, str], int]:
        return self._journal.read(lambda ledger, _: ledger.counts())

    def _walk(
        self,
        find: Callable[[Ledger, int], tuple[list[K], int | None]],
        show: Callable[[Ledger, list[K]], list[T]],
    ) -> Iterator[T]:
        """Yield what *show* makes of what *find* finds after a place, and after the place up to which that was."""

        def some(ledger: Ledger, _damage: object, *, reached: _Reached) -> tuple[list[T], _Reached | None]:
            file = self._journal.generation
            if file != reached.file:
                reached = reached.moved_to(file, ledger)
            found, place = find(ledger, reached.place)
            new = [one for one in found if id_key(one.id) not in reached.given] if reached.given else found
            ids = frozenset(id_key(one.id) for one in found) or reached.ids
            return show(ledger, new), None if place is None else reached._replace(place=place, ids=ids)

        reached: _Reached | None = _Reached(file=None, place=-1)
        while reached is not None:
            shown, reached = self._journal.read(partial(some, reached=reached))
            yield from shown

    def _urgent(self, ledger: Ledger, _damage: object, *, now: int, first: int, size: int) -> list[Task]:
        return self._shown(islice(ledger.urgent(now), first, first + size))

    def _shown(self, entries: Iterable[Entry]) -> list[Task]:
        return [task for entry in entries if (task := self._task(entry)) is not None]

    def _task(self, entry: Entry) -> Task | None:
        task = self._decoder.shown(entry)
        if entry.fault is not None:
            fault = self._faults[entry.id] = Damage(line=entry.line, offset=entry.offset, why=entry.fault)
            if self._on_fault is not None:
                self._on_fault(fault)
        return task


class _Reached(NamedTuple):
    """How far a reader came in which file: *ids* are those of the last tasks up to *place*.

    *given* are those that come again because the file was replaced, so that places changed.
    """

    file: tuple[int, int] | None
    place: int
    ids: frozenset[str] = frozenset()
    given: frozenset[str] = frozenset()

    def moved_to(self, file: tuple[int, int] | None, ledger: Ledger) -> "_Reached":
        """Return where to go on in another file, in which tasks are in the same order: before the last ones given."""
        entries = [ledger.find(key) or ledger.removed(key) for key in self.ids]
        places = [entry.place - 1 for entry in entries if entry is not None]
        return _Reached(file, min(places, default=self.place), self.ids, self.given | self.ids)


class _Tasks(Mapping[str, Task]):
    """The tasks of a snapshot by their ids."""

    def __init__(self, snapshot: JournalSnapshot) -> None:
        self._snapshot = snapshot

    def __getitem__(self, identifier: str) -> Task:
        task = self._snapshot.find(identifier)
        if task is None or task.id != identifier:
            raise KeyError(identifier)
        return task

    def __iter__(self) -> Iterator[str]:
        return (task.id for task in self.each())

    def __len__(self) -> int:
        return sum(self._snapshot.counts().values())

    def values(self) -> ValuesView[Task]:
        """Return the tasks."""
        return _Values(self)

    def each(self) -> Iterator[Task]:
        """Yield the tasks, without looking each up by its id."""
        return self._snapshot.each()


class _Values(ValuesView[Task]):
    _mapping: _Tasks

    def __iter__(self) -> Iterator[Task]:
        return self._mapping.each()
