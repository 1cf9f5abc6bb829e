"""An attempt with real folders, and fakes at the edge."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import structlog

from orchestration.core.attempts import AttemptFolders
from orchestration.engine.worker import first_spec
from orchestration.pipeline.log import StageLog
from orchestration.pipeline.room import Room
from orchestration.pipeline.stage import Attempt, OpenLog, StopSwitch
from tests.engine.fakes import BASE, FakeProvider, a_run, a_task


@pytest.fixture
def attempt(tmp_path: Path) -> Attempt:
    """An attempt at the point where setup has ended."""
    task = a_task()._replace(attempt=1, run=a_run())
    folders = AttemptFolders(root=tmp_path / "attempt")
    folders.root.mkdir()
    spec = replace(first_spec(task, queue="q"), base_commit=BASE, start_commit=BASE)
    return Attempt(task=task, spec=spec, folders=folders, prepared=True, collected=False)


@pytest.fixture
def provider() -> FakeProvider:
    return FakeProvider()


@pytest.fixture
def switch() -> StopSwitch:
    return StopSwitch()


@pytest.fixture
def room(provider: FakeProvider, attempt: Attempt, switch: StopSwitch) -> Iterator[Room]:
    lease = os.open(attempt.folders.root, os.O_RDONLY)
    made = Room(provider, attempt.folders, lease=lease, switch=switch)
    yield made
    made.leave()
    os.close(lease)


@pytest.fixture
def log_of() -> OpenLog:
    """Log as always, and watch nothing."""
    return lambda attempt, stage: StageLog(
        attempt.folders.logs / f"{stage}.log", limit=1000, watch=lambda _stream, _chunk: None
    )


@pytest.fixture(scope="session", autouse=True)
def plain_logs() -> Iterator[None]:
    """Log tracebacks as plain text: drawing them for people takes seconds."""
    structlog.configure(processors=[structlog.processors.format_exc_info, structlog.processors.JSONRenderer()])
    yield
    structlog.reset_defaults()
