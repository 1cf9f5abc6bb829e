"""Very many tasks are listed at speed, and what is listed is what the slower way says of each."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestration.core.errors import NewerVersionError
from orchestration.core.models import Limits, Task
from orchestration.core.status import Status
from orchestration.store.codec import encode_task
from orchestration.store.layout import QueueFolder, create_queue
from orchestration.store.ledger import Ledger
from orchestration.store.line import decode_line, encode_line
from orchestration.store.listing import Lines, listed
from orchestration.store.reader import Effort, JournalReader
from orchestration.store.snapshot import JournalSnapshot
from orchestration.store.tasks import JournalTaskStore
from tests.store.conftest import SteppingClock
from tests.store.records import FULL, PLAIN

START = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
WITHOUT_INDEX = Effort(batch=1 << 40)
WITH_INDEX = Effort(batch=0, warm=0, extending=1 << 40)
LAGGING = Effort(batch=4000, warm=1 << 40, extending=0)
"""Keeps some lines in memory that its index does not know."""
KNOWN = FULL._replace(after=())
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
MOMENTS = st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 -- bounds are naive
DURATIONS = st.integers(1, 10**7).map(lambda seconds: timedelta(seconds=seconds)) | st.timedeltas(
    timedelta(microseconds=1), timedelta(days=300)
)


def opened(queue: QueueFolder, effort: Effort) -> JournalTaskStore:
    clock = SteppingClock()
    return JournalTaskStore(queue.root, clock, reader=JournalReader(queue, clock, effort=effort))


def snapshot_of(queue: QueueFolder, effort: Effort) -> JournalSnapshot:
    snapshot = opened(queue, effort).read()
    assert isinstance(snapshot, JournalSnapshot)
    return snapshot


def quickly(snapshot: JournalSnapshot) -> list[dict[str, Any]]:
    return [json.loads(msgspec.json.encode(one)) for one in snapshot.listed()]


def slowly(snapshot: JournalSnapshot) -> list[dict[str, Any]]:
    return [{**encode_task(task), "waits_for": None, "held": False} for task in snapshot.each()]


def is_quick(queue: QueueFolder) -> list[bool]:
    """Return of each task whether it is listed at speed."""
    snapshot = snapshot_of(queue, WITHOUT_INDEX)

    def look(ledger: Ledger, _damage: object) -> list[bool]:
        states, _ = ledger.states(after=-1, limit=1000)
        return [listed(state, Lines(ledger.read, 0)) is not None for state in states]

    return snapshot._journal.read(look)


def limits_of(drawn: tuple[timedelta, timedelta, float]) -> Limits:
    setup, build, cpus = drawn
    return Limits(setup=setup, build=build, cpus=cpus)


@st.composite
def fields_of(draw: st.DrawFn) -> dict[str, Any]:
    """Return fields of a task, some of which a change may set too."""
    run, revision, usage, error = FULL.run, FULL.revision, FULL.usage, FULL.error
    assert run is not None
    assert revision is not None
    assert usage is not None
    assert error is not None
    every: dict[str, st.SearchStrategy[Any]] = {
        "title": st.none() | TEXT,
        "text": st.none() | TEXT,
        "reason": st.none() | TEXT,
        "priority": st.integers(-(10**9), 10**9),
        "labels": st.lists(TEXT, max_size=3).map(tuple),
        "not_before": st.none() | MOMENTS,
        "model": st.none() | TEXT,
        "network": st.sampled_from([None, "none", "open"]),
        "limits": st.tuples(DURATIONS, DURATIONS, st.sampled_from([0.5, 2.0, 2.25])).map(limits_of),
        "allow_empty": st.booleans(),
        "attempt": st.integers(0, 9),
        "run": st.none() | st.just(run) | MOMENTS.map(lambda at: replace(run, started_at=at, observed=None)),
        "revision": st.none() | st.just(revision),
        "verification": st.none() | st.dictionaries(TEXT, st.none() | st.integers(-5, 5) | st.lists(TEXT)),
        "usage": st.none() | st.just(usage),
        "landed": st.none() | st.just(FULL.landed),
        "error": st.none() | st.just(error),
        "created_at": MOMENTS,
    }
    return {name: draw(values) for name, values in every.items() if draw(st.booleans())}


@given(
    added=st.lists(fields_of(), min_size=1, max_size=4),
    changes=st.lists(st.tuples(st.integers(0, 3), fields_of()), max_size=6),
)
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
def test_what_is_listed_is_what_each_task_says(
    tmp_path_factory: pytest.TempPathFactory, added: list[dict[str, Any]], changes: list[tuple[int, dict[str, Any]]]
) -> None:
    queue = create_queue(tmp_path_factory.mktemp("listed") / "queue")
    store = opened(queue, LAGGING)
    tasks = [KNOWN._replace(id=f"T.{number}", **fields) for number, fields in enumerate(added)]  # type: ignore[arg-type]  # an id
    store.add(tasks, by="test")
    for which, fields in changes:
        if which < len(tasks):
            store.change(tasks[which].id, lambda task, fields=fields: task._replace(**fields), by="test")
    expected = slowly(snapshot_of(queue, WITHOUT_INDEX))
    for effort in (WITHOUT_INDEX, LAGGING, WITH_INDEX):
        assert quickly(snapshot_of(queue, effort)) == expected
    assert quickly(store.read()) == expected  # type: ignore[arg-type]  # a journal's snapshot


def test_what_taskq_writes_is_listed_at_speed(queue: QueueFolder, a_task: Callable[..., Task]) -> None:
    store = opened(queue, WITHOUT_INDEX)
    store.add([a_task("a"), a_task("b"), KNOWN._replace(limits=Limits()), a_task("c")], by="test")
    store.change("b", lambda task: task.advance(Status.CANCELLED, at=START, reason="no \u00e9"), by="test")
    store.change("c", lambda task: task._replace(run=KNOWN.run, labels=("x",)), by="test")
    assert is_quick(queue) == [True, True, True, True]
    assert [one.reason for one in snapshot_of(queue, WITHOUT_INDEX).listed()] == [None, "no \u00e9", "agent", None]


ODD: Mapping[str, Mapping[str, Any]] = {
    "a number that is a text": {"priority": "high"},
    "a list that is a text": {"labels": "x"},
    "no list": {"labels": None},
    "a time that is none": {"created_at": "never"},
    "a day that is not in the calendar": {"updated_at": "2026-02-30T03:00:00.000000Z"},
    "a time elsewhere": {"created_at": "2026-11-21T03:00:00.000000+02:00"},
    "a time without fractions": {"not_before": "2026-11-21T03:00:00Z"},
    "part of a second": {"limits": {"setup": 1.5}},
    "a limit beyond measure": {"limits": {**encode_task(FULL)["limits"], "build": 10**18}},
    "a text in a blob that is gone": {"text": {"blob": "0" * 64, "size": 7}},
    "a fact in a blob that is gone": {"revision": {"blob": "0" * 64, "size": 7}},
    "a fact that is incomplete": {"run": {"attempt": 1}},
    "a fact that is a text": {"usage": "much"},
    "no status": {"status": "thinking"},
    "no base": {"base": None},
}


@pytest.mark.parametrize("change", ODD.values(), ids=ODD.keys())
@pytest.mark.parametrize("is_later", [False, True], ids=["added so", "changed so"])
def test_what_taskq_would_not_write_is_left_to_the_slower_way(
    queue: QueueFolder,
    change: Mapping[str, Any],
    is_later: bool,  # noqa: FBT001 -- a table's column
) -> None:
    opened(queue, WITHOUT_INDEX).add([KNOWN._replace(limits=Limits())], by="test")
    head, line = queue.journal.read_bytes().splitlines(keepends=True)
    members = decode_line(line)
    later = {"seq": 3, "kind": "task", "id": KNOWN.id, "rev": 2, "at": members["at"], "by": "x", **change}
    odd = line + encode_line(later) if is_later else encode_line({**members, **change})
    queue.journal.write_bytes(head + odd)
    assert is_quick(queue) == [False]
    for effort in (WITHOUT_INDEX, WITH_INDEX):
        one, other = snapshot_of(queue, effort), snapshot_of(queue, effort)
        assert (quickly(one), one.damage) == (slowly(other), other.damage)


@pytest.mark.parametrize(
    ("line", "is_fast"),
    [
        (lambda members: json.dumps(members).encode() + b"\n", False),
        (lambda _members: json.dumps(PLAIN).encode() + b"\n", False),
        (lambda members: encode_line({"id": members["id"], **members}), False),
        (lambda members: encode_line({**members, "unheard_of": [1]}), True),
        (lambda members: encode_line({name: value for name, value in members.items() if name != "variant"}), True),
        (lambda members: encode_line({**members, "run": {**members["run"], "unheard_of": 1}}), True),
    ],
    ids=["no checksum", "a plain record", "another order", "a field of another version", "an older version", "a fact"],
)
def test_lines_of_others_and_of_other_versions_are_listed_as_they_are_read(
    queue: QueueFolder,
    line: Callable[[dict[str, Any]], bytes],
    is_fast: bool,  # noqa: FBT001 -- a table's column
) -> None:
    opened(queue, WITHOUT_INDEX).add([KNOWN._replace(limits=Limits())], by="test")
    head, ours = queue.journal.read_bytes().splitlines(keepends=True)
    queue.journal.write_bytes(head + line(decode_line(ours)))
    snapshot = snapshot_of(queue, WITHOUT_INDEX)
    assert is_quick(queue) == [is_fast]
    assert len(quickly(snapshot)) == 1
    assert quickly(snapshot) == slowly(snapshot)


def test_a_task_of_a_newer_version_is_refused_as_everywhere(queue: QueueFolder, a_task: Callable[..., Task]) -> None:
    opened(queue, WITHOUT_INDEX).add([a_task("a")], by="test")
    head, line = queue.journal.read_bytes().splitlines(keepends=True)
    queue.journal.write_bytes(head + line + encode_line({**decode_line(line), "seq": 3, "rev": 2, "v": 2}))
    with pytest.raises(NewerVersionError):
        quickly(snapshot_of(queue, WITHOUT_INDEX))


def test_a_line_that_was_altered_behind_the_index_is_not_believed(
    queue: QueueFolder, a_task: Callable[..., Task]
) -> None:
    opened(queue, WITH_INDEX).add([a_task(f"T-{number}", title="as it was") for number in range(40)], by="test")
    assert len(quickly(snapshot_of(queue, WITH_INDEX))) == 40
    content = queue.journal.read_bytes()
    queue.journal.write_bytes(content.replace(b"as it was", b"as it SAW", 1))
    assert queue.index_file.exists()
    snapshot = snapshot_of(queue, WITH_INDEX)
    told = quickly(snapshot)
    assert [one["title"] for one in told] == ["as it was"] * 39
    assert [item.why for item in snapshot.damage] == ["bad checksum"]


def test_lines_are_found_wherever_they_are(tmp_path: Path) -> None:
    content = bytes(number % 251 for number in range(3 << 20))
    asked: list[tuple[int, int]] = []

    def read(offset: int, length: int) -> bytes:
        asked.append((offset, length))
        return content[offset : offset + length]

    def crossing() -> Iterator[tuple[int, int]]:
        for offset in (0, 1, (1 << 15) - 7, 1 << 15, (1 << 21) - 3, 1 << 21, len(content) - 900):
            yield from ((offset, 900), (offset, 1))

    lines = Lines(read, 1000)
    assert [lines.at(*place) for place in crossing()] == [content[start : start + size] for start, size in crossing()]
    assert len(asked) < 14


def test_many_tasks_are_told_at_speed_and_few_without_what_that_loads(
    queue: QueueFolder, a_task: Callable[..., Task]
) -> None:
    store = opened(queue, WITHOUT_INDEX)
    store.add([a_task(f"T-{number}") for number in range(400)], by="test")
    assert all(isinstance(one, Task) for one in store.read().glances())
    store.add([a_task("one-more")], by="test")
    glances = list(store.read().glances())
    assert not any(isinstance(one, Task) for one in glances)
    assert [one.id for one in glances] == list(store.read().tasks)
    assert all(isinstance(one, Task) for one in store.read().glances([Status.DONE]))
