"""What a sandbox was refused, kept on the host: one JSON object per line, ``{"at", "host", "port", "reason"}``.

Guarantees: at most 1000 such lines per file; further refusals are counted, and ``{"at", "further"}`` says how many when
the writer closes. Hosts are printable ASCII of 255 characters at most, whatever was asked for.
"""

import json
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from orchestration.core.facts import RefusedHost

LINES: Final = 1000
_HOST_LIMIT: Final = 255
_SHOWN: Final = 100
_READ_LIMIT: Final = 1 << 21
_OTHERS: Final = RefusedHost(host="(others)", port=None, reason="refused too, not listed one by one", count=0)


class Record:
    """The writer, for many threads. The descriptor, open for reading and appending, stays the caller's."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()
        self._lines = os.pread(descriptor, _READ_LIMIT, 0).count(b"\n")
        self._further = 0

    def add(self, host: str, port: int | None, reason: str) -> None:
        """Keep one refusal. Raises: OSError."""
        with self._lock:
            if self._lines >= LINES:
                self._further += 1
                return
            self._lines += 1
            self._write({"host": printable(host), "port": port, "reason": printable(reason)})

    def close(self) -> None:
        """Write how many refusals found no line, if any did. Raises: OSError."""
        with self._lock:
            if self._further:
                self._write({"further": self._further})
            self._further = 0

    def _write(self, content: dict[str, Any]) -> None:
        line = json.dumps({"at": datetime.now(UTC).isoformat(timespec="milliseconds"), **content})
        os.write(self._descriptor, line.encode("ascii") + b"\n")


def read(path: Path) -> tuple[RefusedHost, ...]:
    """Return what is recorded, grouped and counted, the first seen first; at most 100, the last standing for the rest.

    Raises: OSError.
    """
    groups: dict[tuple[str, int | None, str], RefusedHost] = {}
    others = 0
    for line in _lines(path):
        if "further" in line:
            others += line["further"]
            continue
        key = (line["host"], line["port"], line["reason"])
        known = groups.get(key) or RefusedHost(host=key[0], port=key[1], reason=key[2], count=0)
        groups[key] = replace(known, count=known.count + 1)
    found = tuple(groups.values())
    if len(found) + bool(others) > _SHOWN:
        others += sum(each.count for each in found[_SHOWN - 1 :])
        found = found[: _SHOWN - 1]
    return (*found, replace(_OTHERS, count=others)) if others else found


def printable(text: str, *, limit: int = _HOST_LIMIT) -> str:
    """Return *text* as it may be kept and shown: printable ASCII, cut."""
    return text[:limit].encode("unicode_escape").decode("ascii")[:limit]


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines; one that a full disk cut short stands for a refusal of which no more is known."""
    with path.open("rb") as source:
        content = source.read(_READ_LIMIT)
    for line in content.splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            yield {"further": 1}
