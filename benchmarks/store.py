"""The journal against what the disk, SQLite and Python allow, from a thousand tasks to a million, and beside its peers.

Needs the group ``bench`` (`make bench` makes it an environment) and a real disk. A row is missed when it is past its
target by more than a fifth. Rates are of processes that are ready before the clock starts; what is quoted is a whole
process, from start to end. The queues are ``bare_queues``, what each side does ``bare_ours``, ``_writers``, ``_peers``.
"""

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks import harness
from benchmarks.bare_bench import COUNTS, SLACK, SMALL, Bench, Claims, Played, file_system
from benchmarks.bare_peers import BACKLOG
from benchmarks.bare_queues import TEXT
from benchmarks.harness import Row, Unit, Work, command
from benchmarks.startup import HOW
from orchestration.adapters.git.environment import operator_environment, walled
from orchestration.store.layout import create_queue

TITLE: Final = "The journal: as quick at a million tasks as at a thousand, and close to the disk"
ROUNDS: Final = 9
WARM_UP: Final = 1
PROCESSES: Final = (1, 4, 8)
MANY: Final = PROCESSES[-1]
AT_LEAST_OF_SQLITE: Final = {4: 1.5, 8: 2.0}
ADDS: Final = {1: 1_200, 4: 1_000, 8: 600}
"""How many each process adds, so that a row takes a few tenths of a second on a quick disk."""
SLOWER: Final = {1: 800, 4: 250, 8: 100}
"""The same of what holds its lock while it syncs."""
CLAIMS: Final = 300
PEER_CLAIMS: Final = 25
ANEW: Final = 20
"""How often a row opens the store and does one thing with it."""
_HERE: Final = Path(__file__).parent
_MEMORY_KINDS: Final = frozenset({"tmpfs", "ramfs"})

bound = partial(Row, slack=SLACK)


def rows(bench: Bench) -> tuple[Row, ...]:
    """Return the whole table."""
    return (
        *one_add(bench),
        *(row for processes in PROCESSES for row in durable_adds(bench, processes)),
        *durable_claims(bench),
        *many_adds(bench),
        *growth(bench),
        *listing(bench),
        *rebuilding(bench),
        *memory(bench),
    )


def one_add(bench: Bench) -> tuple[Row, ...]:
    """A whole `taskq add`, at a thousand tasks and at all of them."""
    bare, git = "`python -c pass`", "`git rev-parse`, as add calls it"
    few, many = f"`taskq add`, {SMALL:,} tasks", f"`taskq add`, {bench.tasks:,} tasks"

    def ask(_number: int) -> Work:
        base = "refs/heads/main^{commit}"
        argv = walled(("-C", str(bench.repo), "rev-parse", "--verify", "--quiet", "--end-of-options", base))
        return command(argv, environ=operator_environment())

    return (
        Row(name=bare, prepare=lambda _number: command([sys.executable, "-c", "pass"], environ=bench.environ)),
        Row(name=git, prepare=ask),
        Row(name=few, prepare=lambda number: _add(bench, bench.small, f"one-{number}")),
        bound(name=many, prepare=lambda number: _add(bench, bench.large, f"one-{number}"), against=few, at_most=1.25),
        bound(name=f"{many}, without its git", of=many, against=bare, without=git, at_most=6),
    )


def durable_adds(bench: Bench, processes: int) -> tuple[Row, ...]:
    """Adds by one or more processes, each add on disk before the next."""
    some = "1 process" if processes == 1 else f"{processes} processes"
    raw, ours, sqlite = f"raw append + fdatasync, {some}", f"taskq adds, {some}", f"SQLite WAL, FULL, {some}"
    play = partial(Played, bench=bench, processes=processes)
    slow = partial(play, count=SLOWER[processes])
    made = [
        play(role="raw-add", count=ADDS[processes]).row(raw),
        play(role="taskq-add", count=ADDS[processes], place=_queue_at, examine=_examine_adds).row(
            ours, against=raw, at_least=0.70
        ),
        slow(role="sqlite-add").row(sqlite, against=raw),
        slow(role="huey-add").row(f"huey adds, fsync, {some}", against=raw),
        slow(role="litequeue-add").row(f"litequeue adds, not synced each, {some}", against=raw),
    ]
    if processes == 1:
        made.append(slow(role="persist-queue-add").row(f"persist-queue adds, {some}", against=raw))
    if processes in AT_LEAST_OF_SQLITE:
        least = AT_LEAST_OF_SQLITE[processes]
        made.append(bound(name=f"{ours}, to SQLite", of=ours, unit=Unit.RATE, against=sqlite, at_least=least))
    return tuple(made)


