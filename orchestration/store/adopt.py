"""Tasks that come with a past, into a queue: members that this version does not know are stored with them.

Guarantees: one append, all or nothing; each task is a full line that reads back as the same task.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from orchestration.core.errors import DuplicateTaskError
from orchestration.core.naming import TaskId, id_key
from orchestration.core.transfers import ImportReport
from orchestration.store.arrivals import Arrival, kept, mapped, read_arrivals
from orchestration.store.codec import TASK
from orchestration.store.journal import Change, Proposal
from orchestration.store.ledger import Ledger
from orchestration.store.rules import check_dependencies, check_new
from orchestration.store.tasks import JournalTaskStore, LedgerDependencies

if TYPE_CHECKING:
    from orchestration.core.ports import Clock
    from orchestration.store.plain_records import ReadText


class Source(NamedTuple):
    """What is imported; *name* is what errors call it."""

    name: str
    content: bytes


def import_tasks(
    folder: Path,
    clock: "Clock",
    source: Source,
    *,
    defaults: Mapping[str, Any],
    read_text: "ReadText",
    skip_existing: bool,
    rename: bool,
    prepare: Callable[[], None] | None,
) -> ImportReport:
    """Add every task of *source* to the queue in *folder*, or none; *defaults* are for what plain records do not say.

    *prepare* makes the queue when all lines are good; without it nothing is done, and only said.

    Raises: TaskFileError naming the line; DuplicateTaskError naming the task; UsageError; StorageError.
    """
    plain = {name: TASK[name].encode(value) for name, value in defaults.items() if value is not None}
    arrivals = read_arrivals(*source, defaults=plain, read_text=read_text, rename=rename)
    store = AdoptingStore(folder, clock)
    try:
        if prepare is None:
            added = store.rehearse(arrivals.tasks, skip_existing=skip_existing)
        else:
            prepare()
            added = store.adopt(arrivals.tasks, by="import", skip_existing=skip_existing)
    except DuplicateTaskError as error:
        hint = "" if skip_existing else "; or leave out what is here with --skip-existing"
        raise DuplicateTaskError(f"{source.name}: {error}{hint}") from error
    here = {item.task.id for item in added}
    return ImportReport(
        tasks=len(added),
        skipped=tuple(item.task.id for item in arrivals.tasks if item.task.id not in here),
        mapped=dict(mapped(added)),
        kept=dict(kept(added)),
        changed=dict(Counter(change for item in added for change in item.changes)),
        renamed={before: after for before, after in arrivals.renamed.items() if after in here},
        dry_run=prepare is None,
    )


class AdoptingStore(JournalTaskStore):
    """A task store that takes tasks as they were elsewhere."""

    def adopt(self, arrivals: Sequence[Arrival], *, by: str, skip_existing: bool) -> tuple[Arrival, ...]:
        """Add all of *arrivals*; with *skip_existing* all but those whose ids are taken. Return those added.

        Raises: DuplicateTaskError, UsageError for an ``after`` that cannot be met, StorageError; nothing is added then.
        """
        fields = [self._blobs.shrink(item.fields) for item in arrivals]
        stored = dict(zip((id_key(item.task.id) for item in arrivals), fields, strict=True))

        def propose(ledger: Ledger, _at: str) -> Proposal[tuple[Arrival, ...]]:
            added = self._free(ledger, arrivals, skip_existing=skip_existing)
            return Proposal(
                changes=[self._line(ledger, item, stored[id_key(item.task.id)]) for item in added], answer=added
            )

        return self._journal.append(propose, by=by)

    def rehearse(self, arrivals: Sequence[Arrival], *, skip_existing: bool) -> tuple[Arrival, ...]:
        """Return what `adopt` would add now, or raise what it would raise; nothing is written."""
        return self._journal.read(lambda ledger, _damage: self._free(ledger, arrivals, skip_existing=skip_existing))

    def _free(self, ledger: Ledger, arrivals: Sequence[Arrival], *, skip_existing: bool) -> tuple[Arrival, ...]:
        added = [item for item in arrivals if not (skip_existing and ledger.find(item.task.id) is not None)]
        tasks = [item.task for item in added]
        check_new(tasks, lambda identifier: _taken(ledger, identifier))
        check_dependencies(tasks, LedgerDependencies(ledger))
        return tuple(added)

    def _line(self, ledger: Ledger, item: Arrival, fields: dict[str, object]) -> Change:
        task = self._numbered(ledger, item.task)
        members = {name: value for name, value in fields.items() if name not in {"id", "rev"}}
        return Change(id=TaskId(task.id), rev=task.rev, fields={**members, "v": task.v, "attempt": task.attempt})


def _taken(ledger: Ledger, identifier: str) -> str | None:
    entry = ledger.find(identifier)
    return None if entry is None else entry.id
