"""An engine on a real queue and real attempt folders, with fakes at the edge."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import structlog

from orchestration.core.events import RunEvent
from orchestration.core.facts import Runner
from orchestration.core.models import Task
from orchestration.engine.pool import Pool, RunSummary
from orchestration.engine.recover import Recovery
from orchestration.engine.worker import Worker
from orchestration.pipeline.parts import Parts
from orchestration.store.artifacts import AttemptFiles
from orchestration.store.layout import create_queue
from orchestration.store.tasks import JournalTaskStore
from tests.engine.fakes import (
    RUNNER,
    FakeAgent,
    FakeProvider,
    FakeRepository,
    FakeWorkspace,
    SteppingClock,
    a_task,
    no_secret,
    only,
)


@dataclass
class Engine:
    """Everything that runs tasks, and the fakes to tell what to do."""

    folder: Path
    clock: SteppingClock = field(default_factory=SteppingClock)
    repository: FakeRepository = field(default_factory=FakeRepository)
    workspace: FakeWorkspace = field(default_factory=FakeWorkspace)
    provider: FakeProvider = field(default_factory=FakeProvider)
    agent: FakeAgent = field(default_factory=FakeAgent)
    events: list[RunEvent] = field(default_factory=list)
    runner: Runner = RUNNER
    dirty_run: bool = False
    after_failure: Callable[[Task], None] | None = None
    pools: list[Pool] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.queue_folder = self.folder / "queue"
        create_queue(self.queue_folder)
        self.store = JournalTaskStore(self.queue_folder, self.clock)
        self.records = AttemptFiles(attempts=self.folder / "attempts", reports=self.queue_folder / "errors")

    @property
    def parts(self) -> Parts:
        providers: Any = only("fake", self.provider)
        agents: Any = only("fake", self.agent)
        return Parts(
            workspace=self.workspace,
            repository=self.repository,
            records=self.records,
            provider=providers,
            agent=agents,
            secret=no_secret,
            clock=self.clock,
            observe=self.events.append,
        )

    @property
    def worker(self) -> Worker:
        return Worker(
            store=self.store,
            parts=self.parts,
            runner=self.runner,
            dirty_run=self.dirty_run,
            after_failure=self.after_failure,
        )

    def add(self, *identifiers: str, **fields: object) -> tuple[Task, ...]:
        return self.store.add([a_task(identifier, **fields) for identifier in identifiers], by="test")

    def task(self, identifier: str = "T-1") -> Task:
        found = self.store.read().find(identifier)
        assert found is not None
        return found

    def claim(self, identifier: str = "T-1") -> Task:
        claimed = self.worker.claim(lambda snapshot: snapshot.find(identifier))
        assert claimed is not None
        return claimed

    def pool(self, *, max_parallel: int = 2) -> Pool:
        made = Pool(worker=self.worker, max_parallel=max_parallel)
        self.pools.append(made)
        return made

    def recover(self, *, alive: bool | None = False) -> tuple[Task, ...]:
        return Recovery(worker=self.worker, is_alive=lambda _runner: alive).reconcile()


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    made = Engine(tmp_path)
    yield made
    for pool in made.pools:  # a test that failed midway leaves nobody waiting
        pool.wind_down()
        pool.wind_down()


@pytest.fixture
def in_background() -> Callable[[Pool], Callable[[], RunSummary]]:
    """Return a function that starts a pool in a thread, and gives a function that waits for its end."""

    def start(pool: Pool) -> Callable[[], RunSummary]:
        ended: list[RunSummary | BaseException] = []

        def run() -> None:
            try:
                ended.append(pool.run())
            except Exception as error:  # noqa: BLE001 -- handed to the test
                ended.append(error)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()

        def wait() -> RunSummary:
            thread.join(20)
            assert not thread.is_alive(), "the pool did not end"
            (end,) = ended
            if isinstance(end, BaseException):
                raise end
            return end

        return wait

    return start


@pytest.fixture(scope="session", autouse=True)
def plain_logs() -> Iterator[None]:
    """Log tracebacks as plain text: drawing them for people takes seconds."""
    structlog.configure(processors=[structlog.processors.format_exc_info, structlog.processors.JSONRenderer()])
    yield
    structlog.reset_defaults()
