"""Rows that are measured in turn within one run, so that their ratios can be trusted where their figures cannot.

Responsible for: rotating, warming up, medians, spreads, ratios and the verdict on each target.
Guarantees: both sides of a ratio come from the same round.
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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final

WARM_UP: Final = 2

Work = Callable[[], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One thing to measure. *prepare* gets a number that is never given twice and returns what is timed.

    The ratio is (this row - the row *without*) / the row *against*; *at_most* is its target.
    """

    name: str
    prepare: Callable[[int], Work]
    against: str | None = None
    without: str | None = None
    at_most: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What one row took: milliseconds, quartiles, and its ratio with the ratio's quartiles."""

    name: str
    median: float
    low: float
    high: float
    ratio: float | None
    ratio_low: float | None
    ratio_high: float | None
    at_most: float | None

    @property
    def missed(self) -> bool:
        """Whether the row has a target and is over it."""
        return self.at_most is not None and self.ratio is not None and self.ratio > self.at_most


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


def measure(rows: Sequence[Row], *, rounds: int, clock: Callable[[], float] = time.perf_counter) -> list[Measured]:
    """Run every row once per round, each round starting at another row, and sum up."""
    samples: dict[str, list[float]] = {row.name: [] for row in rows}
    for number in range(-WARM_UP, rounds):
        first = number % len(rows)
        for row in (*rows[first:], *rows[:first]):
            work = row.prepare(number + WARM_UP)
            started = clock()
            work()
            took = clock() - started
            if number >= 0:
                samples[row.name].append(took * 1000)
    return [summary(row, samples) for row in rows]


def summary(row: Row, samples: Mapping[str, Sequence[float]]) -> Measured:
    """Return the row's figures; its ratio is the median of the ratios of each round."""
    own = samples[row.name]
    low, median, high = quartiles(own)
    ratio = ratio_low = ratio_high = None
    if row.against is not None:
        taken_off = samples[row.without] if row.without is not None else [0.0] * len(own)
        sides = zip(own, taken_off, samples[row.against], strict=True)
        ratio_low, ratio, ratio_high = quartiles([(mine - less) / base for mine, less, base in sides])
    return Measured(
        name=row.name,
        median=median,
        low=low,
        high=high,
        ratio=ratio,
        ratio_low=ratio_low,
        ratio_high=ratio_high,
        at_most=row.at_most,
    )


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the first quartile, the median and the third quartile."""
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, statistics.median(values), high


def table(measured: Sequence[Measured]) -> str:
    """Return the figures as a markdown table."""
    lines = ["| what | ms, median (quartiles) | ratio (quartiles) | at most | |", "|---|---|---|---|---|"]
    for each in measured:
        ratio = "" if each.ratio is None else f"{each.ratio:.2f} ({each.ratio_low:.2f} to {each.ratio_high:.2f})"
        target = "" if each.at_most is None else f"{each.at_most:g}"
        verdict = "" if each.at_most is None else "missed" if each.missed else "met"
        took = f"{each.median:.1f} ({each.low:.1f} to {each.high:.1f})"
        lines.append(f"| {each.name} | {took} | {ratio} | {target} | {verdict} |")
    return "\n".join(lines)


def main(title: str, rows: Sequence[Row], arguments: Sequence[str] | None = None) -> int:
    """Measure *rows* and print them; 1 when a target was missed."""
    parser = argparse.ArgumentParser(description=title)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--json", action="store_true", help="print figures for machines")
    options = parser.parse_args(arguments)
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    before = os.getloadavg()[0]
    measured = measure(rows, rounds=options.rounds)
    circumstances = {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "cores": os.cpu_count(),
        "load": [round(before, 2), round(os.getloadavg()[0], 2)],
        "rounds": options.rounds,
    }
    if options.json:
        figures = [{**asdict(each), "missed": each.missed} for each in measured]
        sys.stdout.write(json.dumps({"title": title, "circumstances": circumstances, "rows": figures}, indent=2) + "\n")
    else:
        told = ", ".join(f"{name} {value}" for name, value in circumstances.items())
        sys.stdout.write(f"## {title}\n\n{table(measured)}\n\n{told}\n")
    return 1 if any(each.missed for each in measured) else 0
