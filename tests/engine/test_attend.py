import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest

from orchestration.core.attempts import AttemptFolders, AttemptResult, AttemptSpec
from orchestration.core.errors import BusyError, SandboxError, StorageError, UsageError, WorkFailedError
from orchestration.core.models import Task
from orchestration.core.ports import AgentJob, AgentNeeds, AgentServer, Command, Connection, Exit, Output, Service
from orchestration.core.review import Visit
from orchestration.core.status import Status
from orchestration.engine.ahead import is_ahead, set_ahead
from orchestration.engine.attend import Attendant, Collected
from orchestration.engine.lease import hold, is_held
from orchestration.engine.worker import first_spec
from tests.engine.conftest import Engine
from tests.engine.fakes import START, a_revision, a_run

NEW = "3" * 40
SERVER = AgentServer(
    port=4096, user="u", password="p", page="/s", attach=Command(argv=("attach",), timeout=timedelta(minutes=1))
)


@dataclass
class NoServices:
    """Services that nobody uses here."""

    def start(self, command: Command, output: Output = lambda _stream, _chunk: None) -> Service:
        raise NotImplementedError

    def connect(self, port: int) -> Connection:
        raise NotImplementedError

    def interact(self, command: Command, *, stdin: int, stdout: int) -> Exit:
        raise NotImplementedError


@pytest.fixture
def attendant(engine: Engine) -> Attendant:
    engine.provider.services = NoServices()
    return Attendant(store=engine.store, parts=engine.parts)


def reviewed(engine: Engine, *, status: Status = Status.REVIEW, **fields: object) -> AttemptFolders:
    """Add a task in review with the folders of its attempt; return them."""
    known = {"attempt": 1, "run": a_run(), "revision": a_revision(), "branch": "task/t-1", **fields}
    (task,) = engine.add("T-1", status=status, **known)
    folders = engine.records.folders("T-1", 1)
    for folder in (folders.workspace, folders.git, folders.config, folders.data):
        folder.mkdir(parents=True)
    engine.records.save_spec(first_spec(task, queue="q"))
    return folders


def test_a_visit_that_changes_something_makes_a_revision_of_its_own(engine: Engine, attendant: Attendant) -> None:
    folders = reviewed(engine)
    seen: list[bool] = []

    def visitor(visit: Visit) -> None:
        seen.append(is_ahead(folders) and is_held(folders.lease))
        engine.workspace.commit = NEW

    collected = attendant.attend("t-1", visitor)
    assert seen == [True]
    assert collected.revision is not None
    assert (collected.revision.commit, collected.problem, collected.unrecorded) == (NEW, None, None)
    task = engine.task()
    assert (task.status, task.revision, task.run) == (Status.REVIEW, collected.revision, a_run())
    assert (is_ahead(folders), is_held(folders.lease)) == (False, False)
    assert engine.provider.closed == len(engine.provider.opened) == 1


def test_a_visit_that_changes_nothing_adds_no_revision_and_no_line_to_the_journal(
    engine: Engine, attendant: Attendant
) -> None:
    folders = reviewed(engine)
    seq = engine.store.read().seq
    assert attendant.attend("T-1", lambda _visit: None).revision is None
    assert (engine.store.read().seq, is_ahead(folders)) == (seq, False)


def test_a_workspace_that_holds_nothing_any_more_leaves_the_revision_that_there_is(
    engine: Engine, attendant: Attendant
) -> None:
    reviewed(engine)
    engine.workspace.changes = False
    assert attendant.collect("T-1").revision is None
    assert engine.task().revision == a_revision()


def test_the_next_collection_is_numbered_after_the_last_one(engine: Engine, attendant: Attendant) -> None:
    reviewed(engine, revision=replace(a_revision(), collect=4))
    attendant.collect("T-1")
    assert [spec.collect for spec in engine.workspace.asked] == [4]


def test_a_revision_of_an_earlier_attempt_says_nothing_of_the_numbers(engine: Engine, attendant: Attendant) -> None:
    reviewed(engine, revision=replace(a_revision(attempt=7), collect=4))
    attendant.collect("T-1")
    assert [spec.collect for spec in engine.workspace.asked] == [1]


def test_what_a_crashed_visit_left_is_collected_and_its_sandbox_ended_first(
    engine: Engine, attendant: Attendant
) -> None:
    folders = reviewed(engine)
    set_ahead(folders, at=START)
    engine.workspace.commit = NEW
    ends: list[int] = []
    engine.provider.on_open = lambda _spec: ends.append(len(engine.provider.reaped))
    collected = attendant.collect("T-1")
    assert ends == [1]
    assert dict(engine.provider.reaped[0]) == {"taskq.queue": "q", "taskq.task": "T-1", "taskq.attempt": "1"}
    assert collected.revision is not None
    assert not is_ahead(folders)


@pytest.mark.parametrize("status", [status for status in Status if status is not Status.REVIEW])
def test_only_what_is_in_review_can_be_opened(engine: Engine, attendant: Attendant, status: Status) -> None:
    reviewed(engine, status=status)
    for open_it in (lambda: attendant.attend("T-1", lambda _visit: None), lambda: attendant.collect("T-1")):
        with pytest.raises(UsageError, match=f"task T-1 is {status}, and only what is in review") as caught:
            open_it()
        assert caught.value.code == "illegal_transition"
    assert engine.provider.opened == []


