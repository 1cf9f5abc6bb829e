"""What every TaskStore does, whatever it is made of."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestration.core.errors import (
    DuplicateTaskError,
    IllegalTransitionError,
    TaskNotFoundError,
    TaskqError,
    UsageError,
)
from orchestration.core.facts import Failure, FileChange, Landed, Revision, Run, Runner, Usage
from orchestration.core.models import Limits, Task
from orchestration.core.naming import TaskId
from orchestration.core.ports import TaskStore
from orchestration.core.snapshot import Snapshot
from orchestration.core.status import TRANSITIONS, Status
from orchestration.store.layout import create_queue
from orchestration.store.reader import Effort, JournalReader
from orchestration.store.tasks import JournalTaskStore

START = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)


class SteppingClock:
    def __init__(self) -> None:
        self.current = START

    def now(self) -> datetime:
        self.current += timedelta(seconds=1)
        return self.current

    def monotonic(self) -> float:
        return self.current.timestamp()


def a_task(identifier: str = "a", **fields: object) -> Task:
    given = {"repo": "/srv/repo", "base": "main", "status": Status.TODO, "created_at": START, "updated_at": START}
    return Task(id=TaskId(identifier), **{**given, **fields})  # type: ignore[arg-type]  # a builder takes any field


REVISION = Revision(
    commit="2" * 40,
    base_commit="1" * 40,
    ref="refs/taskq/q/attempt/full/2.1",
    attempt=2,
    collect=1,
    collected_at=START,
    source="bundle",
    flags=("adds a submodule",),
    published=False,
)
RUN = Run(
    attempt=2,
    token=9,
    sandbox="local",
    folder="/srv/attempts/full/2",
    runner=Runner(host="h", pid=7, started="s", boot="b"),
    started_at=START,
    session="s",
)


def full_task() -> Task:
    return a_task(
        "full",
        title="A title",
        text="line\u2028 \u0085 \r\n\ttext \U0001f600",
        base_commit="1" * 40,
        branch="task/full",
        worktree_path="/srv/trees/full",
        task_file="tasks/full.md",
        reason="because",
        priority=-3,
        labels=("x", "y"),
        not_before=START + timedelta(days=1, microseconds=7),
        agent="command",
        agent_command="./agent.sh",
        model="m",
        sandbox="local",
        network="none",
        limits=Limits(build=timedelta(minutes=90, microseconds=1), files=7),
        allow_empty=True,
        attempt=2,
        charged=1,
        run=RUN,
        revision=REVISION,
        verification={"passed": 3, "of": [1, 2.5, None, {"deep": True}]},
        usage=Usage(input_tokens=1, cost_usd=0.25),
        landed=Landed(commit="3" * 40, how="ff", base="main", at=START),
        error=Failure(stage="build", code="exit", message="it failed", exit_code=3, stderr_tail="boom"),
    )


@pytest.fixture(params=["journal", "journal with a new index each time", "journal with an index that is extended"])
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], TaskStore]:
    """Return a function that opens one queue anew, as another process would."""
    clock = SteppingClock()
    queue = create_queue(tmp_path / "queue")

    def opened() -> TaskStore:
        if request.param == "journal":
            return JournalTaskStore(queue.root, clock)
        extending = 0 if "extended" in request.param else 1_000_000
        effort = Effort(batch=0, warm=0, extending=extending)
        return JournalTaskStore(queue.root, clock, reader=JournalReader(queue, clock, effort=effort))

    return opened


@pytest.fixture
def store(reopen: Callable[[], TaskStore]) -> TaskStore:
    return reopen()


def first_todo(snapshot: Snapshot) -> Task | None:
    return next((task for task in snapshot.tasks.values() if task.status is Status.TODO), None)


def start(task: Task) -> Task:
    return task.advance(Status.PLANNING, at=START)


def allow(_task: Task) -> None:
    """Have nothing against it."""


class NoError(Exception):
    """The caller says no."""


def refuse(_task: Task) -> Task:
    raise NoError


def refuse_removal(_task: Task) -> None:
    raise NoError


def seen(store: TaskStore) -> tuple[object, ...]:
    """Return all that a reader sees now."""
    snapshot = store.read()
    return snapshot.queue, snapshot.seq, list(snapshot.tasks.items()), snapshot.damage


def test_an_empty_queue_has_no_tasks_and_no_id_yet(store: TaskStore) -> None:
    assert seen(store) == (None, 0, [], ())


def test_every_field_comes_back_as_it_was_given(store: TaskStore, reopen: Callable[[], TaskStore]) -> None:
    (added,) = store.add([full_task()], by="test")
    assert added == full_task()._replace(rev=1)
    assert store.read().tasks["full"] == added
    assert seen(reopen()) == seen(store)


def test_tasks_are_listed_in_the_order_in_which_they_were_added(store: TaskStore) -> None:
    store.add([a_task("z"), a_task("m")], by="test")
    store.add([a_task("a")], by="test")
    store.change("z", start, by="test")
    assert list(store.read().tasks) == ["z", "m", "a"]


def test_adding_nothing_changes_nothing(store: TaskStore) -> None:
    assert store.add([], by="test") == ()
    assert store.read().seq == 0


def test_the_queue_gets_an_id_that_stays(store: TaskStore, reopen: Callable[[], TaskStore]) -> None:
    store.add([a_task("a")], by="test")
    queue = store.read().queue
    store.add([a_task("b")], by="test")
    assert queue is not None
    assert reopen().read().queue == queue


def test_a_text_of_any_length_comes_back(store: TaskStore, reopen: Callable[[], TaskStore]) -> None:
    text = "é\n" * 400_000
    store.add([a_task("a", text=text), a_task("b", text=text)], by="test")
    store.change("a", start, by="test")
    assert reopen().read().tasks["a"].text == text


@pytest.mark.parametrize("spelled", ["a", "A"])
def test_an_id_that_is_taken_is_refused_whatever_its_case(spelled: str, store: TaskStore) -> None:
    store.add([a_task("a")], by="test")
    with pytest.raises(DuplicateTaskError, match="already in the queue"):
        store.add([a_task("b"), a_task(spelled)], by="test")
    assert list(store.read().tasks) == ["a"]


def test_an_id_given_twice_is_refused(store: TaskStore) -> None:
    with pytest.raises(DuplicateTaskError, match="given twice"):
        store.add([a_task("x"), a_task("X")], by="test")
    assert store.read().tasks == {}


def test_an_id_against_the_grammar_is_refused(store: TaskStore) -> None:
    with pytest.raises(UsageError, match="no task id"):
        store.add([a_task("../up")], by="test")


def test_waiting_for_a_task_that_is_not_there_is_refused(store: TaskStore) -> None:
    with pytest.raises(UsageError, match="'nobody'") as raised:
        store.add([a_task("a", after=("nobody",))], by="test")
    assert raised.value.code == "unknown_dependency"
    assert store.read().tasks == {}


def test_tasks_may_wait_for_each_other_within_one_add_and_across(store: TaskStore) -> None:
    store.add([a_task("b", after=("A",)), a_task("a")], by="test")
    store.add([a_task("c", after=("a", "b"))], by="test")
    assert list(store.read().tasks) == ["b", "a", "c"]


@pytest.mark.parametrize(
    "tasks",
    [
        [a_task("a", after=("A",))],
        [a_task("a", after=("b",)), a_task("b", after=("c",)), a_task("c", after=("a",))],
    ],
    ids=["itself", "a ring"],
)
def test_tasks_that_would_wait_for_ever_are_refused(tasks: list[Task], store: TaskStore) -> None:
    with pytest.raises(UsageError, match="wait for each other") as raised:
        store.add(tasks, by="test")
    assert raised.value.code == "dependency_cycle"


def test_a_ring_through_a_task_that_was_removed_and_added_again_is_refused(store: TaskStore) -> None:
    store.add([a_task("a"), a_task("b", after=("a",))], by="test")
    store.remove("a", allow, by="test")
    with pytest.raises(UsageError, match="wait for each other"):
        store.add([a_task("a", after=("b",))], by="test")


def test_a_change_that_makes_a_ring_is_refused(store: TaskStore) -> None:
    store.add([a_task("a"), a_task("b", after=("a",))], by="test")
    with pytest.raises(UsageError, match="wait for each other"):
        store.change("a", lambda task: task._replace(after=("b",)), by="test")


def test_a_long_chain_of_tasks_is_no_problem(store: TaskStore) -> None:
    names = [f"t{number}" for number in range(1500)]
    chain = [a_task(name, after=(before,)) for name, before in zip(names[1:], names, strict=False)]
    store.add([*reversed(chain), a_task(names[0])], by="test")
    assert len(store.read().tasks) == 1500


def test_a_change_is_seen_with_a_new_rev_and_time(store: TaskStore, reopen: Callable[[], TaskStore]) -> None:
    (added,) = store.add([a_task("a")], by="test")
    changed = store.change("A", lambda task: start(task._replace(labels=("new",))), by="test")
    assert (changed.status, changed.labels, changed.rev) == (Status.PLANNING, ("new",), added.rev + 1)
    assert changed.updated_at > added.updated_at
    assert reopen().read().tasks["a"] == changed


def test_a_field_can_be_taken_back_to_nothing(store: TaskStore, reopen: Callable[[], TaskStore]) -> None:
    store.add([full_task()], by="test")
    store.change("full", lambda task: task._replace(run=None, error=None, not_before=None, labels=()), by="test")
    task = reopen().read().tasks["full"]
    assert (task.run, task.error, task.not_before, task.labels) == (None, None, None, ())


def test_a_change_to_the_same_changes_nothing(store: TaskStore) -> None:
    store.add([a_task("a")], by="test")
    before = seen(store)
    assert store.change("a", lambda task: task._replace(priority=0), by="test") == store.read().tasks["a"]
    assert seen(store) == before


def test_a_change_that_raises_changes_nothing(store: TaskStore) -> None:
    store.add([a_task("a")], by="test")
    before = seen(store)
    with pytest.raises(NoError):
        store.change("a", refuse, by="test")
    with pytest.raises(IllegalTransitionError):
        store.change("a", lambda task: task.advance(Status.DONE, at=START), by="test")
    assert seen(store) == before


def off_the_table() -> list[tuple[Status, Status]]:
    return [(current, to) for current in Status for to in Status if to not in {current, *TRANSITIONS[current]}]


@pytest.mark.parametrize(("current", "wanted"), off_the_table())
def test_nobody_can_go_round_the_table_of_transitions(current: Status, wanted: Status, store: TaskStore) -> None:
    store.add([a_task("a", status=current)], by="test")
    with pytest.raises(TaskqError, match="off the table") as raised:
        store.change("a", lambda task: task._replace(status=wanted), by="test")
    assert raised.value.code == "bug"
    assert store.read().tasks["a"].status is current


def test_a_change_cannot_rename_a_task(store: TaskStore) -> None:
    store.add([a_task("a")], by="test")
    with pytest.raises(TaskqError, match="rename"):
        store.change("a", lambda task: task._replace(id=TaskId("b")), by="test")


def test_a_change_from_inside_of_a_change_is_refused(store: TaskStore) -> None:
    store.add([a_task("a")], by="test")
    with pytest.raises(TaskqError, match="inside"):
        store.change("a", lambda _task: store.change("a", start, by="test"), by="test")
    assert store.change("a", start, by="test").status is Status.PLANNING


def test_what_is_not_there_cannot_be_changed_or_removed(store: TaskStore) -> None:
    with pytest.raises(TaskNotFoundError, match="'nobody'"):
        store.change("nobody", start, by="test")
    with pytest.raises(TaskNotFoundError, match="'nobody'"):
        store.remove("nobody", allow, by="test")


def test_a_claim_changes_the_chosen_task(store: TaskStore) -> None:
    store.add([a_task("a"), a_task("b")], by="test")
    claims = [store.claim(first_todo, start, by="test") for _ in range(3)]
    assert [claim and claim.id for claim in claims] == ["a", "b", None]
    assert store.read().tasks["b"] == claims[1]


def test_a_claimer_sees_what_another_has_just_done(store: TaskStore, reopen: Callable[[], TaskStore]) -> None:
    store.add([a_task("a")], by="test")
    other = reopen()
    assert other.claim(first_todo, start, by="other") is not None
    assert store.claim(first_todo, start, by="test") is None


def test_a_removed_task_is_gone_and_comes_back_with_its_numbers(
    store: TaskStore, reopen: Callable[[], TaskStore]
) -> None:
    store.add([a_task("a", attempt=3, title="old")], by="test")
    removed = store.remove("A", allow, by="test")
    assert (removed.id, store.read().tasks) == ("a", {})
    (again,) = reopen().add([a_task("A")], by="test")
    assert (again.attempt, again.rev, again.title) == (3, 3, None)
    assert list(store.read().tasks.values()) == [again]


def test_a_removal_that_is_refused_changes_nothing(store: TaskStore) -> None:
    store.add([a_task("a")], by="test")
    with pytest.raises(NoError):
        store.remove("a", refuse_removal, by="test")
    assert list(store.read().tasks) == ["a"]


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"title": "\ud800"}, "surrogate"),
        ({"text": "\ud800"}, "surrogate"),
        ({"text": "\ud800" * 200_000}, "surrogates"),
        ({"priority": 2**63}, "64 bits"),
        ({"verification": {"rate": float("nan")}}, "not JSON compliant"),
        ({"title": "x" * 1_100_000}, "shorten"),
        ({"text": "x" * (64 * 1024**2 + 1)}, "shorten"),
    ],
    ids=["no unicode", "no unicode prompt", "long and no unicode", "huge number", "nan", "huge title", "huge text"],
)
def test_a_value_that_cannot_be_kept_is_refused(fields: dict[str, object], why: str, store: TaskStore) -> None:
    with pytest.raises(UsageError, match=why):
        store.add([a_task("ok"), a_task("a", **fields)], by="test")
    assert store.read().tasks == {}


def test_observed_text_is_kept_even_when_it_is_no_unicode(store: TaskStore) -> None:
    store.add([a_task("a", error=Failure(stage="build", code="exit", message="m", stderr_tail="a\udc80b"))], by="test")
    failure = store.read().tasks["a"].error
    assert failure is not None
    assert failure.stderr_tail == "a\\udc80b"


def test_the_list_of_what_an_agent_changed_may_be_very_long(store: TaskStore, reopen: Callable[[], TaskStore]) -> None:
    files = tuple(FileChange(path=f"some/folder/{n}.txt", status="A", added=1, removed=None) for n in range(20_000))
    store.add([a_task("a")], by="test")
    store.change("a", lambda task: task._replace(revision=replace(REVISION, files=files)), by="test")
    assert reopen().read().tasks["a"].revision == replace(REVISION, files=files)
