"""The protocol between taskq and `taskq-guest serve`, version 2, over any two-way stream of bytes.

Guarantees: what is decoded is well-formed to the last bit, whatever the guest sent; memory is bounded by one frame.
Not responsible for: the order of frames beyond what is written here; that is the session's and the guest's.

A frame is its type (one byte), the size of its payload (four bytes) and the payload. Numbers are unsigned and
big-endian; strings in a request end with a NUL; times are of the guest's monotonic clock.

From the host:

- ``R`` run: time limit in ms (8), number of arguments (4, at least 1), number of variables (4), then the strings: the
  folder to start in, the arguments, the variables as ``NAME=value``. 4 MiB at most. Only while nothing runs.
- ``T`` run on a terminal of its own, which is its stdin, stdout and stderr: rows (2), columns (2), then as ``R``.
- ``W`` the terminal's size has changed: rows (2), columns (2). Void where there is none.
- ``I`` stdin: up to 64 KiB for the command; of no size: there is no more. The next one only after ``a``.
- ``E`` end what runs. Size 0. Void, as stdin is, when nothing runs: the host may not have heard yet.

From the guest:

- ``h`` hello: its protocol version (1 byte). Once, first.
- ``o``, ``e``: what the command wrote to stdout, to stderr; 1 byte to 64 KiB.
- ``a`` taken: the stdin was written (1), or nobody reads it any more (0).
- ``x`` ended: flags (1; bit 0 the time limit ended it, bit 1 the host did), whether a signal ended the main process
  (1), which signal or exit code (1), elapsed microseconds (8).
- ``f`` failed, the command was not started: what was tried (1: ``c`` the folder, ``p`` the program, ``s`` to start a
  process), Linux's error number (4), elapsed microseconds (8), the error in words (ASCII, 1 to 128).

Each ``R`` and ``T`` is followed by exactly one ``x`` or ``f``, after all output, when no process of it is left.
A guest that is sent anything else ends all processes and then itself.
"""

import os
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from typing import Final, Literal

from orchestration.core.ports import Stream

VERSION: Final = 2
CHUNK_LIMIT: Final = 1 << 16
REQUEST_LIMIT: Final = 4 << 20
_HEADER: Final = struct.Struct(">cI")
_REQUEST: Final = struct.Struct(">QII")
_SIZE: Final = struct.Struct(">HH")
_ENDED: Final = struct.Struct(">BBBQ")
_FAILED: Final = struct.Struct(">cIQ")
_MILLISECOND: Final = timedelta(milliseconds=1)

Tried = Literal["cwd", "program", "process"]
_TRIED: Final[Mapping[bytes, Tried]] = MappingProxyType({b"c": "cwd", b"p": "program", b"s": "process"})


class MalformedFrameError(ValueError):
    """The guest sent what the protocol does not know."""


class UnrunnableError(ValueError):
    """The command cannot be put into a request: no system could execute it. The message says why."""


@dataclass(frozen=True, slots=True)
class Hello:
    """The guest is ready."""

    version: int


@dataclass(frozen=True, slots=True)
class Written:
    """The command wrote something."""

    stream: Stream
    content: bytes


@dataclass(frozen=True, slots=True)
class Taken:
    """The last stdin is dealt with. *is_open* is whether the command can read more."""

    is_open: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """The command ended and its tree is gone. Exactly one of *code* and *signal* is set."""

    code: int | None
    signal: int | None
    timed_out: bool
    stopped: bool
    elapsed: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The command was not started. *number* is Linux's error number, *why* the same in words."""

    tried: Tried
    number: int
    why: str
    elapsed: timedelta


Message = Hello | Written | Taken | Ended | Failed


