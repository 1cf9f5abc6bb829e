"""The composition root: settings and names become working objects. The only module that knows concrete parts.

Responsible for: `App`, the one thing that every front end calls.
Guarantees: a part is imported when it is first used, so that `taskq add` stays quick.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, Self, cast

from orchestration.core.drafts import TaskDraft, overlay
from orchestration.core.errors import (
    BusyError,
    ConfigError,
    DuplicateTaskError,
    ExternalError,
    TaskNotFoundError,
    TaskqError,
    UsageError,
)
from orchestration.core.models import Task
from orchestration.core.naming import id_key
from orchestration.core.settings import Settings
from orchestration.core.status import Status
from orchestration.store.codec import encode_task
from orchestration.store.tasks import JournalTaskStore
from orchestration.support import config, paths
from orchestration.support.clock import SystemClock

if TYPE_CHECKING:
    from orchestration.adapters.git.host import Host
    from orchestration.adapters.sandbox.docker.images import BuiltImage
    from orchestration.core.events import Observer
    from orchestration.core.glance import Glance
    from orchestration.core.ports import Agent, Exit, Health, Output, SandboxProvider
    from orchestration.core.reports import CompactReport, FsckReport
    from orchestration.core.review import Page, Visitor
    from orchestration.core.snapshot import Damage, Snapshot
    from orchestration.core.transfers import Archived, ArchiveReport, BackupReport, ExportReport, ImportReport
    from orchestration.engine.attend import Collected
    from orchestration.engine.brief import Brief, LogKind
    from orchestration.engine.clean import Cleaner, CleanReport
    from orchestration.engine.operate import Landing, Operator
    from orchestration.engine.options import RunOptions
    from orchestration.engine.pool import Pool, RunSummary
    from orchestration.engine.worker import Worker
    from orchestration.pipeline.parts import Parts
    from orchestration.store.artifacts import AttemptFiles
    from orchestration.store.listing import Listed
    from orchestration.support.secrets import SecretStore

PROVIDERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "docker": "orchestration.adapters.sandbox.docker.provider:DockerSandboxProvider",
        "local": "orchestration.adapters.sandbox.local.provider:LocalSandboxProvider",
    }
)
"""Sandbox kinds by name; a new one is one file, one line here, and the contract suite."""

AGENTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "command": "orchestration.adapters.agent.command:CommandAgent",
        "scripted": "orchestration.adapters.agent.scripted:ScriptedAgent",
        "oracle": "orchestration.adapters.agent.oracle:OracleAgent",
        "opencode": "orchestration.adapters.agent.opencode.agent:OpenCodeAgent",
    }
)
"""Agents by name; a new one is one file, one line here, and the contract suite."""

Attending = Literal["web", "tui", "shell"]
"""How a person meets the sandbox of a task in review: in a browser, in the agent's own program, in a shell."""

AGENT_CHECKS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "command": "orchestration.adapters.agent.asked:check_command",
        "scripted": "orchestration.adapters.agent.scripted:check",
        "oracle": "orchestration.adapters.agent.oracle:check",
        "opencode": "orchestration.adapters.agent.opencode.asked:check_opencode",
    }
)
"""What refuses, at intake, a task that its agent could not run."""


def _load(table: Mapping[str, str], name: str, kind: str) -> Any:
    """Return the class that *name* stands for. Raises: UsageError naming the nearest."""
    if name not in table:
        raise UsageError(f"no {kind} {name!r}; {config.nearest(name, table)}", code=f"unknown_{kind}")
    module, _, attribute = table[name].partition(":")
    return getattr(import_module(module), attribute)


