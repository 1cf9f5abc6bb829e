"""Rows that are measured in turn within one run, so that their ratios can be trusted where their figures cannot.

Responsible for: rotating, warming up, medians, spreads, ratios and the verdict on each target.
Guarantees: both sides of a ratio come from the same round; a row of a rate or of memory has its figure as it is.
Not responsible for: what a row does; a row that fails stops the run.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

WARM_UP: Final = 2

Work = Callable[[], object]


class Unit(StrEnum):
    """What a row's figures are; memory is what its work returns, in MiB."""

    MILLISECONDS = "ms"
    RATE = "/s"
    MEMORY = "MiB"


class Verdict(StrEnum):
    """How a row stands to its target; past it, a row may still be within what it is allowed."""

    MET = "met"
    CLOSE = "close"
    MISSED = "missed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One thing to measure. *prepare* gets a number that is never given twice and returns what is timed.

    The ratio is (this row - the row *without*) / the row *against*. The target is for the ratio, or for the figure
    where there is none; past it by more than *slack*, a share of it, the row is missed. A rate is of *operations*.
    *check* gets the number too, when the clock has stopped. A row *of* another holds that one's figures against more.
    """

    name: str
    prepare: Callable[[int], Work] | None = None
    of: str | None = None
    unit: Unit = Unit.MILLISECONDS
    operations: int = 1
    against: str | None = None
    without: str | None = None
    at_most: float | None = None
    at_least: float | None = None
    slack: float = 0.0
    check: Callable[[int], object] | None = None

    @property
    def needs(self) -> frozenset[str]:
        """The rows without which this one says nothing."""
        return frozenset(name for name in (self.of, self.against, self.without) if name is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What one row took: its median, quartiles, and its ratio with the ratio's quartiles."""

    name: str
    unit: Unit
    median: float
    low: float
    high: float
    ratio: float | None
    ratio_low: float | None
    ratio_high: float | None
    at_most: float | None
    at_least: float | None
    slack: float

    @property
    def verdict(self) -> Verdict | None:
        """How the row stands to its target; None without one."""
        value = self.median if self.ratio is None else self.ratio
        if self.at_most is not None:
            past = value / self.at_most
        elif self.at_least is not None:
            past = self.at_least / value
        else:
            return None
        if past <= 1:
            return Verdict.MET
        return Verdict.CLOSE if past <= 1 + self.slack else Verdict.MISSED

    @property
    def missed(self) -> bool:
        """Whether the row has a target and is past it by more than it may be."""
        return self.verdict is Verdict.MISSED


def command(argv: Sequence[str], *, environ: Mapping[str, str] | None = None) -> Work:
    """Return work that runs *argv* from start to end and raises when it fails."""

    def run() -> None:
        ended = subprocess.run(
            argv, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False
        )
        if ended.returncode != 0:
            said = ended.stderr.decode("utf-8", "replace").strip()
            raise RuntimeError(f"exit {ended.returncode} from {' '.join(argv)}: {said}")

    return run


def measure(
    rows: Sequence[Row], *, rounds: int, warm_up: int = WARM_UP, clock: Callable[[], float] = time.perf_counter
) -> list[Measured]:
    """Run every row once per round, each round starting at another row, and sum up."""
    own = [row for row in rows if row.of is None]
    samples: dict[str, list[float]] = {row.name: [] for row in own}
    for number, row in _in_turn(own, rounds=rounds, warm_up=warm_up):
        value = _sample(row, number + warm_up, clock)
        if number >= 0:
            samples[row.name].append(value)
    return [summary(row, samples) for row in rows]


def _in_turn(rows: Sequence[Row], *, rounds: int, warm_up: int) -> Iterator[tuple[int, Row]]:
    """Yield each row once per round, the warm-up's rounds having negative numbers; say on a terminal where we are."""
    for number in range(-warm_up, rounds):
        first = number % len(rows)
        for row in (*rows[first:], *rows[:first]):
            if sys.stderr.isatty():
                sys.stderr.write(f"\r{number + 1}/{rounds} {row.name}\x1b[K")
            yield number, row
    if sys.stderr.isatty():
        sys.stderr.write("\r\x1b[K")


def _sample(row: Row, number: int, clock: Callable[[], float]) -> float:
    """Return one figure of *row*, in its unit."""
    if row.prepare is None:
        raise ValueError(f"the row {row.name!r} has nothing to measure")
    work = row.prepare(number)
    started = clock()
    outcome = work()
    took = clock() - started
    if row.check is not None:
        row.check(number)
    match row.unit:
        case Unit.MILLISECONDS:
            return took * 1000
        case Unit.RATE:
            return row.operations / took
        case Unit.MEMORY if isinstance(outcome, float):
            return outcome
    raise TypeError(f"the row {row.name!r} is of memory and its work returned {outcome!r}")


