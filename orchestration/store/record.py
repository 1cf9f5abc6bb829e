"""What one line of the journal says, read as little as needed.

A line that we wrote is known by its head and its checksum and is parsed only when its task is looked at, so that
opening a long journal costs little. Any other line is parsed in full.
"""

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from orchestration.core.errors import NewerVersionError, UsageError
from orchestration.core.models import SCHEMA_VERSION
from orchestration.core.naming import task_id
from orchestration.store.codec import TASK
from orchestration.store.line import LINE_BYTES, BadRecordError, decode_line, decode_own, has_checksum

ENVELOPE: Final = frozenset({"seq", "kind", "rev", "at", "by", "more", "removed"})
"""Members of a line that are about the change and not about the task."""

HEAD: Final = re.compile(
    rb'\{"seq":(\d{1,18}),"kind":"task","id":"([A-Za-z0-9._-]{1,64})","rev":(\d{1,18}),'
    rb'"at":"[^"\\]*","by":"(?:[^"\\]|\\.)*"(?:,"v":(\d{1,9}))?[,}]'
)
"""How every line of a task begins that we wrote."""
_MORE: Final = rb',"more":(\d{1,9}),"crc":"[0-9a-f]{8}"\}'
_TAIL_BYTES: Final = 40
"""In these last bytes of a line stand its *more* and its checksum."""
_VERSION: Final = b"%d" % SCHEMA_VERSION
_QUEUE_ID: Final = r"[a-z0-9]{4,32}"


class Record(NamedTuple):
    """One good line. *more* counts the lines that follow in the same append; *full* means: has all fields."""

    line: int
    offset: int
    raw: bytes
    kind: str
    id: str
    seq: int | None
    rev: int | None
    more: int
    full: bool
    removed: bool
    members: dict[str, Any] | None

    def fields(self) -> dict[str, Any]:
        """Return the task fields that this line sets. Raises: BadRecordError."""
        members = self.members if self.members is not None else decode_own(self.raw)
        fields = {name: value for name, value in members.items() if name not in ENVELOPE}
        return fields if "seq" in members else _adopted(fields)


def read_record(raw: bytes, *, line: int, offset: int) -> Record:
    """Return what the line *raw* (without its newline) says.

    Raises: BadRecordError; NewerVersionError.
    """
    head = HEAD.match(raw)
    if head is None or b'"removed":' in raw or len(raw) > LINE_BYTES or not has_checksum(raw):
        return _parsed(raw, line, offset)
    seq, name, rev, version = head.groups()
    if version is not None and version != _VERSION:
        _check_version(int(version), line)
    identifier = name.decode("ascii")
    if b"." in name or not identifier[0].isalnum():
        _identifier(identifier)
    more = re.search(_MORE, raw[-_TAIL_BYTES:]) if b'"more":' in raw else None
    follow = int(more[1]) if more else 0
    return Record(line, offset, raw, "task", identifier, int(seq), int(rev), follow, version is not None, False, None)


def _parsed(raw: bytes, line: int, offset: int) -> Record:
    members = decode_line(raw)
    _check_version(_count(members, "v"), line)
    kind = members.get("kind", "task")
    if not isinstance(kind, str):
        raise BadRecordError("bad record: its kind is no text")
    return Record(
        line=line,
        offset=offset,
        raw=raw,
        kind=kind,
        id=_checked_id(kind, members),
        seq=_count(members, "seq"),
        rev=_count(members, "rev"),
        more=_count(members, "more") or 0,
        full=members.get("status") not in {None, ""} and members.get("repo") not in {None, ""},
        removed=members.get("removed") is True,
        members=members,
    )


def _checked_id(kind: str, members: Mapping[str, Any]) -> str:
    identifier = members.get("id")
    if kind == "task":
        return _identifier(identifier)
    if kind == "queue" and identifier is not None:
        if not isinstance(identifier, str) or not re.fullmatch(_QUEUE_ID, identifier):
            raise BadRecordError("bad record: no queue id")
        return identifier
    return ""


def _identifier(identifier: object) -> str:
    try:
        return task_id(identifier if isinstance(identifier, str) else "")
    except UsageError as error:
        raise BadRecordError("bad record: no task id") from error


def _count(members: Mapping[str, Any], name: str) -> int | None:
    value = members.get(name)
    if value is None:
        return None
    if type(value) is not int or value < 0:
        raise BadRecordError(f"bad record: {name} is no count")
    return value


def _check_version(version: int | None, line: int) -> None:
    if version is not None and version > SCHEMA_VERSION:
        msg = (
            f"line {line} of the journal has version {version} and this taskq knows up to {SCHEMA_VERSION}; "
            "upgrade taskq to use this queue"
        )
        raise NewerVersionError(msg)


def _adopted(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a plain record: there an empty text is how a missing value is written."""
    return {name: None if value == "" and name in TASK else value for name, value in fields.items()}
