"""Lines that others appended, taken in without a look: only which tasks they are about is known until somebody asks."""

import re
from collections.abc import Iterable
from functools import cache
from typing import Final, NamedTuple

from orchestration.core.models import SCHEMA_VERSION
from orchestration.core.status import Status
from orchestration.store.record import Record
from orchestration.store.tail import read_line

_SAID: Final = (
    rb'^\{"seq":\d+,"kind":"task","id":"([a-z0-9._-]+)","rev":\d+,"at":"[^"\\]*","by":"(?:[^"\\]|\\.)*"'
    rb'(?:,"v":(\d+))?(?:,"status":"([a-z]+)")?'
)
"""Of lower-cased lines of ours: which task they are about, the version, and the status if it changes."""
VERSIONS: Final = frozenset({b"", b"%d" % SCHEMA_VERSION})
"""What `said_of` gives as the version of a line that this taskq can read."""
_LEAVING: Final = frozenset(str(status).encode() for status in set(Status) - {Status.TODO, Status.DONE})


class Piece(NamedTuple):
    """Whole appends, and what the ledger knew before them."""

    content: bytes
    offset: int
    lines: int
    seq: int


class Skimmed:
    """Whole appends that nobody has looked into yet, but for which tasks they are about."""

    def __init__(self) -> None:
        self.pieces: list[Piece] = []
        self.keys: set[str] = set()
        self.only_leave = True
        """Whether they do nothing but take tasks from todo to where no other task may start because of it."""

    def add(self, piece: Piece, said: Iterable[tuple[bytes, bytes, bytes]]) -> None:
        """Take *piece*, of whose lines *said* are the keys, versions and statuses."""
        self.pieces.append(piece)
        self.keys.update([key.decode("ascii") for key, _, _ in said])
        self.only_leave = self.only_leave and {status for _, _, status in said} <= _LEAVING

    def take(self) -> list[Piece]:
        """Return all of it; then there is nothing of it any more."""
        pieces, self.pieces = self.pieces, []
        self.keys.clear()
        self.only_leave = True
        return pieces


@cache
def _said_pattern() -> re.Pattern[bytes]:
    return re.compile(_SAID, re.MULTILINE)


def said_of(content: bytes) -> list[tuple[bytes, bytes, bytes]]:
    """Return key, version and status of each line that taskq wrote of a task."""
    return _said_pattern().findall(content.lower())


def seq_of_whole_appends(content: bytes) -> int | None:
    """Return the seq of the last line, if that is one of ours that ends an append; None when it is not."""
    if not content.endswith(b"\n"):
        return None
    last = read_line(content[content.rfind(b"\n", 0, -1) + 1 : -1], 0, 0)
    return last.seq if isinstance(last, Record) and last.members is None and last.more == 0 else None
