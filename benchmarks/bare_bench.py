"""What ``benchmarks.store`` measures with: queues made when a row asks, and crowds that play roles.

Guarantees: a queue is on disk and its index is built before it is measured.
"""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from benchmarks.bare_crowd import Crowd
from benchmarks.bare_queues import Template, add_many, make_queue, record, template
from benchmarks.harness import Row, Unit, Work, command
from benchmarks.startup import TASKQ, repository, surroundings
from orchestration.store.layout import create_queue

COUNTS: Final = ("status", "--counts")
"""What asks taskq for counts and nothing else."""
SMALL: Final = 1_000
"""How many tasks the small queue has."""
SLACK: Final = 0.2
"""How far past its target a row may be, as a share of the target."""


@dataclass(kw_only=True)
class Bench:
    """Queues of every size, made when a row asks for them; *claims* is what each process claims in a round."""

    folder: Path
    tasks: int
    claims: int
    environ: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.environ = surroundings(self.folder)

    @property
    def medium(self) -> int:
        """How many tasks a tenth of the large queue has."""
        return self.tasks // 10

    @cached_property
    def repo(self) -> Path:
        """A repository with one commit."""
        return repository(self.folder / "repo", self.environ)

    @cached_property
    def template(self) -> Path:
        """A queue with one task that taskq added."""
        queue = self.folder / "template"
        add_many(queue, json.dumps(record("template", self.repo)).encode(), self.environ)
        return queue

    @cached_property
    def pattern(self) -> Template:
        """The lines of that queue."""
        return template(self.template)

    @cached_property
    def claimed(self) -> Path:
        """A queue with such a task and its claim."""
        queue = make_queue(self.folder / "claimed", self.pattern, tasks=1, done=False)
        self.crowd("taskq-claim", queue, processes=1, count=0).end()
        return queue

    @cached_property
    def large(self) -> Path:
        """The queue with every task, half of them done; its index is built."""
        return self._queue("large", self.tasks, done=True)

    @cached_property
    def lost(self) -> Path:
        """The same journal in another folder, whose index may be taken away without the large queue's."""
        queue = create_queue(self.folder / "lost")
        os.link(self.large / "tasks.jsonl", queue.journal)
        return queue.root

    @cached_property
    def small(self) -> Path:
        """The same with a thousand."""
        return self._queue("small", SMALL, done=True)

    @cached_property
    def tenth(self) -> Path:
        """The same with a tenth of the large one's."""
        return self._queue("tenth", self.medium, done=True)

    @cached_property
    def waiting(self) -> Path:
        """As many, none of them done: rounds claim from it, each other ones."""
        return self._queue("waiting", self.medium, done=False)

    @cached_property
    def bulk(self) -> Path:
        """As many again, as a file for `taskq add --from`."""
        path = self.folder / "bulk.jsonl"
        with path.open("w", encoding="utf-8") as lines:
            lines.writelines(json.dumps(record(f"bulk-{number:06}", self.repo)) + "\n" for number in range(self.medium))
        return path

    @cached_property
    def line(self) -> Path:
        """The task's line of the template, in a file of its own."""
        path = self.folder / "line.json"
        path.write_bytes((self.template / "tasks.jsonl").read_bytes().splitlines()[1])
        return path

    def crowd(self, role: str, place: Path, *, processes: int, count: int, pattern: Path | None = None) -> Crowd:
        """Start *processes* that play *role* at *place*, *count* times each."""
        names = [f"{place.name}-{number}" for number in range(processes)]
        source = str(pattern or self.template)
        return Crowd([(role, str(place), name, str(count), source) for name in names])

    def taskq(self, queue: Path, *arguments: str) -> list[str]:
        """Return the command line of taskq at *queue*."""
        return [TASKQ, *arguments, "--queue", str(queue)]

    def _queue(self, name: str, tasks: int, *, done: bool) -> Path:
        queue = make_queue(self.folder / name, self.pattern, tasks=tasks, done=done)
        command(self.taskq(queue, *COUNTS), environ=self.environ)()
        os.sync()
        return queue


@dataclass(kw_only=True)
class Played:
    """A role that a crowd plays, at a new place in each round or always at *place*; *examine* gets what it did."""

    bench: Bench
    role: str
    processes: int = 1
    count: int = 1
    place: Callable[[Path], Path] = lambda fresh: fresh
    pattern: Callable[[], Path] | None = None
    examine: Callable[[Path, list[str]], object] | None = None
    _crowds: dict[int, tuple[Path, Crowd]] = field(default_factory=dict)

    def row(self, name: str, *, unit: Unit = Unit.RATE, **more: Any) -> Row:
        """Return the row that measures it; *more* is what else the row has."""
        operations = self.count * self.processes
        return Row(
            slack=SLACK, name=name, prepare=self._prepare, check=self._check, unit=unit, operations=operations, **more
        )

    def _prepare(self, number: int) -> Work:
        place = self.place(self.bench.folder / f"{self.role}-{self.processes}-{number}")
        pattern = None if self.pattern is None else self.pattern()
        crowd = self.bench.crowd(self.role, place, processes=self.processes, count=self.count, pattern=pattern)
        self._crowds[number] = place, crowd
        return crowd.go

    def _check(self, number: int) -> None:
        place, crowd = self._crowds.pop(number)
        said = crowd.end()
        if self.examine is not None:
            self.examine(place, said)


@dataclass(kw_only=True)
class Claims:
    """Every claim so far at one queue; the same task twice stops the run."""

    expected: int
    seen: set[str] = field(default_factory=set)

    def examine(self, place: Path, said: list[str]) -> None:
        """Take what the claimers of one round got."""
        twice = self.seen.intersection(said)
        if twice or len(set(said)) != self.expected:
            raise RuntimeError(f"{len(said)} claims of {self.expected} in {place}, twice: {sorted(twice)}")
        self.seen.update(said)


def file_system(folder: Path) -> str:
    """Return the kind of file system that *folder* is on."""
    device = folder.stat().st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        fields, _, more = line.partition(" - ")
        if fields.split()[2] == wanted:
            return more.split()[0]
    return "unknown"