def encode_run(
    argv: Sequence[str],
    environment: Mapping[str, str],
    cwd: str,
    timeout: timedelta,
    *,
    terminal: os.terminal_size | None = None,
) -> bytes:
    """Return the request to run a command, on a terminal where a size is given. Raises: UnrunnableError."""
    if not argv:
        raise UnrunnableError("it has no name")
    variables = [f"{name}={value}" for name, value in environment.items()]
    if any("=" in name or not name for name in environment):
        raise UnrunnableError("its environment has a name that none can have")
    try:
        strings = [string.encode("utf-8", "surrogateescape") for string in (cwd, *argv, *variables)]
    except UnicodeEncodeError as error:
        raise UnrunnableError("it holds what is no text") from error
    if any(b"\0" in string for string in strings):
        raise UnrunnableError("it holds a NUL character")
    limit = max(0, timeout // _MILLISECOND)
    size = b"" if terminal is None else _size(terminal)
    payload = size + _REQUEST.pack(limit, len(argv), len(variables)) + b"".join(string + b"\0" for string in strings)
    if len(payload) > REQUEST_LIMIT:
        raise UnrunnableError("Argument list too long")
    return _frame(b"R" if terminal is None else b"T", payload)


def encode_stdin(chunk: bytes | memoryview) -> bytes:
    """Return stdin for the command, of at most `CHUNK_LIMIT` bytes; of none: its end."""
    if len(chunk) > CHUNK_LIMIT:
        raise ValueError(f"{len(chunk)} bytes of stdin in one frame")
    return _frame(b"I", chunk)


def encode_resize(terminal: os.terminal_size) -> bytes:
    """Return that the terminal's size is now *terminal*."""
    return _frame(b"W", _size(terminal))


def encode_end() -> bytes:
    """Return the request to end what runs."""
    return _frame(b"E", b"")


class Decoder:
    """Takes what a guest sends in portions of any size; gives back its messages one by one."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._position = 0

    def feed(self, content: bytes) -> None:
        """Take the next portion."""
        del self._buffer[: self._position]
        self._position = 0
        self._buffer += content

    def next(self) -> Message | None:
        """Return the next message that is whole; None when more has to come. Raises: MalformedFrameError."""
        body = self._position + _HEADER.size
        if len(self._buffer) < body:
            return None
        kind, size = _HEADER.unpack_from(self._buffer, self._position)
        form = _FORMS.get(kind)
        if form is None:
            raise MalformedFrameError(f"a frame of the unknown type {kind!r}")
        if not form.least <= size <= form.most:
            raise MalformedFrameError(f"a frame of type {kind!r} with {size} bytes")
        if len(self._buffer) < body + size:
            return None
        with memoryview(self._buffer) as whole, whole[body : body + size] as part:
            payload = part.tobytes()
        self._position = body + size
        return form.parse(payload)


@dataclass(frozen=True, slots=True)
class _Form:
    least: int
    most: int
    parse: Callable[[bytes], Message]


def _frame(kind: bytes, payload: bytes | memoryview) -> bytes:
    return b"".join((_HEADER.pack(kind, len(payload)), payload))


def _size(terminal: os.terminal_size) -> bytes:
    return _SIZE.pack(terminal.lines, terminal.columns)


def _flag(number: int) -> bool:
    if number not in {0, 1}:
        raise MalformedFrameError(f"{number} where 0 or 1 must be")
    return number == 1


def _ended(payload: bytes) -> Ended:
    flags, is_signal, value, elapsed = _ENDED.unpack(payload)
    if flags not in {0, 1, 2}:
        raise MalformedFrameError(f"a command that ended with the flags {flags}")
    by_signal = _flag(is_signal)
    return Ended(
        code=None if by_signal else value,
        signal=value if by_signal else None,
        timed_out=flags == 1,
        stopped=flags == 2,
        elapsed=timedelta(microseconds=elapsed),
    )


def _failed(payload: bytes) -> Failed:
    letter, number, elapsed = _FAILED.unpack_from(payload)
    why = payload[_FAILED.size :]
    if letter not in _TRIED or not why.isascii():
        raise MalformedFrameError(f"a failure of {letter!r} because of {why[:128]!r}")
    return Failed(tried=_TRIED[letter], number=number, why=why.decode("ascii"), elapsed=timedelta(microseconds=elapsed))


_FORMS: Final[Mapping[bytes, _Form]] = MappingProxyType(
    {
        b"h": _Form(1, 1, lambda payload: Hello(payload[0])),
        b"o": _Form(1, CHUNK_LIMIT, lambda payload: Written("stdout", payload)),
        b"e": _Form(1, CHUNK_LIMIT, lambda payload: Written("stderr", payload)),
        b"a": _Form(1, 1, lambda payload: Taken(_flag(payload[0]))),
        b"x": _Form(_ENDED.size, _ENDED.size, _ended),
        b"f": _Form(_FAILED.size + 1, _FAILED.size + 128, _failed),
    }
)
