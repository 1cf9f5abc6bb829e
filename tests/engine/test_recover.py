import os
from collections.abc import Mapping
from dataclasses import replace

import pytest

from orchestration.core.attempts import AttemptResult, AttemptSpec
from orchestration.core.errors import SandboxError, WorkFailedError
from orchestration.core.facts import Failure
from orchestration.core.models import Task
from orchestration.core.naming import TaskId
from orchestration.core.status import Status
from orchestration.engine.lease import hold
from orchestration.engine.worker import first_spec
from tests.engine.conftest import Engine
from tests.engine.fakes import BASE, START, a_revision


def crash(engine: Engine, identifier: str = "T-1", *, stage: Status = Status.BUILDING) -> Task:
    """Return a task whose runner went away while an agent worked."""
    engine.add(identifier)
    task = engine.claim(identifier)
    if stage is not Status.PLANNING:
        task = engine.store.change(identifier, lambda current: current.advance(stage, at=START), by="run")
    spec = replace(first_spec(task, queue="q"), base_commit=BASE, start_commit=BASE)
    engine.records.save_spec(spec)
    engine.records.folders(identifier, 1).workspace.mkdir()
    return task


def a_result(task: Task, **fields: object) -> AttemptResult:
    assert task.run is not None
    values: dict[str, object] = {"task": task.id, "attempt": 1, "token": task.run.token, "finished_at": START}
    return AttemptResult(**{**values, **fields})  # type: ignore[arg-type]  # a builder takes any field


def test_what_a_dead_runner_left_is_collected_and_its_task_goes_back_to_todo(engine: Engine) -> None:
    crash(engine)
    (recovered,) = engine.recover()
    assert (recovered.status, recovered.reason) == (Status.TODO, "runner here:1 is gone")
    assert (recovered.run, recovered.revision, recovered.charged) == (None, a_revision(), 0)
    assert [dict(labels)["taskq.task"] for labels in engine.provider.reaped] == ["T-1"]


@pytest.mark.parametrize("alive", [True, None])
def test_a_task_whose_runner_may_live_is_left_alone(engine: Engine, alive: bool | None) -> None:  # noqa: FBT001 -- a parameter
    crash(engine)
    assert engine.recover(alive=alive) == ()
    assert engine.task().status is Status.BUILDING


def test_a_task_whose_lease_somebody_holds_is_left_alone(engine: Engine) -> None:
    crash(engine)
    with hold(engine.records.folders("T-1", 1).lease):
        assert engine.recover() == ()
    assert engine.task().status is Status.BUILDING


def test_a_task_that_has_nothing_to_collect_yet_is_left_alone_too_while_its_lease_is_held(engine: Engine) -> None:
    engine.add("T-1")
    engine.claim()
    folders = engine.records.folders("T-1", 1)
    folders.root.mkdir(parents=True)
    with hold(folders.lease):
        assert engine.recover() == ()
    assert engine.task().status is Status.PLANNING


def test_a_result_that_was_written_before_the_crash_settles_the_task(engine: Engine) -> None:
    task = crash(engine)
    engine.records.save_result(a_result(task, revision=a_revision(), collected=True), task)
    (recovered,) = engine.recover()
    assert (recovered.status, recovered.charged) == (Status.REVIEW, 1)
    assert engine.provider.opened == []


def test_a_result_of_another_claim_does_not(engine: Engine) -> None:
    task = crash(engine)
    engine.records.save_result(a_result(task, token=999), task)
    (recovered,) = engine.recover()
    assert recovered.status is Status.TODO


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"task": 1}', b"\xff"])
def test_a_result_that_cannot_be_read_is_none_and_the_work_is_collected(engine: Engine, content: bytes) -> None:
    crash(engine)
    engine.records.folders("T-1", 1).result.write_bytes(content)
    (recovered,) = engine.recover()
    assert (recovered.status, recovered.revision) == (Status.TODO, a_revision())


def test_a_description_that_cannot_be_read_leaves_the_work_where_it_is_and_says_where(engine: Engine) -> None:
    task = crash(engine)
    assert task.run is not None
    (engine.records.folders("T-1", 1).root / "spec.json").write_bytes(b"{")
    (recovered,) = engine.recover()
    assert recovered.status is Status.TODO
    assert f"what it left stays in {task.run.folder}" in (recovered.reason or "")
    assert engine.records.folders("T-1", 1).workspace.is_dir()


