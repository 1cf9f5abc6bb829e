import json
import subprocess
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from threading import Barrier, BrokenBarrierError, Thread

from orchestration.core.models import Task
from orchestration.core.status import Status
from orchestration.store.layout import QueueFolder
from orchestration.store.tasks import JournalTaskStore
from orchestration.support.files import Disk

Workers = Callable[..., list[list[str]]]


class UnlockedDisk(Disk):
    def lock(self, descriptor: int) -> None:
        """Let everybody in."""


def sequence(queue: QueueFolder) -> list[int]:
    return [json.loads(line)["seq"] for line in queue.journal.read_bytes().splitlines()]


def test_eight_processes_add_two_hundred_tasks_each_and_none_is_lost(
    queue: QueueFolder, run_workers: Workers, store: JournalTaskStore
) -> None:
    said = run_workers(*[("add", queue.root, f"w{number}", 200) for number in range(8)])
    snapshot = store.read()
    assert sorted(snapshot.tasks) == sorted(identifier for lines in said for identifier in lines)
    assert len(snapshot.tasks) == 1600
    assert sequence(queue) == list(range(1, 1602))  # one line more: the queue's own
    assert snapshot.damage == ()


def test_eight_processes_claim_two_hundred_tasks_and_none_twice(
    queue: QueueFolder, run_workers: Workers, store: JournalTaskStore, a_task: Callable[..., Task]
) -> None:
    store.add([a_task(f"t{number}") for number in range(200)], by="test")
    said = run_workers(*[("claim", queue.root, f"w{number}", 0) for number in range(8)])
    claims = Counter(identifier for lines in said for identifier in lines)
    assert claims == Counter({f"t{number}": 1 for number in range(200)})
    assert {task.status for task in store.read().tasks.values()} == {Status.PLANNING}


def test_without_the_lock_the_same_processes_do_damage(queue: QueueFolder, run_workers: Workers) -> None:
    """The control: the two tests above would fail if the lock did nothing."""
    store_unlocked = [("add", queue.root, f"w{number}", 25, "no-lock") for number in range(8)]
    try:
        run_workers(*store_unlocked)
    except AssertionError:
        return  # a worker met lines that nobody should have written
    numbers = sequence(queue)
    assert numbers != list(range(1, 202))


def claim_in_two_threads_at_once(open_store: Callable[..., JournalTaskStore], disk: Disk) -> list[Task | None]:
    """Let two writers, each with the queue opened anew, choose at the same time if they can."""
    meeting = Barrier(2)
    claims: list[Task | None] = []

    def how(task: Task) -> Task:
        with suppress(BrokenBarrierError):
            meeting.wait(timeout=0.5)
        return task.advance(Status.PLANNING, at=task.created_at)

    def claim() -> None:
        store = open_store(disk)
        claims.append(
            store.claim(
                lambda snapshot: next((t for t in snapshot.tasks.values() if t.status is Status.TODO), None),
                how,
                by="t",
            )
        )

    threads = [Thread(target=claim) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return claims


def test_the_lock_keeps_a_second_claimer_out_while_the_first_decides(
    open_store: Callable[..., JournalTaskStore], a_task: Callable[..., Task]
) -> None:
    open_store().add([a_task("only")], by="test")
    claims = claim_in_two_threads_at_once(open_store, Disk())
    assert sorted(claim.id if claim else "" for claim in claims) == ["", "only"]


def test_without_the_lock_two_claimers_get_the_same_task(
    open_store: Callable[..., JournalTaskStore], a_task: Callable[..., Task]
) -> None:
    """The control of the test above."""
    open_store().add([a_task("only")], by="test")
    claims = claim_in_two_threads_at_once(open_store, UnlockedDisk())
    assert [claim.id if claim else "" for claim in claims] == ["only", "only"]


def test_threads_that_share_one_store_lose_nothing(store: JournalTaskStore, a_task: Callable[..., Task]) -> None:
    def add(name: str) -> None:
        for number in range(50):
            store.add([a_task(f"{name}-{number}")], by=name)

    threads = [Thread(target=add, args=(f"t{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.read().tasks) == 200


def test_a_reader_sees_whole_appends_only_while_others_write(
    queue: QueueFolder, worker_command: Callable[..., list[str]], store: JournalTaskStore
) -> None:
    process = subprocess.Popen(
        worker_command("batch", queue.root, "b", 40), stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.stdin.write("go\n")
    process.stdin.flush()
    seen = []
    while process.poll() is None:
        snapshot = store.read()
        assert snapshot.damage == ()
        seen.append(len(snapshot.tasks))
    process.communicate()
    assert all(count % 20 == 0 for count in seen)
    assert seen == sorted(seen)
    assert len(store.read().tasks) == 800