def durable_claims(bench: Bench) -> tuple[Row, ...]:
    """Claims by eight processes at a time, out of a tenth of all the tasks; no task may be claimed twice."""
    raw = f"raw append + fdatasync of a claim, {MANY} processes"
    claims = Claims(expected=(bench.claims + 1) * MANY)
    play = partial(Played, bench=bench, processes=MANY)
    peer = partial(play, count=PEER_CLAIMS)
    ours = play(role="taskq-claim", count=bench.claims, place=lambda _fresh: bench.waiting, examine=claims.examine)
    alone = Played(
        bench=bench, role="persist-queue-claim", count=PEER_CLAIMS, place=lambda _fresh: bench.folder / "persist-queue"
    )
    return (
        play(role="raw-claim", count=ADDS[MANY], pattern=lambda: bench.claimed).row(raw),
        ours.row(f"taskq claims, {bench.medium:,} tasks, {MANY} processes", against=raw, at_least=0.5),
        peer(role="huey-claim", place=lambda _fresh: bench.folder / "huey").row(
            f"huey claims, {BACKLOG:,} tasks, {MANY} processes", against=raw
        ),
        peer(role="litequeue-claim", place=lambda _fresh: bench.folder / "litequeue").row(
            f"litequeue claims, {BACKLOG:,} tasks, {MANY} processes", against=raw
        ),
        alone.row(f"persist-queue claims, {BACKLOG:,} tasks, 1 process", against=raw),
    )


def many_adds(bench: Bench) -> tuple[Row, Row]:
    """Many tasks of one repository at once, whole processes."""
    bare = f"encode, one write, one sync, {bench.medium:,} lines"

    def write(number: int) -> Work:
        target = bench.folder / f"bare-bulk-{number}.jsonl"
        program = [sys.executable, str(_HERE / "bare_bulk.py"), str(bench.line), str(bench.medium), str(target)]
        return command(program, environ=bench.environ)

    def add(number: int) -> Work:
        queue = _queue_at(bench.folder / f"bulk-{number}")
        return command(bench.taskq(queue, "add", "--from", str(bench.bulk)), environ=bench.environ)

    name = f"`taskq add --from`, {bench.medium:,} tasks"
    return Row(name=bare, prepare=write), bound(name=name, prepare=add, against=bare, at_most=4)


def growth(bench: Bench) -> tuple[Row, ...]:
    """What may not grow with the queue: claims and counts by a store that was just opened, counts by taskq."""
    made: list[Row] = []
    for what, role in (("claims", "taskq-claim-anew"), ("counts", "taskq-counts-anew")):
        few, many = f"{ANEW} {what}, {SMALL:,} tasks", f"{ANEW} {what}, {bench.tasks:,} tasks"
        play = partial(Played, bench=bench, role=role, count=ANEW)
        ms = Unit.MILLISECONDS
        made += [
            play(place=lambda _fresh: bench.small).row(few, unit=ms),
            play(place=lambda _fresh: bench.large).row(many, unit=ms, against=few, at_most=1.25),
        ]
    asked = f"`taskq {' '.join(COUNTS)}`"
    few, many = f"{asked}, {SMALL:,} tasks", f"{asked}, {bench.tasks:,} tasks"
    return (
        *made,
        Row(name=few, prepare=lambda _number: command(bench.taskq(bench.small, *COUNTS), environ=bench.environ)),
        bound(
            name=many,
            prepare=lambda _number: command(bench.taskq(bench.large, *COUNTS), environ=bench.environ),
            against=few,
            at_most=1.25,
        ),
    )