@pytest.mark.parametrize("status", [Status.CANCELLED, Status.DONE, Status.FAILED])
def test_what_a_review_left_is_collected_although_the_task_is_over_and_then_not_recorded(
    engine: Engine, attendant: Attendant, status: Status
) -> None:
    folders = reviewed(engine, status=status)
    set_ahead(folders, at=START)
    engine.workspace.commit = NEW
    collected = attendant.collect("T-1")
    assert collected.unrecorded == f"T-1 is {status}"
    assert collected.revision is not None
    assert engine.task().revision == a_revision()
    assert not is_ahead(folders)


def test_a_task_that_runs_is_never_opened_whatever_mark_is_there(engine: Engine, attendant: Attendant) -> None:
    folders = reviewed(engine, status=Status.BUILDING)
    set_ahead(folders, at=START)
    with pytest.raises(UsageError, match="T-1 is building"):
        attendant.collect("T-1")


@pytest.mark.parametrize("name", ["workspace", "git", "config", "data"])
def test_an_attempt_without_one_of_its_folders_is_refused_with_the_reason(
    engine: Engine, attendant: Attendant, name: str
) -> None:
    folders = reviewed(engine)
    (folders.root / name).rmdir()
    with pytest.raises(UsageError, match=f"{name} folder is gone; .+: taskq review T-1 --diff") as caught:
        attendant.attend("T-1", lambda _visit: None)
    assert caught.value.code == "not_kept"
    assert not is_ahead(folders)


def test_an_attempt_without_a_description_is_refused_with_the_reason(engine: Engine, attendant: Attendant) -> None:
    folders = reviewed(engine)
    (folders.root / "spec.json").unlink()
    with pytest.raises(UsageError, match=r"its description is gone; .+ taskq review T-1 --diff"):
        attendant.attend("T-1", lambda _visit: None)


def test_a_task_in_review_that_never_ran_is_refused_with_the_reason(engine: Engine, attendant: Attendant) -> None:
    engine.add("T-1", status=Status.REVIEW)
    with pytest.raises(UsageError, match="cannot be opened again"):
        attendant.attend("T-1", lambda _visit: None)


def test_a_second_reviewer_is_refused_while_the_first_is_there(engine: Engine, attendant: Attendant) -> None:
    reviewed(engine)
    refused: list[str] = []

    def visitor(_visit: Visit) -> None:
        for open_it in (lambda: attendant.attend("T-1", lambda _visit: None), lambda: attendant.collect("T-1")):
            with pytest.raises(BusyError, match="leave that review first") as caught:
                open_it()
            refused.append(caught.value.code)

    attendant.attend("T-1", visitor)
    assert refused == ["held", "held"]
    assert len(engine.provider.opened) == 1


def test_a_kind_of_sandbox_that_nobody_can_visit_is_refused_with_advice_and_leaves_no_mark(
    engine: Engine, attendant: Attendant
) -> None:
    folders = reviewed(engine)
    engine.provider.services = None
    with pytest.raises(UsageError, match=r"sandbox of kind fake; .+ taskq review T-1 --diff") as caught:
        attendant.attend("T-1", lambda _visit: None)
    assert caught.value.code == "no_services"
    assert not is_ahead(folders)
    assert attendant.collect("T-1").revision is None


def test_a_sandbox_that_does_not_open_leaves_no_mark_but_keeps_one_that_was_there(
    engine: Engine, attendant: Attendant
) -> None:
    folders = reviewed(engine)

    def refuse(_spec: AttemptSpec) -> None:
        raise SandboxError("no engine")

    engine.provider.on_open = refuse
    for was_there in (False, True):
        if was_there:
            set_ahead(folders, at=START)
        with pytest.raises(SandboxError, match="no engine"):
            attendant.attend("T-1", lambda _visit: None)
        assert is_ahead(folders) is was_there


def test_a_visit_that_ends_badly_is_collected_all_the_same_and_its_problem_is_told(
    engine: Engine, attendant: Attendant
) -> None:
    reviewed(engine)

    def visitor(_visit: Visit) -> None:
        engine.workspace.commit = NEW
        raise SandboxError("it died")

    collected = attendant.attend("T-1", visitor)
    assert str(collected.problem) == "it died"
    assert collected.revision is not None


def test_what_nobody_foresaw_in_a_visit_leaves_the_mark(engine: Engine, attendant: Attendant) -> None:
    folders = reviewed(engine)

    def visitor(_visit: Visit) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        attendant.attend("T-1", visitor)
    assert is_ahead(folders)
    assert engine.provider.closed == 1


def test_a_sandbox_that_was_stopped_is_opened_again_to_collect(engine: Engine, attendant: Attendant) -> None:
    reviewed(engine)

    def visitor(visit: Visit) -> None:
        engine.workspace.commit = NEW
        visit.stop()

    assert attendant.attend("T-1", visitor).revision is not None
    assert len(engine.provider.opened) == 2


