"""Secret values taken out of output while it streams.

Guarantees: of what comes out, no part is a value, nor one of its usual spellings (base64 and its URL form at any
alignment, percent-encoding, JSON, hex), however the input was cut into chunks; time is linear in the input.
Not responsible for: a value that is spelled in another way, compressed, wrapped over lines or split between streams:
this guards against accidents, and not against a program that means to tell.
"""

import base64
import json
import re
from collections.abc import Iterator, Sequence
from heapq import heapify, heappop, heappush
from typing import Final
from urllib.parse import quote_from_bytes

_LEAST: Final = 4
"""Shorter values are not looked for: they would be found everywhere."""
_LEAST_SPELLED: Final = 6
"""Of shorter values only the bytes themselves are looked for."""
_LEAST_BASE64: Final = 8
_TELLING: Final = 8
"""A stream that ends with at least so many bytes of a value told enough of it to be redacted."""
_PROBE: Final = 8
_URL_SAFE: Final = ("", "/", "!'()*", "!'()*/")
"""What libraries leave as it is, besides letters, digits and ``_.-~``."""

Needle = tuple[bytes, str]
"""What is looked for, and the name of the secret."""


class Redactor:
    """Puts ``[secret NAME]`` in the place of each value, in one stream of bytes.

    White space around a value does not count. Of a value shorter than 6 bytes only the bytes themselves are looked for,
    one shorter than 4 bytes not at all (``SecretStore.set`` takes none).
    """

    def __init__(self, secrets: Sequence[tuple[str, bytes]]) -> None:
        names = {needle: name for name, value in reversed(secrets) for needle in _spellings(value.strip())}
        self._needles: tuple[Needle, ...] = tuple(sorted(names.items(), key=lambda item: -len(item[0])))
        self._held = b""
        self._held_of = ""

    def feed(self, chunk: bytes) -> bytes:
        """Return what may be shown by now; held back is only an end that a value could go on from."""
        if not self._needles:
            return chunk
        buffer = self._held + chunk
        shown, start = [], 0
        pending, self._held_of = self._pending(buffer, 0)
        for at, end, name in _matches(buffer, self._needles):
            if at >= pending:
                break
            shown += [buffer[start:at], _label(name)]
            start = end
            if start > pending:
                pending, self._held_of = self._pending(buffer, start)
        self._held = buffer[pending:]
        return b"".join([*shown, buffer[start:pending]])

    def flush(self) -> bytes:
        """Return what is held back: the stream has ended, or its next part has nothing to do with it."""
        held, self._held = self._held, b""
        return _label(self._held_of) if len(held) >= _TELLING else _replaced(held, self._needles)

    def find(self, content: bytes) -> str | None:
        """Return the name of a secret whose value is in *content*, which is whole and no part of the stream."""
        return next((name for needle, name in self._needles if needle in content), None)

    def _pending(self, buffer: bytes, start: int) -> tuple[int, str]:
        """Return from where on the end of *buffer* could become a value, and of which secret."""
        return min((_overlap(buffer, needle, start), name) for needle, name in self._needles)


def _label(name: str) -> bytes:
    return b"[secret %b]" % name.encode("ascii", "backslashreplace")


def _matches(buffer: bytes, needles: Sequence[Needle]) -> Iterator[tuple[int, int, str]]:
    """Yield the first of all matches, of those the longest, then the first after it: start, end and name."""
    found = [(at, rank) for rank, (needle, _) in enumerate(needles) if (at := buffer.find(needle)) >= 0]
    heapify(found)
    end = 0
    while found:
        at, rank = heappop(found)
        needle, name = needles[rank]
        if at >= end:
            end = at + len(needle)
            yield at, end, name
        following = buffer.find(needle, end)
        if following >= 0:
            heappush(found, (following, rank))


def _replaced(content: bytes, needles: Sequence[Needle]) -> bytes:
    """Return *content*, which is whole, without what is looked for."""
    shown, start = [], 0
    for at, end, name in _matches(content, needles):
        shown += [content[start:at], _label(name)]
        start = end
    return b"".join([*shown, content[start:]])


def _overlap(buffer: bytes, needle: bytes, start: int) -> int:
    """Return where the longest end of *buffer*, after *start*, is that *needle* starts with; its length if none is."""
    first = max(start, len(buffer) - len(needle) + 1)
    probe = needle[:_PROBE]
    at = buffer.find(probe, first)
    while at >= 0:
        if needle.startswith(buffer[at:]):
            return at
        at = buffer.find(probe, at + 1)
    short = range(max(first, len(buffer) - len(probe) + 1), len(buffer))
    return next((at for at in short if needle.startswith(buffer[at:])), len(buffer))


def _spellings(value: bytes) -> Iterator[bytes]:
    """Yield how *value* may be written in output; some may be equal."""
    if len(value) >= _LEAST:
        yield value
    if len(value) < _LEAST_SPELLED:
        return
    yield value.hex().encode()
    yield value.hex().upper().encode()
    yield from _base64(value)
    yield from _percent(value)
    yield from _json(value)


def _base64(value: bytes) -> Iterator[bytes]:
    """Yield the characters that *value* alone decides, for each place in a group of three that it may start at."""
    for before in range(3):
        characters = base64.b64encode(bytes(before) + value)[-(-before * 8 // 6) : (before + len(value)) * 8 // 6]
        if len(characters) >= _LEAST_BASE64:
            yield characters
            yield characters.translate(bytes.maketrans(b"+/", b"-_"))


def _percent(value: bytes) -> Iterator[bytes]:
    for safe in _URL_SAFE:
        quoted = quote_from_bytes(value, safe)
        for spelled in (quoted, quoted.replace("%20", "+")):
            yield spelled.encode()
            yield re.sub(r"%[0-9A-F]{2}", lambda match: match[0].lower(), spelled).encode()


def _json(value: bytes) -> Iterator[bytes]:
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        return
    for ascii_only in (True, False):
        spelled = json.dumps(text, ensure_ascii=ascii_only)[1:-1]
        yield spelled.encode()
        yield spelled.replace("/", "\\/").encode()
