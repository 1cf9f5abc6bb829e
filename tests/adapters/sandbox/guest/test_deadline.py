"""Time limits of waiting: they ring when the time is over, and never once they are left."""

import threading
from typing import Final

from orchestration.adapters.sandbox.guest.deadline import Deadline

PATIENCE: Final = 20.0
SOON: Final = 0.01


def watchers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "taskq-deadlines"]


def rings(seconds: float) -> bool:
    """Return whether a deadline of its own rings; when it has, every earlier one had its turn."""
    rung = threading.Event()
    with Deadline(seconds, rung.set):
        return rung.wait(PATIENCE)


def test_a_deadline_rings_when_its_time_is_over() -> None:
    assert rings(SOON)


def test_a_deadline_that_was_left_never_rings() -> None:
    rung = threading.Event()
    with Deadline(SOON, rung.set):
        pass
    assert rings(SOON * 2)
    assert not rung.is_set()


def test_a_paused_deadline_waits_and_rings_afterwards() -> None:
    rung = threading.Event()
    with Deadline(SOON, rung.set) as deadline:
        with deadline.paused():
            assert rings(SOON * 2)
            assert not rung.is_set()
        assert rung.wait(PATIENCE)


def test_a_far_deadline_can_be_brought_forward() -> None:
    rung = threading.Event()
    with Deadline(3600, rung.set) as deadline:
        assert rings(SOON)
        assert not rung.is_set()
        deadline.bring_forward(SOON)
        assert rung.wait(PATIENCE)


def test_one_thread_watches_all_deadlines() -> None:
    with Deadline(3600, lambda: None), Deadline(3600, lambda: None):
        assert len(watchers()) == 1