def summary(row: Row, samples: Mapping[str, Sequence[float]]) -> Measured:
    """Return the row's figures; its ratio is the median of the ratios of each round."""
    own = samples[row.of or row.name]
    low, median, high = quartiles(own)
    ratio = ratio_low = ratio_high = None
    if row.against is not None:
        taken_off = samples[row.without] if row.without is not None else [0.0] * len(own)
        sides = zip(own, taken_off, samples[row.against], strict=True)
        ratio_low, ratio, ratio_high = quartiles([(mine - less) / base for mine, less, base in sides])
    return Measured(
        name=row.name,
        unit=row.unit,
        median=median,
        low=low,
        high=high,
        ratio=ratio,
        ratio_low=ratio_low,
        ratio_high=ratio_high,
        at_most=row.at_most,
        at_least=row.at_least,
        slack=row.slack,
    )


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the first quartile, the median and the third quartile."""
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, statistics.median(values), high


def table(measured: Sequence[Measured]) -> str:
    """Return the figures as a markdown table."""
    lines = ["| what | median (quartiles) | ratio (quartiles) | target | |", "|---|---|---|---|---|"]
    for each in measured:
        ratio = "" if each.ratio is None else f"{each.ratio:.2f} ({each.ratio_low:.2f} to {each.ratio_high:.2f})"
        took = f"{_shown(each.median)} {each.unit} ({_shown(each.low)} to {_shown(each.high)})"
        lines.append(f"| {each.name} | {took} | {ratio} | {_target(each)} | {each.verdict or ''} |")
    return "\n".join(lines)


def _shown(value: float) -> str:
    return f"{value:.1f}" if value < 1000 else f"{value:,.0f}"


def _target(measured: Measured) -> str:
    if measured.at_most is not None:
        return f"at most {measured.at_most:g}"
    return "" if measured.at_least is None else f"at least {measured.at_least:g}"


def chosen(rows: Sequence[Row], pattern: str) -> list[Row]:
    """Return the rows with *pattern* in their name, ignoring case, and those that they need."""
    names = {row.name for row in rows if pattern.casefold() in row.name.casefold()}
    by_name = {row.name: row for row in rows}
    waiting = list(names)
    while waiting:
        for name in by_name[waiting.pop()].needs - names:
            names.add(name)
            waiting.append(name)
    return [row for row in rows if row.name in names]


def parser(title: str, *, rounds: int = 40) -> argparse.ArgumentParser:
    """Return the options of every script here; one may add its own."""
    made = argparse.ArgumentParser(description=title)
    made.add_argument("--rounds", type=int, default=rounds, help="how often each row is measured; default: %(default)s")
    made.add_argument(
        "--only", default="", metavar="TEXT", help="only rows with this in their name, and what they need"
    )
    made.add_argument("--json", action="store_true", help="print figures for machines")
    return made


def parsed(made: argparse.ArgumentParser, arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options as given; a wrong one ends the process."""
    options = made.parse_args(arguments)
    if options.rounds < 1:
        made.error("--rounds must be at least 1")
    return options


def main(title: str, rows: Sequence[Row], arguments: Sequence[str] | None = None) -> int:
    """Measure *rows* and print them; 1 when a target was missed."""
    return run(title, rows, parsed(parser(title), arguments))


def run(
    title: str,
    rows: Sequence[Row],
    options: argparse.Namespace,
    *,
    warm_up: int = WARM_UP,
    more: Mapping[str, object] = MappingProxyType({}),
) -> int:
    """Measure the rows that *options* ask for and print them with *more* circumstances; 1 when a target was missed."""
    wanted = chosen(rows, options.only)
    if rows and not wanted:
        sys.stderr.write(f"no row has {options.only!r} in its name; there are: {', '.join(row.name for row in rows)}\n")
        return 2
    before, started = os.getloadavg()[0], time.monotonic()
    measured = measure(wanted, rounds=options.rounds, warm_up=warm_up)
    circumstances = {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "cores": os.cpu_count(),
        "load": [round(before, 2), round(os.getloadavg()[0], 2)],
        "rounds": options.rounds,
        "minutes": round((time.monotonic() - started) / 60, 1),
        **more,
    }
    if options.json:
        figures = [{**asdict(each), "verdict": each.verdict, "missed": each.missed} for each in measured]
        sys.stdout.write(json.dumps({"title": title, "circumstances": circumstances, "rows": figures}, indent=2) + "\n")
    else:
        told = ", ".join(f"{name} {value}" for name, value in circumstances.items())
        sys.stdout.write(f"## {title}\n\n{table(measured)}\n\n{told}\n")
    return 1 if any(each.missed for each in measured) else 0
