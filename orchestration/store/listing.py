"""Very many tasks as JSON at speed: a line that taskq wrote is decoded in one step, every field with its type.

Guarantees: what is listed is what ``store.codec.encode_task`` makes of the same task, which is tested with random
tasks; whatever this cannot be sure of is left to the slower way.
Not responsible for: which lines are a task's (``store.ledger``).
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Final, Self
from zlib import crc32

import msgspec

from orchestration.core.models import SCHEMA_VERSION, Task
from orchestration.core.naming import id_key
from orchestration.core.status import Status
from orchestration.store.blobs import referred_blob
from orchestration.store.codec import TASK, encode_task
from orchestration.store.entry import SPAN, ReadLine, State
from orchestration.store.line import LARGEST_INTEGER

_WINDOW: Final = 1 << 21
_SEAL: Final = len(b',"crc":"00000000"}')
_BLOCK: Final = 1 << 15
_BLOCKS: Final = 64
_KIND: Final = b',"kind":"task","id":"'
_KIND_BEFORE: Final = 50
"""In these first bytes of a line stands its kind."""
_LONGEST: Final = 10**9
"""Seconds: a limit beyond it is for the slower way."""

_Integer = Annotated[int, msgspec.Meta(ge=-LARGEST_INTEGER, le=LARGEST_INTEGER)]
_Seconds = Annotated[int, msgspec.Meta(ge=-_LONGEST, le=_LONGEST)]
_Moment = Annotated[str, msgspec.Meta(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z\Z")]
_Fact = dict[str, Any] | None


class ListedLimits(msgspec.Struct, gc=False):
    """The limits of a task, durations in whole seconds."""

    setup: _Seconds
    plan: _Seconds
    build: _Seconds
    collect: _Seconds
    output: _Integer
    bundle: _Integer
    file: _Integer
    files: _Integer
    memory: _Integer
    cpus: float
    pids: _Integer


class Listed(msgspec.Struct, gc=False, kw_only=True):
    """One task in a list: every stored field as plain JSON has it, and what whoever lists it computes."""

    v: Annotated[int, msgspec.Meta(le=SCHEMA_VERSION)]
    id: str
    rev: int
    status: Status
    title: str | None = None
    repo: str
    base: str
    base_commit: str | None = None
    branch: str | None = None
    worktree_path: str | None = None
    task_file: str | None = None
    text: str | None = None
    reason: str | None = None
    priority: _Integer = 0
    labels: Sequence[str] = ()
    after: Sequence[str] = ()
    not_before: _Moment | None = None
    agent: str | None = None
    agent_command: str | None = None
    model: str | None = None
    variant: str | None = None
    sandbox: str | None = None
    network: str | None = None
    limits: ListedLimits
    allow_empty: bool = False
    attempt: _Integer = 0
    charged: _Integer = 0
    run: _Fact = None
    revision: _Fact = None
    verification: _Fact = None
    usage: _Fact = None
    landed: _Fact = None
    error: _Fact = None
    created_at: _Moment
    updated_at: _Moment
    waits_for: str | None = None
    held: bool = False

    @classmethod
    def of(cls, task: Task) -> Self:
        """Return what is listed of *task*."""
        return cls(**encode_task(task))


_STORED: Final = TASK.keys() - {"id", "rev"}
_Changed: Final = msgspec.defstruct(
    "_Changed",
    [
        (field.name, field.type | msgspec.UnsetType, msgspec.UNSET)
        for field in msgspec.structs.fields(Listed)
        if field.name in _STORED
    ],
    gc=False,
)


class Lines:
    """Lines of one moment of the journal, read in large pieces by *read*, as neighbours are mostly wanted together."""

    def __init__(self, read: ReadLine, start: int) -> None:
        self._read = read
        self._start = start
        self._window = read(start, _WINDOW)
        self._blocks: dict[int, bytes] = {}

    def of(self, state: State) -> list[bytes]:
        """Return the lines of a task, the oldest first. Raises: ValueError when one is not as taskq wrote it."""
        window, start, lines = self._window, self._start, []
        for offset, length in SPAN.iter_unpack(state.spans):
            place = offset - start
            line = window[place : place + length] if place >= 0 else b""
            if len(line) != length:
                line = self.at(offset, length)
            if b',"crc":"%08x"}' % crc32(line[:-_SEAL]) != line[-_SEAL:]:
                raise ValueError("a line that is not ours, or was changed")
            lines.append(line)
        if _KIND not in lines[0][:_KIND_BEFORE]:
            raise ValueError("a line of another kind")
        return lines

    def at(self, offset: int, length: int) -> bytes:
        """Return bytes of the journal."""
        place = offset - self._start
        line = self._window[place : place + length] if place >= 0 else b""
        return line if len(line) == length else self._elsewhere(offset, length)

    def _elsewhere(self, offset: int, length: int) -> bytes:
        number, start = divmod(offset, _BLOCK)
        block = self._blocks.get(number)
        if block is None:
            if len(self._blocks) == _BLOCKS:
                self._blocks.clear()
            block = self._blocks[number] = self._read(number * _BLOCK, _BLOCK)
        line = block[start : start + length]
        return line if len(line) == length else self._read(offset, length)


def listed(state: State, lines: Lines) -> Listed | None:
    """Return what is listed of a task; None when it takes the slower way to say what that is."""
    try:
        found = _folded(lines.of(state))
        if found.id != state.id:
            return None
        found.rev, found.waits_for, found.held = state.rev, None, False
        datetime.fromisoformat(found.created_at)
        datetime.fromisoformat(found.updated_at)
        if found.not_before is not None:
            datetime.fromisoformat(found.not_before)
        for name in _FACTS:
            fact = getattr(found, name)
            if fact is not None:
                setattr(found, name, _plain(name, fact))
    except (ValueError, RecursionError, msgspec.MsgspecError):
        return None
    return found


def _folded(lines: list[bytes]) -> Listed:
    """Return what the lines of one task come to. Raises: MsgspecError."""
    found = _decode(lines[0])
    if len(lines) > 1:
        said: dict[str, Any] = {}
        key = id_key(found.id)
        for line in lines[1:]:
            change = _decode_any(line)
            if change.get("kind") != "task" or id_key(str(change.get("id"))) != key:
                raise ValueError("a line of another task")
            said |= change
        changed = msgspec.convert(said, _Changed)
        for name in said.keys() & _STORED:
            setattr(found, name, getattr(changed, name))
    return found


def _plain(name: str, fact: dict[str, Any]) -> Any:
    """Return a fact as this version knows it. Raises: ValueError."""
    if referred_blob(fact) is not None:
        raise ValueError("it is in a blob")
    codec = TASK[name]
    return codec.encode(codec.decode(fact))


_decode: Final = msgspec.json.Decoder(Listed).decode
_decode_any: Final = msgspec.json.Decoder(dict[str, Any]).decode
_FACTS: Final = ("run", "revision", "verification", "usage", "landed", "error")
