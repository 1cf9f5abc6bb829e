"""Processes that add, claim, finish and are killed, on one queue; the journal is held against what each was told."""

import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import pytest

from orchestration.store import fsck
from orchestration.store.layout import QueueFolder
from orchestration.store.tasks import JournalTaskStore
from tests.store.proof.history import Said, faults, heard, living

if TYPE_CHECKING:
    import subprocess

SEED = 20261121
OpenStore = Callable[[], JournalTaskStore]
Living = Callable[..., "subprocess.Popen[str]"]


def go(*processes: "subprocess.Popen[str]") -> None:
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()


def listen(process: "subprocess.Popen[str]", into: list[str]) -> threading.Thread:
    """Take down what *process* says, so that it never waits for us."""
    thread = threading.Thread(target=lambda: into.extend(line.rstrip("\n") for line in process.stdout or ()))
    thread.start()
    return thread


def live_together(start_worker: Living, *options: str, processes: int, steps: int, killed: Sequence[int]) -> list[Said]:
    """Let *processes* live; those that are *killed* die amid it. Return all that they acknowledged."""
    lives = [
        start_worker("live", f"w{each}", "eager-index", *options, count=steps, seed=SEED + each)
        for each in range(processes)
    ]
    said: list[list[str]] = [[] for _ in lives]
    listeners = [listen(life, lines) for life, lines in zip(lives, said, strict=True)]
    go(*lives)
    for each in killed:
        while len(said[each]) < steps // 5 and listeners[each].is_alive():
            os.sched_yield()
        lives[each].kill()
    for listener in listeners:
        listener.join()
    assert [lives[each].wait() for each in killed] == [-signal.SIGKILL] * len(killed)
    return heard(line for lines in said for line in lines)


@pytest.mark.parametrize(
    "steps", [pytest.param(150, marks=pytest.mark.full), pytest.param(600, marks=pytest.mark.soak)]
)
def test_four_processes_live_on_one_queue_two_are_killed_and_the_history_is_whole(
    steps: int, queue: QueueFolder, start_worker: Living, open_eager: OpenStore, a_task: Callable
) -> None:
    sys.stdout.write(f"seed {SEED}\n")
    said = live_together(start_worker, processes=4, steps=steps, killed=(1, 3))
    open_eager().add([a_task("last")], by="test")
    assert faults(queue.journal.read_bytes(), said) == []
    assert {each.deed for each in said} == {"add", "claim", "move", "remove"}
    assert fsck.check(queue.root).is_sound


@pytest.mark.full
def test_without_the_lock_the_same_lives_contradict_the_journal(queue: QueueFolder, start_worker: Living) -> None:
    """The control: the checker sees what goes wrong when everybody is let in."""
    said = live_together(start_worker, "no-lock", processes=4, steps=150, killed=())
    assert faults(queue.journal.read_bytes(), said) != []


def kill_at_random(rounds: int, queue: QueueFolder, start_worker: Living, open_eager: OpenStore) -> list[Said]:
    """Kill one life after the other at a random moment; look with a store opened anew each time."""
    chance = random.Random(SEED)
    nursery = start_worker("nursery", "k", "eager-index", seed=SEED)
    assert nursery.stdin is not None
    assert nursery.stdout is not None
    go(nursery)
    said: list[Said] = []
    for _ in range(rounds):
        nursery.stdin.write("one more\n")
        nursery.stdin.flush()
        life = int(nursery.stdout.readline())
        lines = [nursery.stdout.readline()]
        deadline = time.monotonic() + chance.uniform(0, 0.03)
        while time.monotonic() < deadline:
            os.sched_yield()
        os.kill(life, signal.SIGKILL)
        while not lines[-1].endswith("gone\n"):  # the last words of the dead may stand before it on its line
            lines.append(nursery.stdout.readline())
        said += heard(line.strip() for line in lines)
        journal = queue.journal.read_bytes()
        assert faults(journal, said) == []
        assert {str(task.id): task.rev for task in open_eager().read().tasks.values()} == living(journal)
    return said


@pytest.mark.parametrize(
    "rounds", [pytest.param(25, marks=pytest.mark.full), pytest.param(200, marks=pytest.mark.soak)]
)
def test_killed_at_a_random_moment_nothing_acknowledged_is_lost_with_the_index_deleted_meanwhile(
    rounds: int, queue: QueueFolder, start_worker: Living, open_eager: OpenStore, a_task: Callable
) -> None:
    sys.stdout.write(f"seed {SEED}\n")
    forgetful = start_worker("forget", "f")
    go(forgetful)
    said = kill_at_random(rounds, queue, start_worker, open_eager)
    forgotten, _ = forgetful.communicate("enough\n")
    sys.stdout.write(f"{forgotten.strip()} times there was an index to delete\n")
    assert int(forgotten) > 0
    open_eager().add([a_task("last")], by="test")
    assert len(said) >= rounds
    assert faults(queue.journal.read_bytes(), said) == []
    assert fsck.check(queue.root).is_sound


def test_the_checker_finds_what_is_missing_twice_or_off_the_table(queue: QueueFolder, start_worker: Living) -> None:
    """The control of the checker itself, on a history that is bent by hand."""
    life = start_worker("live", "w", count=40, seed=SEED)
    said = heard(life.communicate("go\n")[0].splitlines())
    lines = queue.journal.read_bytes().splitlines(keepends=True)
    assert faults(b"".join(lines), said) == []
    assert "where" in faults(b"".join(lines[:5] + lines[6:]), said)[0]
    assert "is due" in faults(b"".join([*lines, lines[-1]]), said)[0]
    assert "no line" in faults(b"".join([*lines[:-1], lines[-1].replace(b'"', b"'", 1)]), said)[0]
    assert "acknowledged" in faults(b"".join(lines[:-1]), said)[0]
    assert "acknowledged to" in faults(b"".join(lines), [*said, said[0]._replace(by="other")])[-1]
