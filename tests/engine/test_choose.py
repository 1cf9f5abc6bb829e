from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestration.core.models import Task
from orchestration.core.snapshot import Snapshot
from orchestration.core.status import Status
from orchestration.engine.choose import next_task, obstacle, ready, sandboxes_wanted
from tests.engine.fakes import START, a_task

NAMES = [f"t{number}" for number in range(4)]
QUICK = settings(max_examples=60, deadline=None)


def snapshot(*tasks: Task) -> Snapshot:
    return Snapshot(queue="q", seq=len(tasks), tasks={task.id: task for task in tasks})


def tasks_of_one_queue() -> st.SearchStrategy[Snapshot]:
    def build(name: str) -> st.SearchStrategy[Task]:
        return st.builds(
            a_task,
            st.just(name),
            status=st.sampled_from(Status),
            priority=st.integers(-2, 2),
            after=st.lists(st.sampled_from([*NAMES, "gone"]), max_size=2).map(tuple),
            not_before=st.none() | st.integers(-2, 2).map(lambda hours: START + timedelta(hours=hours)),
        )

    return st.permutations(NAMES).flatmap(lambda names: st.tuples(*map(build, names))).map(lambda all_: snapshot(*all_))


@QUICK
@given(tasks_of_one_queue())
def test_what_is_chosen_may_start_and_nothing_that_may_start_comes_before_it(queue: Snapshot) -> None:
    may_start = [
        task
        for task in queue.tasks.values()
        if task.status is Status.TODO
        and (task.not_before is None or task.not_before <= START)
        and all(name in queue.tasks and queue.tasks[name].status is Status.DONE for name in task.after)
    ]
    order = list(queue.tasks)
    expected = min(may_start, key=lambda task: (-task.priority, order.index(task.id)), default=None)
    assert next_task(queue, now=START) == expected


@QUICK
@given(tasks_of_one_queue())
def test_every_task_that_waits_says_why_and_every_other_todo_is_ready(queue: Snapshot) -> None:
    may_start = list(ready(queue, now=START))
    for task in queue.tasks.values():
        waits = task.status is Status.TODO and obstacle(task, queue, now=START) is not None
        assert (task in may_start) is (task.status is Status.TODO and not waits)


def test_among_equals_the_one_added_first_goes_first() -> None:
    assert next_task(snapshot(a_task("b"), a_task("a"), a_task("c", priority=-1)), now=START) == a_task("b")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"not_before": START + timedelta(seconds=1)}, "not before 2026-11-21 03:00:01Z"),
        ({"not_before": START}, None),
        ({"after": ("parent",)}, "after parent (failed)"),
        ({"after": ("PARENT", "gone", "finished")}, "after PARENT (failed), gone (no such task)"),
        ({"after": ("finished",)}, None),
        ({}, None),
    ],
)
def test_an_obstacle_is_told_in_words(fields: dict[str, object], words: str | None) -> None:
    task = a_task("child", **fields)
    queue = snapshot(a_task("parent", status=Status.FAILED), a_task("finished", status=Status.DONE), task)
    assert obstacle(task, queue, now=START) == words


def test_a_run_needs_the_sandboxes_of_what_is_ready_and_of_what_was_left_running() -> None:
    queue = snapshot(
        a_task("one")._replace(sandbox="docker"),
        a_task("two")._replace(sandbox="microvm", after=("one",)),
        a_task("three")._replace(sandbox="local", status=Status.BUILDING),
        a_task("four")._replace(sandbox="other", status=Status.DONE),
        a_task("five")._replace(sandbox="fifth"),
    )
    assert sandboxes_wanted(queue, now=START) == {"docker", "local", "fifth"}
    assert sandboxes_wanted(queue, now=START, only="FIVE") == {"local", "fifth"}
