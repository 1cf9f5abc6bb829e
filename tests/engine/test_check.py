from collections.abc import Callable
from datetime import timedelta

import pytest

from orchestration.core.errors import BusyError, RepositoryError, UsageError
from orchestration.core.models import Task
from orchestration.core.ports import Exit, discard_output
from orchestration.engine.check import run_on_commit
from orchestration.engine.lease import hold
from tests.engine.conftest import Engine

Check = Callable[[], Exit]


@pytest.fixture
def ran(engine: Engine) -> Task:
    engine.add("T-1")
    engine.pool().run()
    return engine.task()


@pytest.fixture
def check(engine: Engine) -> Check:
    def run() -> Exit:
        return run_on_commit(
            engine.task(),
            "2" * 40,
            ("make", "test"),
            parts=engine.parts,
            timeout=timedelta(seconds=9),
            output=discard_output,
        )

    return run


def test_a_command_runs_in_a_fresh_sandbox_at_the_commit_and_nothing_is_left(
    engine: Engine, ran: Task, check: Check
) -> None:
    starts: list[str] = []
    engine.workspace.on_prepare = lambda spec: starts.append(spec.start_commit)
    assert check().succeeded
    sandbox = engine.provider.opened[-1]
    assert [command.argv for command in sandbox.commands] == [("make", "test")]
    assert starts == ["2" * 40]
    assert not (engine.records.folders("T-1", 1).root / "verify").exists()


def test_a_task_that_never_ran_has_nothing_to_check(engine: Engine, check: Check) -> None:
    engine.add("T-1")
    with pytest.raises(UsageError, match="never run") as caught:
        check()
    assert caught.value.code == "no_attempt"


def test_a_second_check_is_refused_and_leaves_the_first_alone(engine: Engine, ran: Task, check: Check) -> None:
    folder = engine.records.folders("T-1", 1).root / "verify"
    folder.mkdir()
    (folder / "of-the-first").touch()
    with hold(folder / "lease"), pytest.raises(BusyError):
        check()
    assert (folder / "of-the-first").exists()


def test_a_check_that_cannot_begin_leaves_nothing(engine: Engine, ran: Task, check: Check) -> None:
    def refuse(_spec: object) -> None:
        raise RepositoryError("the commit is gone")

    engine.workspace.on_prepare = refuse
    with pytest.raises(RepositoryError):
        check()
    assert not (engine.records.folders("T-1", 1).root / "verify").exists()
