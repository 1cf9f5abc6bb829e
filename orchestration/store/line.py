"""One line of the journal: a JSON object with a checksum as its last member.

Guarantees: what is read was written whole (CRC-32 over the bytes before ``,"crc":``); a line without a checksum is
accepted, a wrong one is damage. Strict both ways: ASCII, no NaN, no duplicate keys, bounded nesting, numbers and size.
"""

import json
import re
import zlib
from collections.abc import Iterable, Mapping
from typing import Any, Final, NoReturn, cast

from orchestration.core.errors import UsageError

LINE_BYTES: Final = 1024**2
NESTING: Final = 64
LARGEST_INTEGER: Final = 2**63 - 1

_CHECKSUM: Final = re.compile(rb'"([0-9a-f]{8})"\}')
_CHECKSUM_KEY: Final = b',"crc":'
_DIGITS: Final = len(b'"00000000"}')
_CHECKSUM_LENGTH: Final = len(_CHECKSUM_KEY) + _DIGITS
_SCALARS: Final = frozenset({float, bool})
_SURROGATE: Final = r"[\ud800-\udfff]"


class BadRecordError(ValueError):
    """These bytes are no record that we would have written."""


def encode_line(fields: Mapping[str, Any]) -> bytes:
    """Return *fields* as one line with its newline.

    Raises: UsageError when a value has no place in the journal.
    """
    return seal(encode_members(fields))


def encode_members(fields: Mapping[str, Any]) -> str:
    """Return *fields* as they stand between the braces of a line.

    Raises: UsageError when a value has no place in the journal.
    """
    try:
        text = _ENCODER.encode(fields)[1:-1]
        _check_encoded(fields, text)
    except (BadRecordError, ValueError, TypeError, RecursionError) as error:
        raise UsageError(f"this change cannot be stored: {error}", code="bad_value") from error
    return text


def seal(members: str) -> bytes:
    """Return the line that holds *members*, which are encoded, with its checksum and its newline.

    Raises: UsageError when it is too long.
    """
    body = b"{" + members.encode("ascii")
    line = b'%b,"crc":"%08x"}\n' % (body, zlib.crc32(body))
    if len(line) > LINE_BYTES:
        msg = f"this change takes {len(line)} bytes of the {LINE_BYTES} that one journal line may have; shorten it"
        raise UsageError(msg, code="too_large")
    return line


def decode_line(line: bytes) -> dict[str, Any]:
    """Return the members of *line*, without the checksum.

    Raises: BadRecordError.
    """
    stripped = line.rstrip(b"\r\n \t")
    if len(stripped) > LINE_BYTES:
        raise BadRecordError(f"bad record: {len(stripped)} bytes in one line")
    checked = has_checksum(stripped)
    fields = strict_object(stripped)
    if "crc" in fields:
        if not checked:
            raise BadRecordError("bad record: a checksum that is not at its place")
        del fields["crc"]
    return fields


def decode_own(line: bytes) -> dict[str, Any]:
    """Return the members of a *line* whose checksum was found right: what we wrote needs no strictness again.

    Raises: BadRecordError.
    """
    try:
        fields: dict[str, Any] = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadRecordError(f"bad record: {error}") from error
    del fields["crc"]
    return fields


def has_checksum(line: bytes) -> bool:
    """Return whether *line* (without its newline) ends in a checksum, which is right.

    Raises: BadRecordError when it is wrong.
    """
    if line[-_CHECKSUM_LENGTH:] == b',"crc":"%08x"}' % zlib.crc32(line[:-_CHECKSUM_LENGTH]):
        return True
    if line[-_CHECKSUM_LENGTH:-_DIGITS] == _CHECKSUM_KEY and _CHECKSUM.fullmatch(line, len(line) - _DIGITS):
        raise BadRecordError("bad checksum")
    return False


def strict_object(content: bytes, *, nesting: int = NESTING) -> dict[str, Any]:
    """Return the JSON object that *content* is.

    Raises: BadRecordError.
    """
    try:
        text = content.decode("utf-8")
        fields = _DECODER.decode(text)
    except UnicodeDecodeError as error:
        raise BadRecordError("bad record: not UTF-8") from error
    except BadRecordError:
        raise
    except RecursionError as error:
        raise BadRecordError("bad record: nested too deeply") from error
    except ValueError as error:
        raise BadRecordError(f"bad record: {error}") from error
    if not isinstance(fields, dict):
        raise BadRecordError("bad record: no JSON object")
    if content.count(b"[") + content.count(b"{") > nesting:
        _check_nesting(fields, nesting)
    if "\\u" in text:
        _check_surrogates(fields)
    return fields


def _check_encoded(fields: Mapping[str, Any], text: str) -> None:
    if not fields:
        raise BadRecordError("it is no object with members")
    if "\\ud" in text:
        _check_surrogates(fields)
    if text.count("[") + text.count("{") > NESTING:
        _check_nesting(fields, NESTING)
    _check_integers(fields)


def _children(value: object) -> Iterable[object]:
    if isinstance(value, Mapping):
        return value.values()
    return value if isinstance(value, (list, tuple)) else ()


def _check_nesting(fields: object, nesting: int) -> None:
    level: list[object] = [fields]
    for _ in range(nesting + 1):
        level = [child for value in level for child in _children(value)]
        if not level:
            return
    if any(isinstance(value, (Mapping, list, tuple)) for value in level) or level:
        raise BadRecordError(f"bad record: nested more than {nesting} deep")


def _check_integers(value: object) -> None:
    for child in _children(value):
        kind = type(child)
        if kind is str or child is None:
            continue
        if kind is int:
            if not -LARGEST_INTEGER <= cast("int", child) <= LARGEST_INTEGER:
                raise BadRecordError("an integer is beyond 64 bits")
        elif child and kind not in _SCALARS:
            _check_integers(child)


def _check_surrogates(value: object) -> None:
    if isinstance(value, str) and not value.isascii() and re.search(_SURROGATE, value):
        raise BadRecordError("bad record: text that is no Unicode (a lone surrogate)")
    if isinstance(value, Mapping):
        for key in value:
            _check_surrogates(key)
    for child in _children(value):
        _check_surrogates(child)


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise BadRecordError("bad record: a key that is there twice")
    return fields


def _bounded_integer(digits: str) -> int:
    if len(digits) > 20 or abs(value := int(digits)) > LARGEST_INTEGER:
        raise BadRecordError("bad record: an integer beyond 64 bits")
    return value


def _finite(digits: str) -> float:
    value = float(digits)
    if value in {float("inf"), float("-inf")}:
        raise BadRecordError("bad record: a number beyond what a float holds")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise BadRecordError(f"bad record: {name} is no JSON")


_ENCODER: Final = json.JSONEncoder(ensure_ascii=True, allow_nan=False, separators=(",", ":"))
_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_without_duplicates,
    parse_int=_bounded_integer,
    parse_float=_finite,
    parse_constant=_refuse_constant,
)