class App:
    """taskq as a library: one queue, with every operation that the command line has.

    ``tests/assembly/test_app.py`` runs an example of it.
    """

    def __init__(
        self, queue_folder: Path, *, settings: Settings, origins: Mapping[str, str], environment: Mapping[str, str]
    ) -> None:
        self.queue_folder = queue_folder
        self.settings = settings
        self.origins = origins
        self._environment = environment
        self._clock = SystemClock()
        self._store = JournalTaskStore(
            queue_folder,
            self._clock,
            on_fault=lambda fault: self._tell_damage((fault,)),
            on_reading=self._tell_reading,
        )
        self._told: set[Damage] = set()
        self._known_queue: str | None = None
        self._keeps_short = True
        self._providers: dict[str, SandboxProvider] = {}
        self._checks: dict[str, Callable[[Task], object]] = {}
        self.on_warning: Callable[[str], None] = _ignore
        self.on_reading: Callable[[int | None], object] = _ignore
        self.on_damage: Callable[[Sequence[Damage]], None] | None = None

    @classmethod
    def open(cls, queue: str | None = None, *, environment: Mapping[str, str] | None = None) -> Self:
        """Return the application for the queue that is found from here; nothing is created yet."""
        variables = os.environ if environment is None else environment
        folder = paths.find_queue(queue, environment=variables, cwd=Path.cwd())
        files = (paths.config_file(variables), folder / "config.toml")
        settings, origins = config.load(*files, environment=variables)
        return cls(folder, settings=settings, origins=origins, environment=variables)

    # --- intake -----------------------------------------------------------------------------------------------------

    def init(self, folder: Path) -> Path:
        """Make a queue in *folder*, which is marked so that taskq finds it from below; again is no error."""
        from orchestration.store.layout import create_queue

        create_queue(folder)
        return folder

    def add(self, drafts: Sequence[TaskDraft], *, tell: Callable[[int], object] | None = None) -> tuple[Task, ...]:
        """Queue all of *drafts* or none. Raises: UsageError, RepositoryError, DuplicateTaskError, StorageError."""
        tasks = self._settle(drafts, tell=tell)
        del drafts  # of very many tasks, a good part of what is in memory
        self._make_queue_folder()
        return self._store.add(tasks, by="add")

    def add_one(self, draft: TaskDraft) -> Task:
        """Queue one task, and keep it as it was given beside the journal."""
        from orchestration.store.given import given_file, spell, write_given

        (task,) = self._settle([draft])
        self._make_queue_folder()
        path = given_file(self.queue_folder, task.id)
        is_new = write_given(path, spell(draft))
        return self._add_given(task._replace(task_file=str(path) if is_new else None), path, is_new=is_new)

    def add_file(self, path: Path, flags: TaskDraft) -> Task:
        """Queue the task in a task file; what *flags* say is stronger. The file is copied byte for byte."""
        from orchestration.store.task_files import parse_task_file, read_task_file, store_task_file

        if not path.is_file():
            raise UsageError(f"{path}: there is no such file", code="no_file")
        content = read_task_file(path)
        draft = overlay(flags, parse_task_file(str(path), content, now=self._clock.now()))
        (task,) = self._settle([draft])
        self._make_queue_folder()
        is_new = not (self.queue_folder / "tasks" / f"{task.id}.md").exists()
        try:
            stored = store_task_file(self.queue_folder, task.id, content, given=path)
            return self._add_given(task._replace(task_file=str(stored)), stored, is_new=is_new)
        except DuplicateTaskError as error:
            raise DuplicateTaskError(f"{path}: {error}; or give it another id with --id", code=error.code) from error

    def _add_given(self, task: Task, path: Path, *, is_new: bool) -> Task:
        """Add a task whose file is at *path*; a new file goes again when the task is refused."""
        try:
            (added,) = self._store.add([task], by="add")
        except TaskqError:
            if is_new and self._store.read().find(task.id) is None:
                path.unlink(missing_ok=True)
            raise
        return added

    def add_many(
        self, name: str, content: bytes, flags: TaskDraft, *, tell: Callable[[int], object] | None = None
    ) -> tuple[Task, ...]:
        """Queue every task of a bulk file (JSONL or several front matter documents) in one append.

        *tell* is told how many are settled.
        """
        from orchestration.store.task_files import parse_many

        def drafts(content: bytes) -> tuple[TaskDraft, ...]:
            given = parse_many(name, content, now=self._clock.now())
            says_nothing = all(said is None for said in flags)
            return given if says_nothing else tuple(overlay(flags, draft) for draft in given)

        return self.add(drafts(content), tell=tell)

    def _settle(self, drafts: Sequence[TaskDraft], *, tell: Callable[[int], object] | None = None) -> tuple[Task, ...]:
        from orchestration.adapters.git.intake import current_branch, inspect
        from orchestration.engine.intake import Intake

        intake = Intake(
            settings=self.settings,
            worktree_root=self._worktree_root,
            cwd=Path.cwd(),
            inspect=inspect,
            current_branch=current_branch,
            check=self._check_parts,
        )
        tasks = intake.settle(drafts, now=self._clock.now(), tell=tell)
        for warning in intake.warnings:
            self.on_warning(warning)
        return tasks

    def _make_queue_folder(self) -> None:
        """Make the queue that the first task goes to."""
        if not (self.queue_folder / paths.MARKER).exists():
            self.init(self.queue_folder)

    def _check_parts(self, task: Task) -> None:
        """Refuse a task whose agent or sandbox cannot be. Raises: UsageError."""
        if task.sandbox not in PROVIDERS:
            _load(PROVIDERS, task.sandbox or "", "sandbox")
        agent = task.agent or ""
        if agent not in self._checks:
            self._checks[agent] = _load(AGENT_CHECKS, agent, "agent")
        self._checks[agent](task)

    # --- looking ----------------------------------------------------------------------------------------------------

    def read(self) -> "Snapshot":
        """Return what sees the queue as it is; damage in it is told once to whoever set `on_damage`."""
        snapshot = self._store.read()
        self._tell_damage(snapshot.damage)
        return snapshot

    def _tell_reading(self, lines: int | None) -> None:
        self.on_reading(lines)

    def _tell_damage(self, damage: "Sequence[Damage]") -> None:
        news = [item for item in damage if item not in self._told]
        self._told.update(news)
        if news and self.on_damage is not None:
            self.on_damage(news)

    def task(self, identifier: str) -> Task:
        """Return one task. Raises: TaskNotFoundError."""
        from orchestration.engine.operate import find

        return find(self.read(), identifier)

    def facts(self, task: Task, snapshot: "Snapshot") -> dict[str, Any]:
        """Return *task* as plain JSON: its stored fields, and what is computed from facts."""
        from orchestration.engine.choose import obstacle
        from orchestration.engine.lease import is_held

        waits = obstacle(task, snapshot, now=self._clock.now()) if task.status is Status.TODO else None
        held = task.run is not None and is_held(self._records.folders(task.id, task.run.attempt).lease)
        return {**encode_task(task), "waits_for": waits, "held": held}

    def archived(self, identifier: str | None = None) -> "tuple[Archived, ...]":
        """Return the tasks that were moved to the archive and are in the queue no more, or the one of this id.

        What of the archive cannot be read is told to `on_warning`. Raises: TaskNotFoundError.
        """
        from orchestration.store.archive import find_archived, read_archive

        if identifier is None:
            return tuple(read_archive(self.queue_folder, self._clock, self.on_warning))
        found = find_archived(self.queue_folder, self._clock, identifier)
        if found is None:
            raise TaskNotFoundError(f"no archived task {identifier[:80]!a}; list them with: taskq status --archived")
        return (found,)

    def archived_facts(self, archived: "Archived") -> dict[str, Any]:
        """Return an archived task as plain JSON: its stored fields, and the file that has it."""
        return {**encode_task(archived.task), "archived": str(archived.file)}

    def all_facts(self, glances: "Iterable[Glance]", snapshot: "Snapshot") -> "Iterator[dict[str, Any] | Listed]":
        """Yield of each what `facts` says of its task; it is encoded as that is."""
        from orchestration.engine.choose import hindrance
        from orchestration.engine.lease import is_held

        records, now = self._records, self._clock.now()
        known: dict[str, Status | None] = {}

        def status_of(identifier: str) -> Status | None:
            key = id_key(identifier)
            if key not in known:
                parent = snapshot.find(identifier)
                known[key] = None if parent is None else parent.status
            return known[key]

        for one in glances:
            if isinstance(one, Task):
                yield self.facts(one, snapshot)
                continue
            listed = cast("Listed", one)
            known[id_key(listed.id)] = listed.status
            if listed.status is Status.TODO and (listed.after or listed.not_before is not None):
                not_before = None if listed.not_before is None else datetime.fromisoformat(listed.not_before)
                listed.waits_for = hindrance(not_before, listed.after, status_of, now=now)
            if listed.run is not None:
                listed.held = is_held(records.folders(listed.id, listed.run["attempt"]).lease)
            yield listed

    def brief(self, identifier: str) -> "Brief":
        """Return what a reviewer needs on one screen."""
        from orchestration.engine.brief import Brief

        task = self.task(identifier)
        return Brief(task=task, result=self._records.load_result(task.id, task.attempt))

    def logs(
        self, task: Task, *, attempt: int | None, stage: str | None, kind: "LogKind" = "log"
    ) -> tuple[tuple[str, Path], ...]:
        """Return the log files of an attempt, the last one by default; of the agent's events where *kind* says so."""
        from orchestration.engine.brief import log_files

        return tuple(log_files(self._records.folders(task.id, attempt or task.attempt), stage=stage, kind=kind))

    def diff(self, identifier: str, *, stat: bool, binary: bool = False) -> Iterable[bytes]:
        """Yield what a task's revision changes against its base; with *binary* it can be applied."""
        task = self.task(identifier)
        if task.revision is None:
            raise UsageError(f"task {task.id} is {task.status} and has nothing collected", code="no_revision")
        return self._parts(_ignore).repository.diff(task.revision, Path(task.repo), stat=stat, binary=binary)

    # --- running ----------------------------------------------------------------------------------------------------

    def run(self, options: "RunOptions", *, observe: "Observer") -> "RunSummary":
        """Recover what crashed runners left, then run what is ready. Ctrl-C winds down, twice stops now.

        Raises: UsageError when the one task asked for cannot be run.
        """
        from orchestration.engine.pool import Pool
        from orchestration.engine.story import told
        from orchestration.support.signals import on_stop

        pool = Pool(
            worker=self._worker(told(observe), options),
            max_parallel=options.max_parallel or self.settings.max_parallel,
            poll=options.poll,
        )
        pool.when_idle = lambda: self._keep_short(pool)
        with on_stop(pool.wind_down):
            self._check_sandboxes(options.identifier)
            self.recover()
            if options.identifier is not None:
                pool.choose = self._only(options.identifier)
            pool.when_idle()
            summary = pool.run()
            pool.when_idle()
            return summary

    def _keep_short(self, pool: "Pool") -> None:
        """Compact the journal if it is worth it; what keeps us from it is told once, and ends nothing."""
        from orchestration.store import compaction
        from orchestration.support.logs import get_logger

        def go_on(_count: int) -> None:
            if pool.is_winding_down:
                raise BusyError("the run was interrupted")

        try:
            if self._keeps_short and not pool.is_winding_down and compaction.is_worth_a_look(self.queue_folder):
                report = compaction.compact(self.queue_folder, self._clock, at_least=compaction.WORTH, tell=go_on)
                if report.history is None:
                    compaction.note_that_it_was_not_worth_it(self.queue_folder)
                else:
                    get_logger().info("journal.compacted", before=report.before, after=report.after)
        except BusyError as error:  # another runner does the same, or we are to end
            get_logger().info("journal.not_compacted", error=str(error))
        except TaskqError as error:
            self._keeps_short = False
            get_logger().warning("journal.not_compacted", error=str(error))

    def _check_sandboxes(self, identifier: str | None) -> None:
        """Refuse to start what could not get a sandbox, while no attempt is spent on it.

        Raises: ConfigError for an ``allow`` that cannot be, ExternalError for a sandbox that cannot be opened.
        """
        from orchestration.engine.choose import sandboxes_wanted

        if self.settings.allow or self.settings.allow_private:
            _check_allowed(self.settings)
        for name in sorted(sandboxes_wanted(self.read(), now=self._clock.now(), only=identifier) & set(PROVIDERS)):
            health = self._provider(name).check()
            if not health.usable:
                raise ExternalError(f"{health.detail}; {health.remedy or 'see: taskq doctor'}", code="no_sandbox")

    def recover(self) -> tuple[Task, ...]:
        """Settle the tasks whose runner is gone; their work is collected first."""
        from orchestration.engine.options import RunOptions
        from orchestration.engine.recover import Recovery
        from orchestration.support.processes import is_alive

        return Recovery(worker=self._worker(_ignore, RunOptions()), is_alive=is_alive).reconcile()

    def _only(self, identifier: str) -> "Callable[[Snapshot], Task | None]":
        """Return a choice of just this task, once. Raises: TaskNotFoundError, UsageError, ExternalError."""
        from orchestration.engine.choose import obstacle

        task = self.task(identifier)
        if task.status is not Status.TODO:
            raise UsageError(f"task {task.id} is {task.status}; only todo tasks can be run", code="illegal_transition")
        waits = obstacle(task, self.read(), now=self._clock.now())
        if waits is not None:
            raise ExternalError(f"task {task.id} waits: {waits}", code="waits")
        rev = task.rev

        def choose(snapshot: "Snapshot") -> Task | None:
            current = snapshot.find(task.id)
            return current if current is not None and current.rev == rev and current.status is Status.TODO else None

        return choose

    def check(self, task: Task, commit: str, argv: tuple[str, ...], *, timeout: timedelta, output: "Output") -> "Exit":
        """Run a command on a commit of a task in a sandbox that the agent never saw."""
        from orchestration.engine.check import run_on_commit

        return run_on_commit(task, commit, argv, parts=self._parts(_ignore), timeout=timeout, output=output)

    # --- deciding ---------------------------------------------------------------------------------------------------

    def session(self, task: Task) -> str | None:
        """Return the agent's session of the task's attempt, which a review can go on with; None when there is none."""
        from orchestration.engine.attend import session_of

        return session_of(task, self._parts(_ignore))

    def is_ahead(self, task: Task) -> bool:
        """Return whether a review of the task ended early, so that its sandbox may hold work that no revision has."""
        from orchestration.engine.ahead import is_ahead

        return is_ahead(self._records.folders(task.id, task.attempt))

    def attend(
        self, identifier: str, how: Attending, *, opens: bool | None, tell: "Callable[[Page], None]"
    ) -> "Collected":
        """Open a task in review for a person, who goes on until they leave; then collect what they added.

        *opens* is whether to open a browser, None: if it can be. *tell* is told of the page, which holds its password.
        Ctrl-C and SIGTERM are a way to leave.
        Raises: UsageError when it cannot be opened, BusyError, SandboxError, and what collecting raises.
        """
        from orchestration.engine.attend import Attendant, no_session
        from orchestration.support.signals import on_stop

        task = self.task(identifier)
        if how != "shell" and self.session(task) is None:
            raise no_session(task)
        attendant = Attendant(store=self._store, parts=self._parts(_ignore))
        with on_stop(attendant.left.set):
            return attendant.attend(task.id, self._visitor(task, how, opens=opens, tell=tell))

    def _visitor(self, task: Task, how: Attending, *, opens: bool | None, tell: "Callable[[Page], None]") -> "Visitor":
        from orchestration.adapters.git.worktree import site
        from orchestration.adapters.review.terminal import Terminal
        from orchestration.adapters.review.web import Web

        match how:
            case "shell":
                return Terminal(environment=self._environment).shell
            case "tui":
                return Terminal(environment=self._environment).session
            case "web":
                worktree = site(self._queue_id, self._worktree_root, task).folder
                return Web(environment=self._environment, tell=tell, opens=opens, worktree=worktree).session

    def collect(self, identifier: str) -> "Collected":
        """Collect what a review of a task left that ended early. Raises: as `attend`."""
        from orchestration.engine.attend import Attendant

        return Attendant(store=self._store, parts=self._parts(_ignore)).collect(identifier)

    def approve(self, identifier: str, *, land: "Landing") -> Task:
        """Accept a task's recorded work; with *land* ``ff`` bring it into its base first."""
        return self._operator.approve(identifier, land=land)

    def retry(self, identifier: str, *, resume: bool = False) -> Task:
        """Put a failed task back to todo; with *resume* its last attempt goes on, in its folders and session."""
        return self._operator.retry(identifier, resume=resume)

    def cancel(self, identifier: str, *, timeout: timedelta) -> tuple[Task, bool]:
        """Cancel a task; the second value says whether nothing of it runs any more.

        What a runner that is gone left of it is collected first.
        """
        if self.task(identifier).is_running:
            self.recover()
        task = self._operator.cancel(identifier)
        return task, self._operator.wait_until_stopped(task, timeout=timeout, pause=time.sleep)

    def remove(self, identifier: str) -> "tuple[Task, CleanReport]":
        """Take a task out of the queue, and take away what taskq made for it that is preserved."""
        from orchestration.engine.operate import check_removable

        task = self.task(identifier)
        check_removable(task)
        self._operator.check_not_awaited(task)
        if self.is_ahead(task):
            message = f"a review of {task.id} ended early; collect what it left first, with: taskq collect {task.id}"
            raise ExternalError(message, code="uncollected")
        report = self._cleaner.clean(task)
        if report.problem is not None:
            raise ExternalError(f"task {task.id} stays in the queue: {report.problem}", code="not_cleaned")
        return self._operator.remove(task.id), report

    def cleanup(
        self,
        identifier: str | None = None,
        *,
        only: Literal["done", "cancelled"] | None = None,
        keep_worktree: bool = False,
    ) -> "tuple[CleanReport, ...]":
        """Clean up what is over, after recovering what crashed runners left."""
        from orchestration.engine.clean import selection

        self.recover()
        if identifier is not None:
            tasks = [self.task(identifier)]
            self._cleaner.end_abandoned_visits(tasks)
        else:
            snapshot = self.read()
            self._cleaner.end_abandoned_visits(snapshot.select(set(Status) - {Status.TODO}))
            tasks = list(snapshot.select((Status.DONE, Status.CANCELLED)))
        return tuple(self._cleaner.clean(task, keep_worktree=keep_worktree) for task in selection(tasks, only=only))

    # --- care -------------------------------------------------------------------------------------------------------

    def fsck(self, *, repair: bool) -> "FsckReport":
        """Check the queue's files and what is there of its tasks; with *repair* set what is damaged aside."""
        from dataclasses import replace

        from orchestration.store import fsck

        report = fsck.repair(self.queue_folder, self._clock) if repair else fsck.check(self.queue_folder)
        if report.damage or report.queue is None:
            return report
        strays = list(self._strays())
        dangling = tuple(text for text, is_note in strays if not is_note)
        notes = tuple(text for text, is_note in strays if is_note)
        return replace(report, dangling=dangling, notes=(*report.notes, *notes))

    def _strays(self) -> Iterator[tuple[str, bool]]:
        """Yield what is there of no task; with True instead what could not be looked at."""
        from orchestration.adapters.git import layout, refs
        from orchestration.engine.strays import stray_attempts, stray_refs
        from orchestration.store.archive import find_archived

        def refs_of(repository: Path) -> Mapping[str, int]:
            return refs.of_tasks(git, layout.find(repository).common_dir, self._queue_id)

        def is_known(identifier: str) -> bool:
            archived = find_archived(self.queue_folder, self._clock, identifier)
            return archived is not None or self.read().find(identifier) is not None

        snapshot, git = self.read(), self._host.git
        for stray in stray_attempts(self._state / "attempts", snapshot.find):
            yield stray, False
        repositories = sorted({task.repo for task in snapshot.tasks.values()})
        yield from stray_refs(repositories, refs_of, is_known)

    def compact(self, *, tell: Callable[[int], object] | None = None) -> "CompactReport":
        """Write the journal anew, as short as it can be; the old one goes to the history. *tell* hears how many tasks.

        Raises: CorruptStateError, BusyError, StorageError.
        """
        from orchestration.store.compaction import compact

        return compact(self.queue_folder, self._clock, tell=tell or _ignore)

    def archive(
        self, *, older_than: timedelta, dry_run: bool = False, tell: Callable[[int], object] | None = None
    ) -> "ArchiveReport":
        """Move what is over, and was not changed for that long, from the journal to files in its history."""
        from orchestration.core.transfers import ArchiveReport
        from orchestration.engine.archive import archivable, left_behind
        from orchestration.store.archive import Moved, archive

        records = self._records
        before = self._clock.now() - older_than
        tasks, kept = archivable(self.read(), before=before, leftover=lambda task: left_behind(task, records))
        if dry_run:
            moved = Moved(tuple(task.id for task in tasks), ())
        else:
            moved = archive(self.queue_folder, self._clock, tasks, tell=tell or _ignore)
            gone = set(moved.ids)
            kept |= {task.id: "it has changed meanwhile" for task in tasks if task.id not in gone}
        return ArchiveReport(archived=moved.ids, kept=kept, files=moved.files, dry_run=dry_run)

    def export(
        self,
        identifiers: Sequence[str],
        *,
        write: Callable[[bytes], object] | None = None,
        path: Path | None = None,
        tell: Callable[[int], object] | None = None,
    ) -> "ExportReport":
        """Give the tasks of these ids, or all, to *write*, or write them to a new file; *tell* hears how many."""
        from orchestration.store.export import export, export_to

        if path is not None:
            return export_to(path, self.queue_folder, identifiers, tell=tell or _ignore)
        return export(self.queue_folder, identifiers, write or _ignore, tell=tell or _ignore)

    def import_tasks(
        self,
        name: str,
        content: bytes,
        *,
        texts: Sequence[Path],
        skip_existing: bool = False,
        rename: bool = False,
        dry_run: bool = False,
    ) -> "ImportReport":
        """Take all tasks that *content* holds or none; plain records find their task files below *texts*.

        Raises: TaskFileError, DuplicateTaskError, UsageError, StorageError.
        """
        from orchestration.engine.defaults import defaults
        from orchestration.store.adopt import Source, import_tasks
        from orchestration.store.named_texts import text_reader

        return import_tasks(
            self.queue_folder,
            self._clock,
            Source(name, content),
            defaults=defaults(self.settings),
            read_text=text_reader(texts),
            skip_existing=skip_existing,
            rename=rename,
            prepare=None if dry_run else self._make_queue_folder,
        )

    def backup(self, path: Path, *, damaged: bool = False) -> "BackupReport":
        """Write the whole queue as it is now to a new archive. Raises: UsageError, CorruptStateError, StorageError."""
        from orchestration.store.backup import back_up

        return back_up(self.queue_folder, path, damaged=damaged)

    def restore(self, path: Path) -> "BackupReport":
        """Make the queue that an archive holds; its folder must be empty or not be there yet."""
        from orchestration.store.restore import restore

        return restore(path, self.queue_folder)

    def doctor(self) -> "tuple[Health, ...]":
        """Say what works on this machine."""
        from orchestration.adapters.git.health import check as check_git
        from orchestration.engine.doctor import examine, file_system

        folders = (
            ("queue", self.queue_folder),
            ("state", paths.state_folder(self._environment)),
            ("cache", paths.cache_folder(self._environment)),
            ("worktrees", self._worktree_root),
        )
        own = (*examine(folders), file_system(self.queue_folder))
        return (*own, check_git(), *(self._provider(name).check() for name in PROVIDERS))

    @property
    def secrets(self) -> "SecretStore":
        """The operator's secrets, which tasks get by name."""
        from orchestration.support.secrets import SecretStore

        return SecretStore(paths.secrets_folder(self._environment))

    def build_image(
        self, *, base: str | None, rebuild: bool, pull: bool, ca_files: Sequence[Path], output: Callable[[str], None]
    ) -> "BuiltImage":
        """Build the image that docker sandboxes start from. Raises: UsageError, SandboxError."""
        from orchestration.adapters.sandbox.docker import images
        from orchestration.adapters.sandbox.docker.engine import Engine

        engine = Engine(self._environment)
        return images.build_image(engine, base=base, rebuild=rebuild, pull=pull, ca_files=ca_files, output=output)

    def make_sample_repository(self, folder: Path, files: Mapping[str, str]) -> None:
        """Make a git repository of *files* with one commit on ``main``."""
        from orchestration.adapters.git.sample import make_repository

        make_repository(folder, files, git=self._host.git)

    def read_input(self, path: Path) -> bytes:
        """Return the content of a bulk file that an operator names. Raises: UsageError."""
        try:
            return path.read_bytes()
        except OSError as error:
            raise UsageError(f"{path}: cannot be read: {error.strerror}", code="no_file") from error

    # --- parts ------------------------------------------------------------------------------------------------------

    @property
    def _worktree_root(self) -> Path:
        return self.settings.worktree_root or paths.data_folder(self._environment) / "worktrees"

    @property
    def _queue_id(self) -> str:
        """Return the queue's own id, which never changes; a queue without one has no attempts yet."""
        if self._known_queue is None:
            self._known_queue = self._store.read().queue
        return self._known_queue or "new"

    @property
    def _state(self) -> Path:
        return paths.state_folder(self._environment) / self._queue_id

    @property
    def _records(self) -> "AttemptFiles":
        from orchestration.store.artifacts import AttemptFiles

        return AttemptFiles(attempts=self._state / "attempts", reports=self.queue_folder / "errors")

    @property
    def _operator(self) -> "Operator":
        from orchestration.engine.operate import Operator

        repository = self._parts(_ignore).repository
        return Operator(store=self._store, repository=repository, records=self._records, clock=self._clock)

    @property
    def _cleaner(self) -> "Cleaner":
        from orchestration.adapters.git.disposal import GitDisposal
        from orchestration.engine.clean import Cleaner

        return Cleaner(
            store=self._store,
            disposal=GitDisposal(host=self._host, queue=self._queue_id, worktree_root=self._worktree_root),
            records=self._records,
            provider=self._provider,
            queue_folder=self.queue_folder,
            clock=self._clock,
        )

    def _worker(self, observe: "Observer", options: "RunOptions") -> "Worker":
        from orchestration.engine.worker import Worker
        from orchestration.support.processes import identity

        after_failure = self._cleaner.clean_failed if options.cleanup_on_fail else None
        return Worker(
            store=self._store,
            parts=self._parts(observe),
            runner=identity(),
            dirty_run=options.dirty_run,
            allow=self.settings.allow,
            allow_private=self.settings.allow_private,
            after_failure=after_failure,
        )

    def _parts(self, observe: "Observer") -> "Parts":
        from orchestration.adapters.git.repository import GitRepository
        from orchestration.adapters.git.workspace import GitWorkspace
        from orchestration.pipeline.parts import Parts

        return Parts(
            workspace=GitWorkspace(host=self._host, clock=self._clock),
            repository=GitRepository(host=self._host, queue=self._queue_id, worktree_root=self._worktree_root),
            records=self._records,
            provider=self._provider,
            agent=self._agent,
            secret=self._secret,
            clock=self._clock,
            observe=observe,
        )

    @property
    def _host(self) -> "Host":
        from orchestration.adapters.git.host import Host

        return Host(
            cache_root=paths.cache_folder(self._environment),
            state_root=paths.state_folder(self._environment),
            identity_name=self.settings.identity_name,
            identity_email=self.settings.identity_email,
        )

    def _provider(self, name: str) -> "SandboxProvider":
        """Return the provider of this name, the same one each time: it keeps what it learnt of its engine."""
        if name not in self._providers:
            kind = _load(PROVIDERS, name, "sandbox")
            self._providers[name] = kind.make(
                environment=self._environment,
                cache=paths.cache_folder(self._environment),
                image=self.settings.image,
                secret=self._secret,
            )
        return self._providers[name]

    def _secret(self, name: str) -> bytes:
        return self.secrets.read(name)

    def _agent(self, name: str) -> "Agent":
        return cast("Agent", _load(AGENTS, name, "agent")(self._environment))


def _check_allowed(settings: Settings) -> None:
    """Refuse what opens the network to what is no host. Raises: ConfigError."""
    from orchestration.adapters.sandbox.egress.policy import parse

    try:
        parse(settings.allow, private=settings.allow_private)
    except ValueError as error:
        raise ConfigError(f"allow or allow_private in the configuration: {error}") from error


def _ignore(_event: object) -> None:
    """Watch nothing."""
