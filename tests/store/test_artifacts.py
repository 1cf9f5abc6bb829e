"""What is kept of an attempt beside the journal, read as it was written, by this version or one before."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestration.core.attempts import AttemptResult
from orchestration.core.errors import CorruptStateError
from orchestration.core.facts import Failure, SandboxFacts, Usage
from orchestration.core.naming import TaskId
from orchestration.store.artifacts import AttemptFiles
from tests.builders import a_spec
from tests.engine.fakes import START, a_revision, a_task

USAGE = Usage(
    input_tokens=1, output_tokens=2, cost_usd=0.5, reasoning_tokens=3, cache_read_tokens=4, cache_write_tokens=5
)


@pytest.fixture
def files(tmp_path: Path) -> AttemptFiles:
    return AttemptFiles(attempts=tmp_path / "attempts", reports=tmp_path / "errors")


def a_result(**fields: Any) -> AttemptResult:
    return AttemptResult(**{"task": TaskId("T-1"), "attempt": 1, "token": 2, "finished_at": START, **fields})


def rewrite(files: AttemptFiles, **members: object) -> None:
    """Change members of the result on disk."""
    path = files.folders("T-1", 1).result
    path.write_text(json.dumps({**json.loads(path.read_bytes()), **members}), encoding="utf-8")


def test_a_result_reads_as_it_was_written(files: AttemptFiles) -> None:
    written = files.save_result(
        a_result(
            revision=a_revision(),
            failure=Failure(stage="build", code="provider_limit", message="not now", retry_at=START),
            collected=True,
            session="ses_1",
            usage=USAGE,
            timings={"build": timedelta(seconds=1.5)},
            sandbox=SandboxFacts(kind="fake"),
        ),
        a_task(),
    )
    assert files.load_result("T-1", 1) == written


def test_a_description_reads_as_it_was_written(files: AttemptFiles) -> None:
    spec = a_spec(model="fake/fake-1", variant="high", session="ses_1")
    files.save_spec(spec)
    assert files.load_spec("T-1", 1) == spec


def test_a_usage_that_an_older_version_wrote_is_read(files: AttemptFiles) -> None:
    files.save_result(a_result(usage=USAGE), a_task())
    rewrite(files, usage=[1, 2, 0.5])
    result = files.load_result("T-1", 1)
    assert result is not None
    assert result.usage == Usage(input_tokens=1, output_tokens=2, cost_usd=0.5)


@pytest.mark.parametrize("usage", [["1"], {"cost_usd": "1"}, 7, "used"])
def test_a_usage_that_is_none_is_damage_that_names_the_file(files: AttemptFiles, usage: object) -> None:
    files.save_result(a_result(), a_task())
    rewrite(files, usage=usage)
    with pytest.raises(CorruptStateError):
        files.load_result("T-1", 1)


def test_a_report_says_when_it_may_be_tried_again(files: AttemptFiles) -> None:
    failure = Failure(stage="build", code="provider_limit", message="not now", retry_at=START)
    saved = files.save_result(a_result(failure=failure), a_task(model="fake/fake-1"))
    assert saved.failure is not None
    report = Path(saved.failure.report or "").read_text(encoding="utf-8")
    assert "- retry at: 2026-11-21T03:00:00.000000Z" in report
    assert "- model: fake/fake-1" in report
