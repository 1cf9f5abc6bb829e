"""Long values beside the journal, each a file named by the SHA-256 of its content.

Guarantees: a value is durable before its name is given out; what is read is what was written, or an error that
names the blob.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from orchestration.core.errors import CorruptStateError, StorageError, UsageError
from orchestration.store.line import BadRecordError, strict_object
from orchestration.support.files import (
    REAL_DISK,
    Disk,
    make_private_folder,
    open_beneath,
    storage_errors,
    sync_folder,
    write_durably,
)

INLINE_BYTES: Final = 256 * 1024
"""A value whose JSON is longer goes to a blob, so that a line stays below its limit."""
BLOB_BYTES: Final = 64 * 1024**2

_TEXT_FIELDS: Final = frozenset({"text"})
_OBJECT_FIELDS: Final = frozenset({"revision", "verification", "error"})
_FIELDS: Final = _TEXT_FIELDS | _OBJECT_FIELDS
_LONGEST_ESCAPE: Final = 6
_HASH: Final = r"[0-9a-f]{64}"


class Blobs:
    """The blobs of one queue."""

    def __init__(self, folder: Path, *, disk: Disk = REAL_DISK) -> None:
        self._folder = folder
        self._disk = disk

    def shrink(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Return *fields* with every long value stored and replaced by its reference.

        Raises: UsageError for a value beyond 64 MiB or text that is no Unicode; StorageError.
        """
        shrunk = dict(fields)
        for name in _FIELDS:
            value = shrunk.get(name)
            if value is not None and _is_long(value):
                shrunk[name] = self._put(value)
        return shrunk

    def expand(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Return *fields* with every reference replaced by its value.

        Raises: CorruptStateError naming a blob that is missing, unreadable or altered.
        """
        expanded = dict(fields)
        for name in _FIELDS:
            value = expanded.get(name)
            blob = referred_blob(value)
            if blob is not None:
                content = self._get(blob, fields)
                expanded[name] = content.decode("utf-8") if name in _TEXT_FIELDS else _object(content, blob)
        return expanded

    def problem(self, fields: Mapping[str, Any]) -> str | None:
        """Say what is wrong with the blobs that *fields* refer to, or None."""
        try:
            self.expand(fields)
        except CorruptStateError as error:
            return str(error)
        return None

    def _put(self, value: Any) -> dict[str, Any]:
        try:
            content = (value if isinstance(value, str) else json.dumps(value, allow_nan=False)).encode("utf-8")
        except ValueError as error:
            raise UsageError(f"this change cannot be stored: {error}", code="bad_value") from error
        if len(content) > BLOB_BYTES:
            msg = f"a text of {len(content)} bytes is more than the {BLOB_BYTES} that a task may have; shorten it"
            raise UsageError(msg, code="too_large")
        name = _digest(content)
        make_private_folder(self._folder, disk=self._disk)
        if self._holds(name, content):
            sync_folder(self._folder, disk=self._disk)
        else:
            write_durably(self._folder / name, content, disk=self._disk)
        return {"blob": name, "size": len(content)}

    def _holds(self, name: str, content: bytes) -> bool:
        try:
            with open_beneath(self._folder, name) as source:
                return source.read(len(content) + 1) == content
        except (FileNotFoundError, StorageError):
            return False

    def _get(self, name: str, fields: Mapping[str, Any]) -> bytes:
        path = self._folder / name
        try:
            with open_beneath(self._folder, name) as source, storage_errors("read", path):
                content = source.read(BLOB_BYTES + 1)
        except FileNotFoundError as error:
            msg = f"blob {name} of task {fields.get('id')} is missing; put {path} back from a copy"
            raise CorruptStateError(msg, code="missing_blob") from error
        except StorageError as error:
            msg = f"blob {name} of task {fields.get('id')} cannot be read: {error}"
            raise CorruptStateError(msg, code="missing_blob") from error
        if _digest(content) != name:
            msg = f"blob {name} of task {fields.get('id')} was altered; put {path} back from a copy"
            raise CorruptStateError(msg, code="altered_blob")
        return content


def _object(content: bytes, blob: str) -> dict[str, Any]:
    try:
        return strict_object(content)
    except BadRecordError as error:
        raise CorruptStateError(f"blob {blob} is no record: {error}; see: taskq fsck", code="altered_blob") from error


def _is_long(value: object) -> bool:
    if isinstance(value, str) and len(value) * _LONGEST_ESCAPE * 2 <= INLINE_BYTES:
        return False
    try:
        return len(json.dumps(value)) > INLINE_BYTES
    except (TypeError, ValueError, RecursionError):
        return False  # not storable at all; the line's encoder says why


def referred_blob(value: object) -> str | None:
    """Return the blob that *value* refers to, if it is a reference."""
    if not isinstance(value, Mapping) or value.keys() != {"blob", "size"}:
        return None
    blob = value["blob"]
    return blob if isinstance(blob, str) and re.fullmatch(_HASH, blob) else None


def _digest(content: bytes) -> str:
    import hashlib  # noqa: PLC0415 -- loads OpenSSL, which a queue without long texts can do without

    return hashlib.sha256(content).hexdigest()