def test_a_runner_that_died_before_its_workspace_was_complete_left_nothing_to_collect(engine: Engine) -> None:
    engine.add("T-1")
    engine.claim()
    folders = engine.records.folders("T-1", 1)
    folders.workspace.mkdir(parents=True)
    (recovered,) = engine.recover()
    assert (recovered.status, recovered.revision, recovered.run) == (Status.TODO, None, None)
    assert engine.provider.opened == []


def test_a_crash_in_setup_never_makes_a_half_made_workspace_look_like_work(engine: Engine) -> None:
    """The description is saved when the workspace is complete, and not before."""
    engine.add("T-1")
    seen: list[AttemptSpec | None] = []
    engine.workspace.on_prepare = lambda _spec: seen.append(engine.records.load_spec("T-1", 1))
    engine.pool().run()
    assert seen == [None]
    assert engine.records.load_spec("T-1", 1) is not None


def test_work_that_cannot_be_collected_stays_and_the_reason_says_so(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    crash(engine)

    def refuse(*_arguments: object, **_options: object) -> None:
        raise WorkFailedError("a path leads out of the tree", code="unsafe_tree")

    monkeypatch.setattr(engine.workspace, "accept_bundle", refuse)
    (recovered,) = engine.recover()
    assert recovered.status is Status.TODO
    assert "a path leads out of the tree" in (recovered.reason or "")
    result = engine.records.load_result("T-1", 1)
    assert result is not None
    assert not result.collected


def test_a_task_that_is_busy_elsewhere_does_not_stop_the_others(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    crash(engine, "T-1")
    crash(engine, "T-2")
    taken = hold(engine.records.folders("T-1", 1).lease)

    def reap(labels: Mapping[str, str]) -> int:
        """Let another runner take T-1 between the look at its lease and the salvage."""
        if labels["taskq.task"] == "T-1":
            taken.__enter__()
        return 0

    monkeypatch.setattr(engine.provider, "reap", reap)
    try:
        recovered = engine.recover()
    finally:
        taken.__exit__(None, None, None)
    assert [task.id for task in recovered] == ["T-2"]
    assert engine.task("T-1").status is Status.BUILDING


def test_a_task_whose_sandbox_cannot_be_looked_at_now_stays_as_it_is(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    crash(engine, "T-1")

    def is_down(_labels: Mapping[str, str]) -> int:
        raise SandboxError("no engine answers", code="engine_down")

    with monkeypatch.context() as patched:
        patched.setattr(engine.provider, "reap", is_down)
        assert engine.recover() == ()
        assert engine.task("T-1").status is Status.BUILDING
    assert [task.id for task in engine.recover()] == ["T-1"], "the next run finds it"


def test_a_sandbox_that_cannot_be_opened_holds_up_neither_its_task_nor_the_others(engine: Engine) -> None:
    crash(engine, "T-1")
    crash(engine, "T-2")

    def refuse(spec: AttemptSpec) -> None:
        if spec.task == "T-1":
            raise SandboxError("no sandbox today")

    engine.provider.on_open = refuse
    recovered = {task.id: task for task in engine.recover()}
    assert {task.status for task in recovered.values()} == {Status.TODO}
    assert "no sandbox today" in (recovered[TaskId("T-1")].reason or "")
    assert recovered[TaskId("T-2")].revision == a_revision()


def test_a_running_task_without_a_run_is_requeued(engine: Engine) -> None:
    engine.add("T-1")
    task = engine.claim()
    engine.store.change("T-1", lambda current: current._replace(run=None), by="test")
    assert task.is_running
    (recovered,) = engine.recover()
    assert (recovered.status, recovered.reason) == (Status.TODO, "it was running under no runner that is known")


def test_recovering_again_changes_nothing(engine: Engine) -> None:
    crash(engine)
    engine.recover()
    before = engine.store.read()
    assert engine.recover() == ()
    assert engine.store.read().seq == before.seq


def test_a_failure_that_was_written_before_the_crash_is_kept(engine: Engine) -> None:
    task = crash(engine, stage=Status.PLANNING)
    failure = Failure(stage="setup", code="no_base", message="no such base")
    engine.records.save_result(a_result(task, failure=failure), task)
    (recovered,) = engine.recover()
    assert (recovered.status, recovered.reason) == (Status.FAILED, "no_base")
    assert recovered.error is not None
    assert os.path.exists(recovered.error.report or "")  # noqa: PTH110 -- a path of the journal is text