def listing(bench: Bench) -> tuple[Row, Row]:
    """All that is known of a tenth of the tasks, as JSON into /dev/null, whole processes."""
    bare = f"typed load of the journal with msgspec, {bench.medium:,} tasks"

    def load(_number: int) -> Work:
        program = [sys.executable, str(_HERE / "bare_load.py"), str(bench.tenth / "tasks.jsonl")]
        return command(program, environ=bench.environ)

    def status(_number: int) -> Work:
        return command(bench.taskq(bench.tenth, "status", "--json"), environ=bench.environ)

    name = f"`taskq status --json`, {bench.medium:,} tasks"
    return Row(name=bare, prepare=load), bound(name=name, prepare=status, against=bare, at_most=3)


def rebuilding(bench: Bench) -> tuple[Row, Row]:
    """Opening the large queue and counting when its index is lost."""
    bare = f"typed scan of two fields with msgspec, {bench.tasks:,} tasks"
    ms = Unit.MILLISECONDS
    scan = Played(bench=bench, role="scan", place=lambda _fresh: bench.large / "tasks.jsonl")
    rebuild = Played(bench=bench, role="taskq-rebuild", place=lambda _fresh: bench.lost)
    return (
        scan.row(bare, unit=ms),
        rebuild.row(f"rebuild of a lost index, {bench.tasks:,} tasks", unit=ms, against=bare, at_most=10),
    )


def memory(bench: Bench) -> tuple[Row, Row]:
    """The most that a whole process holds at the large queue."""

    def add(number: int) -> Work:
        return _peak(bench, _add_command(bench, bench.large, f"peak-{number}"))

    def count(_number: int) -> Work:
        return _peak(bench, bench.taskq(bench.large, *COUNTS))

    at = f"{bench.tasks:,} tasks"
    return (
        bound(name=f"peak of `taskq add`, {at}", prepare=add, unit=Unit.MEMORY, at_most=60),
        bound(name=f"peak of `taskq {' '.join(COUNTS)}`, {at}", prepare=count, unit=Unit.MEMORY, at_most=60),
    )


def _add_command(bench: Bench, queue: Path, identifier: str) -> list[str]:
    what = ("--id", identifier, "--repo", str(bench.repo), "--base", "main", "--task", TEXT)
    return bench.taskq(queue, "add", *what, *HOW)


def _add(bench: Bench, queue: Path, identifier: str) -> Work:
    return command(_add_command(bench, queue, identifier), environ=bench.environ)


def _peak(bench: Bench, argv: Sequence[str]) -> Work:
    program = [sys.executable, str(_HERE / "bare_peak.py"), *argv]

    def work() -> float:
        ended = subprocess.run(program, env=bench.environ, stdout=subprocess.PIPE, check=True)
        return int(ended.stdout) / 1024

    return work


def _queue_at(fresh: Path) -> Path:
    return create_queue(fresh).root


def _examine_adds(place: Path, said: list[str]) -> None:
    written = (place / "tasks.jsonl").read_bytes().count(b'"kind":"task"')
    if len(set(said)) != written:
        raise RuntimeError(f"{len(said)} acknowledged adds and {written} in {place}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure; 1 when a target was missed, 2 when it cannot be measured here."""
    made = harness.parser(TITLE, rounds=ROUNDS)
    made.add_argument("--tasks", type=int, default=1_000_000, help="in the large queue; default: %(default)s")
    made.add_argument("--folder", type=Path, help="where the queues go; default: the system's temporary folder")
    options = harness.parsed(made, arguments)
    if options.tasks < 10 * SMALL:
        made.error(f"--tasks must be at least {10 * SMALL}")
    with tempfile.TemporaryDirectory(dir=options.folder) as scratch:
        kind = file_system(Path(scratch))
        if kind in _MEMORY_KINDS:
            made.error(f"{scratch} is in memory ({kind}); name a folder on a disk: --folder")
        enough = options.tasks // 10 // MANY // (options.rounds + WARM_UP) - 1  # each claims one more to warm up
        bench = Bench(folder=Path(scratch), tasks=options.tasks, claims=max(1, min(CLAIMS, enough)))
        return harness.run(TITLE, rows(bench), options, warm_up=WARM_UP, more={"file system": kind})


if __name__ == "__main__":
    sys.exit(main())
