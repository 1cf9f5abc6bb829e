"""What the journal's figures rest on: queues like those that taskq writes, crowds that start together, honest peaks."""

import json
import os
import subprocess
import sys
import zlib
from collections import Counter
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from benchmarks import bare_load, bare_queues, store
from benchmarks.bare_bench import Bench, Claims, Played, file_system
from benchmarks.bare_crowd import Crowd
from benchmarks.bare_worker import ROLES
from benchmarks.harness import Row, Unit, chosen
from orchestration.core.status import Status
from orchestration.store import fsck
from orchestration.store.codec import TASK
from orchestration.store.line import decode_line, encode_line
from orchestration.store.tasks import JournalTaskStore
from orchestration.support.clock import SystemClock

HERE = Path(store.__file__).parent
TASKS = 200


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(folder=tmp_path, tasks=TASKS * 10, claims=5)


def tasks_of(queue: Path) -> dict[str, Status]:
    """Return what a process that just opened the queue reads."""
    return {identifier: task.status for identifier, task in JournalTaskStore(queue, SystemClock()).read().tasks.items()}


def journal(queue: Path) -> list[bytes]:
    return (queue / "tasks.jsonl").read_bytes().splitlines()


def test_a_made_queue_is_sound_to_the_last_line(bench: Bench) -> None:
    queue = bare_queues.make_queue(bench.folder / "made", bench.pattern, tasks=TASKS, done=True)
    report = fsck.check(queue)
    assert report.is_sound
    assert (report.tasks, report.lines) == (TASKS, 1 + TASKS + 4 * TASKS // 2)


def test_half_of_a_made_queue_was_brought_to_its_end_by_legal_moves(bench: Bench) -> None:
    queue = bare_queues.make_queue(bench.folder / "made", bench.pattern, tasks=TASKS, done=True)
    assert Counter(tasks_of(queue).values()) == {Status.TODO: TASKS // 2, Status.DONE: TASKS // 2}
    moves = [decode_line(line)["status"] for line in journal(queue) if b'"task-0000001"' in line]
    assert moves == ["todo", "planning", "building", "review", "done"]


def test_a_made_line_has_the_members_of_one_that_taskq_wrote(bench: Bench) -> None:
    queue = bare_queues.make_queue(bench.folder / "made", bench.pattern, tasks=1, done=False)
    ours, theirs = journal(bench.template)[1], journal(queue)[1]
    assert list(json.loads(theirs)) == list(json.loads(ours))


def test_every_made_line_is_as_the_store_encodes_it(bench: Bench) -> None:
    made = list(bare_queues.lines(bench.pattern, tasks=20, done=True))
    assert made == [encode_line(decode_line(line)) for line in made]


def test_taskq_adds_to_a_made_queue(bench: Bench) -> None:
    queue = bare_queues.make_queue(bench.folder / "made", bench.pattern, tasks=TASKS, done=True)
    more = bare_queues.record("one-more", bench.repo)
    bare_queues.add_many(queue, json.dumps(more).encode(), bench.environ)
    assert tasks_of(queue)["one-more"] is Status.TODO
    assert len(tasks_of(queue)) == TASKS + 1


def test_the_typed_load_knows_every_field_of_a_task() -> None:
    assert set(TASK) - set(bare_load.Line.__struct_fields__) == set()


def test_the_typed_load_refuses_what_is_of_another_type(bench: Bench) -> None:
    good = journal(bench.template)[1]
    path = bench.folder / "lines.jsonl"
    path.write_bytes(good)
    assert [line.id for line in bare_load.load(path)] == ["template"]
    path.write_bytes(good.replace(b'"priority":1', b'"priority":"1"'))
    with pytest.raises(ValueError, match="priority"):
        bare_load.load(path)


def test_a_scan_reads_every_line(bench: Bench) -> None:
    queue = bare_queues.make_queue(bench.folder / "made", bench.pattern, tasks=TASKS, done=True)
    assert bare_load.scan(queue / "tasks.jsonl") == len(journal(queue))


def test_bulk_lines_are_as_many_bytes_as_taskq_writes_for_the_same_tasks(bench: Bench) -> None:
    target = bench.folder / "bare.jsonl"
    program = [sys.executable, str(HERE / "bare_bulk.py"), str(bench.line), str(bench.medium), str(target)]
    subprocess.run(program, check=True)
    queue = store.create_queue(bench.folder / "bulk").root
    bare_queues.add_many(queue, bench.bulk.read_bytes(), bench.environ)
    ours = len(b"".join(journal(queue)[1:]))
    assert len(target.read_bytes()) == pytest.approx(ours, rel=0.02)
    assert {zlib.crc32(line.rpartition(b',"crc":')[0]) for line in target.read_bytes().splitlines()} == {
        int(json.loads(line)["crc"], 16) for line in target.read_bytes().splitlines()
    }


@pytest.mark.parametrize("name", sorted(ROLES))
def test_every_role_can_be_played(name: str) -> None:
    module, _, function = ROLES[name].target.partition(":")
    assert callable(getattr(import_module(module), function))


def test_a_crowd_appends_whole_lines_to_one_file(bench: Bench) -> None:
    place = bench.folder / "raw"
    crowd = bench.crowd("raw-add", place, processes=3, count=20)
    crowd.go()
    crowd.end()
    assert place.read_bytes() == (journal(bench.template)[1] + b"\n") * 3 * 21


def test_what_a_crowd_says_that_it_added_is_what_a_new_process_reads(bench: Bench) -> None:
    queue = store.create_queue(bench.folder / "queue").root
    crowd = bench.crowd("taskq-add", queue, processes=3, count=20)
    crowd.go()
    said = crowd.end()
    assert set(tasks_of(queue)) == set(said)
    assert len(said) == 3 * 21


def test_a_crowd_that_nobody_lets_go_does_nothing(bench: Bench) -> None:
    queue = store.create_queue(bench.folder / "queue").root
    assert bench.crowd("taskq-add", queue, processes=1, count=20).end() == []
    assert len(tasks_of(queue)) == 1, "the one that warms"


def test_a_worker_that_breaks_stops_the_run(bench: Bench, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError, match="a worker said '' in place of 'ready'"):
        Crowd([("taskq-add", str(bench.folder / "queue"), "a", "1", str(bench.folder / "no-template"))])
    assert "Error" in capfd.readouterr().err


def test_rounds_of_claims_give_no_task_twice(bench: Bench) -> None:
    claims = Claims(expected=2 * 6)
    play = Played(
        bench=bench, role="taskq-claim", processes=2, count=5, place=lambda _fresh: queue, examine=claims.examine
    )
    queue = bare_queues.make_queue(bench.folder / "made", bench.pattern, tasks=TASKS, done=False)
    row = play.row("claims")
    assert row.prepare is not None
    assert row.check is not None
    for number in range(2):
        row.prepare(number)()
        row.check(number)
    assert sorted(claims.seen) == sorted(name for name, status in tasks_of(queue).items() if status is Status.PLANNING)
    assert len(claims.seen) == 24


@pytest.mark.parametrize("said", [["a", "b", "b"], ["a", "c"], ["a", "b", "first"]])
def test_a_task_that_is_claimed_twice_or_not_at_all_stops_the_run(said: list[str], tmp_path: Path) -> None:
    claims = Claims(expected=3, seen={"first"})
    with pytest.raises(RuntimeError, match="claims of 3"):
        claims.examine(tmp_path, said)


def test_the_peak_is_that_of_the_command_and_not_of_who_asked() -> None:
    asking = bytearray(os.urandom(1)) * (300 * 1024**2)
    small, large = (peak(f"x = bytearray(b'x') * {mebibytes} * 1024**2") for mebibytes in (1, 150))
    assert small < 60
    assert 150 < large < 250
    assert len(asking) > large


def test_a_command_that_fails_has_no_peak() -> None:
    ended = subprocess.run([sys.executable, str(HERE / "bare_peak.py"), "false"], stdout=subprocess.PIPE, check=False)
    assert ended.returncode == 1


def test_a_folder_in_memory_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    memory = Path("/dev/shm")
    if not memory.is_dir() or file_system(memory) != "tmpfs":
        pytest.skip("there is no file system in memory at its usual place")
    with pytest.raises(SystemExit, match="2"):
        store.main(["--folder", str(memory)])
    assert "is in memory (tmpfs); name a folder on a disk" in capsys.readouterr().err


def test_every_row_has_all_that_it_is_held_against(bench: Bench) -> None:
    rows = store.rows(bench)
    names = [row.name for row in rows]
    assert len(set(names)) == len(names)
    assert {need for row in rows for need in row.needs} <= set(names)
    for row in targets(rows):
        needed = chosen(rows, row.name)
        assert row in needed
        assert row.slack == pytest.approx(0.2)


def test_the_targets_are_those_that_were_agreed(bench: Bench) -> None:
    rows = store.rows(bench)
    most = sorted((row.at_most for row in targets(rows) if row.at_most is not None), reverse=True)
    least = sorted((row.at_least for row in targets(rows) if row.at_least is not None), reverse=True)
    assert most == [60, 60, 10, 6, 4, 3, 1.25, 1.25, 1.25, 1.25]
    assert least == [2, 1.5, 0.7, 0.7, 0.7, 0.5]
    assert {row.unit for row in targets(rows) if row.at_least is not None} == {Unit.RATE}


def targets(rows: tuple[Row, ...]) -> Iterator[Row]:
    return (row for row in rows if row.at_most is not None or row.at_least is not None)


def peak(program: str) -> float:
    """Return the MiB that a Python with this program held at most."""
    command = [sys.executable, str(HERE / "bare_peak.py"), sys.executable, "-c", program]
    return int(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout) / 1024
