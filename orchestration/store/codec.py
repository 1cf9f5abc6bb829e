"""Tasks to plain JSON values and back, strictly typed.

Guarantees: decoding gives back what was encoded; times are UTC with microseconds and a Z, durations are seconds.
Members that this version does not know are left alone; a missing or null member is the field's default.
Not responsible for: bytes (``store.line``), texts that are blobs (``store.blobs``).
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, TypeVar

from orchestration.core.errors import CorruptStateError, NewerVersionError
from orchestration.core.models import SCHEMA_VERSION, Limits, Task
from orchestration.store.values import (
    DURATION,
    FLAG,
    ID,
    INTEGER,
    MOMENT,
    MOMENT_OR_NULL,
    NUMBER,
    OBJECT_OR_NULL,
    OBSERVED_OR_NULL,
    STATUS,
    TEXT,
    TEXT_OR_NULL,
    TEXTS,
    Codec,
    decode_object,
    encode_object,
    nested,
)

T = TypeVar("T")


def encode_task(task: Task) -> dict[str, Any]:
    """Return every field of *task* as plain JSON values."""
    return encode_object(task, TASK)


def decode_task(record: Mapping[str, Any]) -> Task:
    """Return the task that *record* holds.

    Raises: CorruptStateError naming task and field; NewerVersionError.
    """
    return checked(Task, TASK, record, f"task {record.get('id')!a}")


def check_version(version: object, subject: str) -> None:
    """Refuse what a newer taskq wrote. Raises: NewerVersionError."""
    if isinstance(version, int) and version > SCHEMA_VERSION:
        msg = f"{subject} has version {version} and this taskq knows up to {SCHEMA_VERSION}; upgrade taskq"
        raise NewerVersionError(msg)


def checked(kind: type[T], table: Mapping[str, Codec], record: Mapping[str, Any], subject: str) -> T:
    """Return the *kind* that *record* holds. Raises: CorruptStateError naming *subject*; NewerVersionError."""
    check_version(record.get("v"), subject)
    try:
        return decode_object(kind, table, record)
    except ValueError as error:
        raise CorruptStateError(f"{subject} cannot be read: {error}; see: taskq fsck") from error


def _fact(name: str) -> Codec:
    """Return the codec of what is known of a task since it ran, loaded when there is such a thing: `add` has none."""

    def codec() -> Codec:
        from orchestration.store.fact_codec import FACTS  # noqa: PLC0415 -- seven classes that `taskq add` never needs

        return FACTS[name]

    return Codec(lambda value: codec().encode(value), lambda value: codec().decode(value), optional=True)


LIMITS: Final[Mapping[str, Codec]] = {
    "setup": DURATION,
    "plan": DURATION,
    "build": DURATION,
    "collect": DURATION,
    "output": INTEGER,
    "bundle": INTEGER,
    "file": INTEGER,
    "files": INTEGER,
    "memory": INTEGER,
    "cpus": NUMBER,
    "pids": INTEGER,
}


@lru_cache(maxsize=64)
def _encode_limits(limits: Limits) -> dict[str, Any]:
    """Return the one encoded form of limits that many tasks share; nobody changes it."""
    return encode_object(limits, LIMITS)


TASK: Final[Mapping[str, Codec]] = {
    "v": INTEGER,
    "id": ID,
    "rev": INTEGER,
    "status": STATUS,
    "title": TEXT_OR_NULL,
    "repo": TEXT,
    "base": TEXT,
    "base_commit": TEXT_OR_NULL,
    "branch": TEXT_OR_NULL,
    "worktree_path": TEXT_OR_NULL,
    "task_file": TEXT_OR_NULL,
    "text": TEXT_OR_NULL,
    "reason": OBSERVED_OR_NULL,
    "priority": INTEGER,
    "labels": TEXTS,
    "after": TEXTS,
    "not_before": MOMENT_OR_NULL,
    "agent": TEXT_OR_NULL,
    "agent_command": TEXT_OR_NULL,
    "model": TEXT_OR_NULL,
    "variant": TEXT_OR_NULL,
    "sandbox": TEXT_OR_NULL,
    "network": TEXT_OR_NULL,
    "limits": nested(Limits, LIMITS, optional=False)._replace(encode=_encode_limits),
    "allow_empty": FLAG,
    "attempt": INTEGER,
    "charged": INTEGER,
    "run": _fact("run"),
    "revision": _fact("revision"),
    "verification": OBJECT_OR_NULL,
    "usage": _fact("usage"),
    "landed": _fact("landed"),
    "error": _fact("error"),
    "created_at": MOMENT,
    "updated_at": MOMENT,
}
