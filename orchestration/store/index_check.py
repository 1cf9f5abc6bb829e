"""An index held against the journal that it is of: whether each of its answers is what a new one would say."""

from collections.abc import Iterator

from orchestration.core.naming import id_key
from orchestration.core.status import Status
from orchestration.store.entry import StaleIndexError, State
from orchestration.store.index import Index
from orchestration.store.index_head import Extent
from orchestration.store.layout import QueueFolder
from orchestration.store.scan import scan


def index_problem(queue: QueueFolder, journal: int) -> str | None:
    """Say what is wrong with the index of the open file *journal*; None when nothing is, or nobody would believe it.

    Raises: OSError; NewerVersionError.
    """
    index = Index.open(queue.index_file, journal)
    if index is None:
        return None
    try:
        if not index.lock():  # somebody extends it right now, so that it is one that works
            return None
        return next(_differences(index, scan(journal, end=index.head.end)), None)
    except StaleIndexError as error:
        return str(error)
    finally:
        index.close()


def _differences(index: Index, extent: Extent) -> Iterator[str]:
    states = list(extent.tasks)
    yield from _of_head(index, extent)
    stored = index.everything()
    if len(stored) != len(states):
        yield f"it has {len(stored)} tasks where the journal has {len(states)}"
    known = {id_key(state.id): state.status for state, _ in states}
    for (found, waits), (due, after) in zip(stored, states, strict=False):
        if found != due and not _is_due_by_now(found, due):
            yield f"it does not have task {due.id} as the journal has it"
        parents = {id_key(parent) for parent in after}
        if due.status is not None and waits != sum(known.get(parent) != Status.DONE for parent in parents):
            yield f"it is wrong about what task {due.id} waits for"
    edges = {(id_key(parent), state.place) for state, after in states if state.status is not None for parent in after}
    present = {state.place for state, _ in states if state.status is not None}
    if {(parent, child) for parent, child in index.edges() if child in present} != edges:
        yield "it is wrong about which tasks wait for which"
    counts: dict[tuple[str, str], int] = {}
    for state, _ in states:
        if state.status is not None:
            counts[state.status, state.sandbox] = counts.get((state.status, state.sandbox), 0) + 1
    if {kind: number for kind, number in index.counts().items() if number} != counts:
        yield "it is wrong about how many tasks there are"


def _of_head(index: Index, extent: Extent) -> Iterator[str]:
    head = index.head
    found = (head.end, head.lines, head.seq, head.compacted, head.queue, head.least, list(head.damage))
    due = (extent.end, extent.lines, extent.seq, extent.compacted, extent.queue, extent.least, list(extent.damage))
    if found != due:
        yield "its first line is not what the journal comes to"


def _is_due_by_now(found: State, due: State) -> bool:
    """Say whether they differ only in a time that has come since, which an index forgets."""
    return due.status == Status.TODO and found.not_before is None and found == due._replace(not_before=None)
