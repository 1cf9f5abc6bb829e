"""What is kept of refusals, and how it is read back."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestration.adapters.sandbox.egress.record import LINES, Record, read
from orchestration.core.facts import RefusedHost


@pytest.fixture
def open_record(record_path: Path) -> Iterator[Callable[[], Record]]:
    """Return a function that opens the record anew, as each forwarder does."""
    descriptor = os.open(record_path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    yield lambda: Record(descriptor)
    os.close(descriptor)


def test_refusals_are_grouped_and_counted_the_first_seen_first(
    open_record: Callable[[], Record], record_path: Path
) -> None:
    record = open_record()
    for host in ("b.example", "a.example", "b.example"):
        record.add(host, 443, "not in the allow-list")
    record.add("b.example", 80, "not in the allow-list")
    assert read(record_path) == (
        RefusedHost(host="b.example", port=443, reason="not in the allow-list", count=2),
        RefusedHost(host="a.example", port=443, reason="not in the allow-list"),
        RefusedHost(host="b.example", port=80, reason="not in the allow-list"),
    )


def test_a_record_has_at_most_its_lines_and_one_that_counts_the_rest(
    open_record: Callable[[], Record], record_path: Path
) -> None:
    for _ in range(2):
        record = open_record()
        for _ in range(LINES):
            record.add("a.example", 443, "x")
        record.close()
    assert len(record_path.read_bytes().splitlines()) == LINES + 1
    found = read(record_path)
    assert [each.count for each in found] == [LINES, LINES]
    assert found[1].host == "(others)"


def test_no_more_than_a_hundred_are_returned_and_none_is_lost_from_the_count(
    open_record: Callable[[], Record], record_path: Path
) -> None:
    record = open_record()
    for number in range(300):
        record.add(f"h{number}.example", 443, "x")
    found = read(record_path)
    assert len(found) == 100
    assert found[0].host == "h0.example"
    assert found[-1].host == "(others)"
    assert sum(each.count for each in found) == 300


def test_a_hundred_are_returned_as_they_are(open_record: Callable[[], Record], record_path: Path) -> None:
    record = open_record()
    for number in range(100):
        record.add(f"h{number}.example", 443, "x")
    assert [each.host for each in read(record_path)] == [f"h{number}.example" for number in range(100)]


def test_a_line_that_was_cut_short_still_counts(open_record: Callable[[], Record], record_path: Path) -> None:
    record_path.write_bytes(b'{"at": "2026-11-21T09:00:00+00:00", "ho\n')
    open_record().add("a.example", 443, "x")
    assert [(each.host, each.count) for each in read(record_path)] == [("a.example", 1), ("(others)", 1)]


@pytest.mark.parametrize("host", ["\x1b]52;c;x\x07", "a\nb", "\u202eevil", "\ud800", "x" * 5000, "\0" * 5000])
def test_a_host_is_kept_printable_and_short(host: str, open_record: Callable[[], Record], record_path: Path) -> None:
    open_record().add(host, None, "x")
    (found,) = read(record_path)
    assert found.host.isascii()
    assert found.host.isprintable()
    assert 0 < len(found.host) <= 255
