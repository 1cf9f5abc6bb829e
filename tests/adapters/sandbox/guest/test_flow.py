"""Much output, and readers that are slow: nothing grows, nothing blocks for ever, and it is quick."""

import os
import threading
import time
from datetime import timedelta
from pathlib import Path

from orchestration.core.ports import Exit, Stream
from tests.adapters.sandbox.guest.guests import OWN, Guest


def resident(pid: int | str) -> int:
    """Return how many bytes of memory a process has in use; of one that is not to be looked at, too."""
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGESIZE")


def test_a_hundred_megabytes_are_carried_quickly_and_not_kept(guest: Guest) -> None:
    sizes: list[int] = []
    memory: list[int] = []

    def output(_stream: Stream, chunk: bytes) -> None:
        sizes.append(len(chunk))
        memory.append(resident("self"))

    began = time.process_time()
    exit_ = guest.run_into(output, "head", "-c", "100000000", "/dev/zero")
    assert exit_.succeeded
    assert sum(sizes) == 100_000_000
    assert max(memory) - memory[0] < 20_000_000
    assert resident(guest.process.pid) < 8_000_000
    assert exit_.elapsed < timedelta(seconds=5), "well below 2 s on a quiet machine"
    assert time.process_time() - began < 2


def test_while_nobody_reads_the_command_waits_and_its_time_limit_holds(guest: Guest) -> None:
    waiting, go_on = threading.Event(), threading.Event()
    sizes: list[int] = []
    results: list[Exit] = []

    def output(_stream: Stream, chunk: bytes) -> None:
        waiting.set()
        go_on.wait(20)
        sizes.append(len(chunk))

    def work() -> None:
        results.append(guest.run_into(output, "yes", f"74002.{OWN}", seconds=0.3))

    thread = threading.Thread(target=work)
    thread.start()
    assert waiting.wait(20)
    children = Path(f"/proc/{guest.process.pid}/task/{guest.process.pid}/children")
    deadline = time.monotonic() + 20
    while children.read_text(encoding="ascii"):
        assert time.monotonic() < deadline, "the command outlived its time limit because nobody read"
    assert resident(guest.process.pid) < 8_000_000
    go_on.set()
    thread.join(20)
    assert results[0].timed_out
    assert results[0].elapsed < timedelta(seconds=20)
    assert 65_536 < sum(sizes) < 4_000_000, "what was on the way has arrived, and the command had to wait"


def test_a_program_that_echoes_all_of_a_large_input_does_not_lock_up(guest: Guest) -> None:
    total = 0

    def output(_stream: Stream, chunk: bytes) -> None:
        nonlocal total
        total += len(chunk)

    exit_ = guest.run_into(output, "cat", stdin=bytes(20_000_000))
    assert (exit_.succeeded, total) == (True, 20_000_000)


def test_both_streams_at_once_arrive_in_full(guest: Guest) -> None:
    sizes = {"stdout": 0, "stderr": 0}

    def output(stream: Stream, chunk: bytes) -> None:
        sizes[stream] += len(chunk)

    guest.run_into(
        output, "/bin/sh", "-c", "head -c 5000000 /dev/zero & head -c 6000000 /dev/zero >&2 & wait", seconds=30
    )
    assert sizes == {"stdout": 5_000_000, "stderr": 6_000_000}