def test_work_that_is_refused_stays_where_it_is_and_keeps_the_mark(
    engine: Engine, attendant: Attendant, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = reviewed(engine)

    def refuse(*_arguments: object, **_more: object) -> None:
        raise WorkFailedError("it holds a secret", code="secret_in_work")

    monkeypatch.setattr(engine.workspace, "accept_bundle", refuse)
    with pytest.raises(WorkFailedError, match="secret"):
        attendant.attend("T-1", lambda _visit: None)
    assert is_ahead(folders)


def test_a_journal_that_cannot_be_written_keeps_the_mark_and_the_next_collect_records(
    engine: Engine, attendant: Attendant, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = reviewed(engine)
    engine.workspace.commit = NEW

    def refuse(*_arguments: object, **_more: object) -> Task:
        raise StorageError("disk full")

    with monkeypatch.context() as broken:
        broken.setattr(engine.store, "change", refuse)
        with pytest.raises(StorageError):
            attendant.collect("T-1")
    assert is_ahead(folders)
    assert attendant.collect("T-1").revision is not None


@pytest.mark.parametrize("became", [Status.DONE, Status.CANCELLED])
def test_a_task_that_was_decided_meanwhile_stays_so_and_the_work_keeps_its_ref(
    engine: Engine, attendant: Attendant, became: Status
) -> None:
    reviewed(engine)

    def visitor(_visit: Visit) -> None:
        engine.workspace.commit = NEW
        engine.store.change("T-1", lambda task: task.advance(became, at=START), by="somebody")

    collected = attendant.attend("T-1", visitor)
    assert collected.unrecorded == f"T-1 is {became}"
    assert (engine.task().status, engine.task().revision) == (became, a_revision())


def test_a_revision_that_was_recorded_meanwhile_is_not_overruled(engine: Engine, attendant: Attendant) -> None:
    reviewed(engine)
    other = a_revision("4" * 40)

    def visitor(_visit: Visit) -> None:
        engine.workspace.commit = NEW
        engine.store.change("T-1", lambda task: task._replace(revision=other), by="somebody")

    assert attendant.attend("T-1", visitor).unrecorded == "T-1 got another revision meanwhile"
    assert engine.task().revision == other


def test_a_task_that_was_removed_meanwhile_loses_no_work(engine: Engine, attendant: Attendant) -> None:
    reviewed(engine)

    def visitor(_visit: Visit) -> None:
        engine.workspace.commit = NEW
        engine.store.remove("T-1", lambda _task: None, by="somebody")

    collected = attendant.attend("T-1", visitor)
    assert collected.revision is not None
    assert "T-1" in (collected.unrecorded or "")


def test_who_is_to_leave_before_the_sandbox_is_open_never_comes_in(engine: Engine, attendant: Attendant) -> None:
    reviewed(engine)
    visits: list[Visit] = []
    engine.provider.on_open = lambda _spec: attendant.left.set()
    assert attendant.attend("T-1", visits.append) == Collected(task=engine.task())
    assert visits == []


def test_the_sandbox_reaches_what_the_agent_needs_now(engine: Engine, attendant: Attendant) -> None:
    reviewed(engine)
    engine.agent.needed = lambda _spec: AgentNeeds(allow=("api.example",), allow_private=("10.0.0.1:1",))
    opened: list[AttemptSpec] = []
    engine.provider.on_open = opened.append
    attendant.attend("T-1", lambda _visit: None)
    assert [(spec.allow, spec.allow_private) for spec in opened] == [(("api.example",), ("10.0.0.1:1",))]


def test_the_session_that_the_result_names_is_served(engine: Engine, attendant: Attendant) -> None:
    reviewed(engine)
    jobs: list[AgentJob] = []
    is_open = threading.Event()

    @contextmanager
    def served(job: AgentJob) -> Iterator[AgentServer]:
        jobs.append(job)
        is_open.set()
        yield SERVER
        is_open.clear()

    engine.agent.served = served
    result = AttemptResult(task=engine.task().id, attempt=1, token=2, finished_at=START, session="ses_1")
    engine.records.save_result(result, engine.task())

    def visitor(visit: Visit) -> None:
        with visit.serve() as server:
            assert is_open.is_set()
            assert server is SERVER

    assert attendant.attend("T-1", visitor).problem is None
    assert [job.session for job in jobs] == ["ses_1"]
    assert not is_open.is_set()


@pytest.mark.parametrize("session", [None, "ses_1"])
def test_an_agent_without_a_session_is_said_to_have_none(
    engine: Engine, attendant: Attendant, session: str | None
) -> None:
    reviewed(engine, run=replace(a_run(), session=session))

    def visitor(visit: Visit) -> None:
        with visit.serve():
            pytest.fail("there is nothing to serve")

    problem = attendant.attend("T-1", visitor).problem
    assert "taskq review T-1 --shell" in str(problem)


def test_whoever_is_refused_leaves_no_mark(engine: Engine, attendant: Attendant) -> None:
    folders = reviewed(engine)
    with hold(folders.lease), pytest.raises(BusyError):
        attendant.collect("T-1")
    assert not is_ahead(folders)
