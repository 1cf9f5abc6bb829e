import json
import sys
from collections.abc import Callable, Iterator

import pytest

from benchmarks import harness
from benchmarks.harness import Row, Unit


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


def test_a_rate_is_held_against_another_and_more_is_better() -> None:
    clock = SteppedClock()
    rows = [
        Row(name="limit", prepare=clock.work(constantly(100)), unit=Unit.RATE, operations=50),
        Row(
            name="ours",
            prepare=clock.work(constantly(200)),
            unit=Unit.RATE,
            operations=80,
            against="limit",
            at_least=0.7,
        ),
    ]
    limit, ours = harness.measure(rows, rounds=3, clock=clock)
    assert (limit.median, ours.median) == pytest.approx((500, 400))
    assert ours.ratio == pytest.approx(0.8)
    assert ours.verdict == "met"


@pytest.mark.parametrize(("mebibytes", "verdict"), [(60.0, "met"), (72.0, "close"), (72.5, "missed")])
def test_memory_is_what_the_work_returns_and_its_target_is_for_the_figure(mebibytes: float, verdict: str) -> None:
    row = Row(name="peak", prepare=lambda _number: lambda: mebibytes, unit=Unit.MEMORY, at_most=60, slack=0.2)
    (peak,) = harness.measure([row], rounds=3)
    assert peak.median == pytest.approx(mebibytes)
    assert peak.verdict == verdict


def test_work_that_returns_no_memory_is_no_measurement() -> None:
    row = Row(name="peak", prepare=lambda _number: lambda: None, unit=Unit.MEMORY)
    with pytest.raises(TypeError, match="peak"):
        harness.measure([row], rounds=1)


@pytest.mark.parametrize(
    ("took", "slack", "verdict"),
    [(90, 0.2, "met"), (110, 0.2, "close"), (130, 0.2, "missed"), (110, 0, "missed")],
)
def test_a_rate_may_be_past_its_target_by_its_slack(took: float, slack: float, verdict: str) -> None:
    clock = SteppedClock()
    rows = [
        Row(name="limit", prepare=clock.work(constantly(100)), unit=Unit.RATE),
        Row(
            name="ours", prepare=clock.work(constantly(took)), unit=Unit.RATE, against="limit", at_least=1, slack=slack
        ),
    ]
    ours = harness.measure(rows, rounds=2, clock=clock)[1]
    assert ours.verdict == verdict
    assert ours.missed is (verdict == "missed")


def test_figures_of_a_row_are_held_against_a_second_one_without_measuring_again() -> None:
    clock = SteppedClock()
    measured = iter([0.0, 0.0, 30.0, 60.0])
    rows = [
        Row(name="small", prepare=clock.work(constantly(20))),
        Row(name="bare", prepare=clock.work(constantly(10))),
        Row(name="large", prepare=clock.work(measured), against="small"),
        Row(name="large to bare", of="large", against="bare", at_most=4),
    ]
    once, again = harness.measure(rows, rounds=2, clock=clock)[2:]
    assert (once.ratio, again.ratio) == pytest.approx((2.25, 4.5))
    assert again.verdict == "missed"


def test_what_was_done_is_checked_when_the_clock_has_stopped() -> None:
    clock = SteppedClock()
    checked: list[int] = []

    def check(number: int) -> None:
        clock.seconds += 60
        checked.append(number)

    row = Row(name="ours", prepare=clock.work(constantly(10)), check=check)
    assert harness.measure([row], rounds=2, warm_up=1, clock=clock)[0].high == pytest.approx(10)
    assert checked == [0, 1, 2]


def test_only_some_rows_come_with_all_that_they_are_held_against(capsys: pytest.CaptureFixture[str]) -> None:
    def idle(_number: int) -> harness.Work:
        return lambda: sum(range(1000))

    rows = [
        Row(name="bare", prepare=idle),
        Row(name="other", prepare=idle),
        Row(name="whole", prepare=idle, against="bare"),
        Row(name="Twice", of="whole", against="bare"),
    ]
    assert harness.main("toys", rows, ["--rounds", "1", "--only", "twice", "--json"]) == 0
    assert [row["name"] for row in json.loads(capsys.readouterr().out)["rows"]] == ["bare", "whole", "Twice"]
    assert harness.main("toys", rows, ["--rounds", "1", "--only", "absent"]) == 2
    assert "no row has 'absent' in its name; there are: bare, other" in capsys.readouterr().err


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
