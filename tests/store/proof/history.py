"""What really happened, from the journal's bytes alone, and whether it is what every process was told.

Not responsible for: reading lines as the store does; this is a reading of its own, so that it can disagree.
"""

import json
import re
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

from orchestration.core.status import TRANSITIONS, Status

CHECKSUM = re.compile(rb'(.*),"crc":"([0-9a-f]{8})"\}', re.DOTALL)


class Said(NamedTuple):
    """One acknowledgement: to *by*, that the task has this revision now."""

    deed: str
    id: str
    rev: int
    status: str
    attempt: int
    by: str


class Past(NamedTuple):
    """A task as it was in one of its revisions."""

    rev: int
    by: str
    status: str
    attempt: int
    removed: bool


def heard(lines: Iterable[str]) -> list[Said]:
    """Return what a worker's lines say; a line that its death cut short says nothing."""
    return [Said(**json.loads(line)) for line in lines if line.startswith("{") and line.endswith("}")]


def faults(journal: bytes, said: Iterable[Said]) -> list[str]:
    """Return everything in which the journal is not the history that *said* tells of."""
    told = list(said)
    lines = list(_lines(journal))
    pasts = _pasts(line for line in lines if line is not None)
    found = [f"line {number} is no line of ours" for number, line in enumerate(lines, 1) if line is None]
    found += _wrong_numbers([line["seq"] for line in lines if line is not None])
    for identifier, past in pasts.items():
        found += [f"{identifier}: {problem}" for problem in (*_wrong_revisions(past), *_wrong_moves(past))]
    found += [f"{each}: acknowledged, but the journal has {there}" for each, there in _lost(told, pasts)]
    found += [f"{key}: acknowledged to {many}" for key, many in _shared(told)]
    return found


def living(journal: bytes) -> dict[str, int]:
    """Return the tasks that are there at the end, each with its revision."""
    lines = [line for line in _lines(journal) if line is not None]
    while lines and "more" in lines[-1]:  # the beginning of a change that never ended
        lines.pop()
    pasts = _pasts(lines)
    return {identifier: past[-1].rev for identifier, past in pasts.items() if not past[-1].removed}


def _lines(journal: bytes) -> Iterator[dict[str, Any] | None]:
    for raw in journal.split(b"\n")[:-1]:
        match = CHECKSUM.fullmatch(raw)
        yield json.loads(raw) if match and int(match[2], 16) == zlib.crc32(match[1]) else None


def _pasts(lines: Iterable[dict[str, Any]]) -> dict[str, list[Past]]:
    pasts: dict[str, list[Past]] = defaultdict(list)
    for line in lines:
        if line["kind"] != "task":
            continue
        past = pasts[line["id"]]
        before = past[-1] if past else Past(0, "", "", 0, removed=True)
        past.append(
            Past(
                line["rev"],
                line["by"],
                line.get("status", before.status),
                line.get("attempt", before.attempt),
                removed=line.get("removed", False),
            )
        )
    return pasts


def _wrong_numbers(numbers: list[int]) -> list[str]:
    expected = range(1, len(numbers) + 1)
    return [f"seq {number} where {due} is due" for number, due in zip(numbers, expected, strict=True) if number != due]


def _wrong_revisions(past: list[Past]) -> Iterator[str]:
    for due, state in enumerate(past, 1):
        if state.rev != due:
            yield f"rev {state.rev} where {due} is due"


def _wrong_moves(past: list[Past]) -> Iterator[str]:
    for before, after in pairwise(past):
        if before.removed and after.removed:
            yield f"rev {after.rev} removes what is gone"
        elif not before.removed and after.status not in {before.status, *TRANSITIONS[Status(before.status)]}:
            yield f"rev {after.rev} goes from {before.status} to {after.status}"
    if past[0].status != Status.TODO:
        yield f"begins as {past[0].status}"


def _lost(told: Iterable[Said], pasts: Mapping[str, list[Past]]) -> Iterator[tuple[Said, list[Past]]]:
    for each in told:
        due = Past(each.rev, each.by, each.status, each.attempt, removed=each.deed == "remove")
        if due not in pasts.get(each.id, ()):
            yield each, pasts.get(each.id, [])


def _shared(told: Iterable[Said]) -> Iterator[tuple[str, list[str]]]:
    """Yield the revisions and the attempts that were acknowledged to more than one."""
    owners: dict[str, Counter[str]] = defaultdict(Counter)
    for each in told:
        owners[f"{each.id} rev {each.rev}"][each.by] += 1
        if each.deed == "claim":
            owners[f"{each.id} attempt {each.attempt}"][each.by] += 1
    yield from ((key, sorted(many.elements())) for key, many in owners.items() if many.total() > 1)
