"""A dozen operations on a queue, each with what it does to a dictionary; together they write about twenty lines."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, NamedTuple

from orchestration.core.models import Task
from orchestration.core.naming import TaskId
from orchestration.core.snapshot import Snapshot
from orchestration.core.status import Status
from orchestration.store.tasks import JournalTaskStore

START: Final = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
LONG: Final = "long " * 60_000
State = dict[str, tuple[str, int, str | None, int]]


@dataclass
class Model:
    """What must be there: of each task its status, revision, title and length of text."""

    tasks: State = field(default_factory=dict)
    gone: dict[str, int] = field(default_factory=dict)

    def copy(self) -> "Model":
        return Model(dict(self.tasks), dict(self.gone))

    def add(self, *tasks: Task) -> None:
        if any(task.id in self.tasks for task in tasks):
            raise KeyError("already there")
        if any(name not in self.tasks and name not in {each.id for each in tasks} for t in tasks for name in t.after):
            raise KeyError("waits for what is not there")
        for task in tasks:
            self.tasks[task.id] = ("todo", self.gone.get(task.id, 0) + 1, task.title, len(task.text or ""))

    def move(self, identifier: str, status: str) -> None:
        _, rev, title, length = self.tasks[identifier]
        self.tasks[identifier] = (status, rev + 1, title, length)

    def name(self, identifier: str, title: str) -> None:
        status, rev, _, length = self.tasks[identifier]
        self.tasks[identifier] = (status, rev + 1, title, length)

    def remove(self, identifier: str) -> None:
        self.gone[identifier] = self.tasks.pop(identifier)[1] + 1

    def claim(self) -> None:
        first = next((name for name, (status, *_) in self.tasks.items() if status == "todo"), None)
        if first is not None:
            self.move(first, "planning")


class Operation(NamedTuple):
    """Something that a caller asks of the store; on the dictionary it raises KeyError where the store must refuse."""

    name: str
    on_store: Callable[[JournalTaskStore], object]
    on_model: Callable[[Model], None]


def a_task(identifier: str, *, text: str = "x", after: tuple[str, ...] = ()) -> Task:
    return Task(
        id=TaskId(identifier),
        repo="/srv/repo",
        base="main",
        status=Status.TODO,
        text=text,
        after=after,
        created_at=START,
        updated_at=START,
    )


def state_of(snapshot: Snapshot) -> State:
    return {
        str(task.id): (str(task.status), task.rev, task.title, len(task.text or "")) for task in snapshot.tasks.values()
    }


def add(*tasks: Task) -> Operation:
    name = " ".join(["add", *(task.id for task in tasks)])
    return Operation(name, lambda store: store.add(tasks, by="script"), lambda model: model.add(*tasks))


def move(identifier: str, before: Status, after: Status) -> Operation:
    """Move a task that is where it should be; elsewhere it is refused by the one who asks."""

    def how(task: Task) -> Task:
        if task.status is not before:
            raise KeyError(task.status)
        return task.advance(after, at=START)

    def on_model(model: Model) -> None:
        if model.tasks[identifier][0] != before:
            raise KeyError(before)
        model.move(identifier, after)

    return Operation(f"{identifier} {after}", lambda store: store.change(identifier, how, by="script"), on_model)


def name(identifier: str, title: str) -> Operation:
    return Operation(
        f"name {identifier}",
        lambda store: store.change(identifier, lambda task: task._replace(title=title), by="script"),
        lambda model: model.name(identifier, title),
    )


def remove(identifier: str) -> Operation:
    return Operation(
        f"remove {identifier}",
        lambda store: store.remove(identifier, lambda _task: None, by="script"),
        lambda model: model.remove(identifier),
    )


def claim() -> Operation:
    def choose(snapshot: Snapshot) -> Task | None:
        return next((task for task in snapshot.tasks.values() if task.status is Status.TODO), None)

    return Operation(
        "claim",
        lambda store: store.claim(choose, lambda task: task.advance(Status.PLANNING, at=START), by="script"),
        lambda model: model.claim(),
    )


OPERATIONS: Final = (
    add(a_task("a")),
    add(a_task("b", text=LONG)),
    add(a_task("c"), a_task("d"), a_task("e", after=("c", "a"))),
    claim(),
    move("a", Status.PLANNING, Status.BUILDING),
    add(a_task("a")),  # it is there already
    name("b", "a title"),
    remove("d"),
    add(a_task("d", after=("e",)), a_task("f")),
    move("e", Status.TODO, Status.CANCELLED),
    claim(),
    move("a", Status.BUILDING, Status.REVIEW),
    add(a_task("g"), a_task("h"), a_task("i")),
)


def prefixes(store: JournalTaskStore) -> tuple[Mapping[str, object], ...]:
    """Do everything on a sound queue; return the state before the first and after each operation."""
    model = Model()
    states: list[State] = [{}]
    for operation in OPERATIONS:
        after = model.copy()
        try:
            operation.on_model(after)
        except KeyError:
            continue
        operation.on_store(store)
        model = after
        states.append(dict(model.tasks))
        assert state_of(store.read()) == model.tasks, operation.name
    return tuple(states)
