import json
import sys
from collections.abc import Callable, Iterator

import pytest

from benchmarks import harness
from benchmarks.harness import Row


class SteppedClock:
    """A clock that work moves on, so that figures are exact."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds

    def work(self, milliseconds: Iterator[float]) -> Callable[[int], harness.Work]:
        def prepare(_number: int) -> harness.Work:
            took = next(milliseconds)

            def run() -> None:
                self.seconds += took / 1000

            return run

        return prepare


def constantly(value: float) -> Iterator[float]:
    while True:
        yield value


def test_a_ratio_takes_one_row_off_and_divides_by_the_baseline() -> None:
    clock = SteppedClock()
    rows = [
        Row(name="bare", prepare=clock.work(constantly(10))),
        Row(name="child", prepare=clock.work(constantly(5))),
        Row(name="whole", prepare=clock.work(constantly(45)), against="bare", without="child", at_most=4),
    ]
    bare, _, whole = harness.measure(rows, rounds=5, clock=clock)
    assert bare.median == pytest.approx(10)
    assert bare.ratio is None
    assert whole.ratio == pytest.approx(4)


def test_both_sides_of_a_ratio_come_from_the_same_round() -> None:
    clock = SteppedClock()
    drifting = (0.0, 0.0, 10.0, 100.0, 1000.0)
    rows = [
        Row(name="bare", prepare=clock.work(iter(drifting))),
        Row(name="twice", prepare=clock.work(2 * value for value in drifting), against="bare", at_most=3),
    ]
    twice = harness.measure(rows, rounds=3, clock=clock)[1]
    assert (twice.ratio_low, twice.ratio, twice.ratio_high) == pytest.approx((2, 2, 2))
    assert not twice.missed


def test_each_round_starts_at_another_row_and_warm_up_is_not_counted() -> None:
    order: list[tuple[str, int]] = []

    def noting(name: str) -> Callable[[int], harness.Work]:
        return lambda number: lambda: order.append((name, number))

    harness.measure([Row(name=name, prepare=noting(name)) for name in "abc"], rounds=3)
    by_round = ["".join(name for name, number in order if number == each) for each in range(5)]
    assert sorted(by_round[2:]) == ["abc", "bca", "cab"]
    assert len(order) == 3 * (harness.WARM_UP + 3)


def test_preparing_is_not_timed() -> None:
    clock = SteppedClock()

    def prepare(_number: int) -> harness.Work:
        clock.seconds += 60
        return lambda: None

    assert harness.measure([Row(name="quick", prepare=prepare)], rounds=2, clock=clock)[0].median == 0


@pytest.mark.parametrize(("target", "code", "verdict"), [(1000.0, 0, "met"), (0.000001, 1, "missed")])
def test_a_missed_target_makes_the_run_fail(
    target: float, code: int, verdict: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        Row(name="bare", prepare=lambda _number: lambda: sum(range(1000))),
        Row(name="same", prepare=lambda _number: lambda: sum(range(1000)), against="bare", at_most=target),
    ]
    assert harness.main("toys", rows, ["--rounds", "5"]) == code
    assert f"| {verdict} |" in capsys.readouterr().out


def test_figures_for_machines_are_json(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [Row(name="bare", prepare=lambda _number: lambda: None)]
    assert harness.main("toys", rows, ["--rounds", "1", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["title"] == "toys"
    assert [row["name"] for row in told["rows"]] == ["bare"]
    assert told["circumstances"]["rounds"] == 1


def test_a_command_that_fails_is_no_measurement() -> None:
    work = harness.command([sys.executable, "-c", "raise SystemExit('no such thing')"])
    with pytest.raises(RuntimeError, match=r"exit 1 from .*: no such thing"):
        work()


def test_no_rounds_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        harness.main("toys", [], ["--rounds", "0"])
    assert "--rounds must be at least 1" in capsys.readouterr().err
