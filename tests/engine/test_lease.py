import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from orchestration.core.errors import BusyError
from orchestration.engine.lease import hold, is_held

HOLDER = """
import sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from orchestration.engine.lease import hold
with hold(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lease"


def test_a_lease_is_held_for_the_length_of_the_block(path: Path) -> None:
    assert not is_held(path)
    with hold(path):
        assert is_held(path)
    assert not is_held(path)


def test_a_held_lease_refuses_another_thread_and_says_where(path: Path) -> None:
    refused: list[BusyError] = []

    def try_to_hold() -> None:
        try:
            with hold(path):
                pass
        except BusyError as error:
            refused.append(error)

    with hold(path):
        thread = threading.Thread(target=try_to_hold)
        thread.start()
        thread.join()
    assert [str(error) for error in refused] == [f"another process holds the attempt in {path.parent}"]


def test_a_lease_is_free_when_its_holder_was_killed(path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(path), str(ROOT)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert is_held(path)
        with pytest.raises(BusyError), hold(path):
            pass
        holder.kill()
    with hold(path):
        assert is_held(path)


def test_a_program_that_is_started_meanwhile_does_not_hold_the_lease(path: Path) -> None:
    with hold(path):
        child = subprocess.Popen(["sleep", "1000"], close_fds=False)
    try:
        assert not is_held(path)
    finally:
        child.kill()
        child.wait()


def test_a_program_that_is_handed_the_descriptor_holds_the_lease_until_it_ends(path: Path) -> None:
    with hold(path) as lease:
        child = subprocess.Popen(["sleep", "1000"], pass_fds=(lease,))
    try:
        assert is_held(path)
    finally:
        child.kill()
        child.wait()
    assert not is_held(path)


def test_a_look_at_a_lease_never_keeps_a_runner_from_taking_it(path: Path) -> None:
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            is_held(path)

    watchers = [threading.Thread(target=look) for _ in range(2)]
    for watcher in watchers:
        watcher.start()
    try:
        for _ in range(500):
            with hold(path) as lease:
                assert os.fstat(lease).st_size == 0
    finally:
        over.set()
        for watcher in watchers:
            watcher.join()


def test_two_looks_at_a_free_lease_do_not_take_each_other_for_a_holder(path: Path) -> None:
    path.touch()
    seen: set[bool] = set()

    def look() -> None:
        for _ in range(2000):
            seen.add(is_held(path))

    watchers = [threading.Thread(target=look) for _ in range(2)]
    for watcher in watchers:
        watcher.start()
    for watcher in watchers:
        watcher.join()
    assert seen == {False}


def test_a_link_in_the_place_of_a_lease_is_not_followed(path: Path, tmp_path: Path) -> None:
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic"), hold(path):
        pass
    assert not (tmp_path / "elsewhere").exists()
