"""Tasks and attempt specs to plain JSON values and back, strictly typed.

Guarantees: decoding gives back what was encoded; times are UTC with microseconds and a Z, durations are seconds.
Members that this version does not know are left alone; a missing or null member is the field's default.
Not responsible for: bytes (``store.line``), texts that are blobs (``store.blobs``).
"""

from collections.abc import Mapping
from typing import Any, Final, TypeVar

from orchestration.core.errors import CorruptStateError, NewerVersionError
from orchestration.core.models import (
    SCHEMA_VERSION,
    AttemptSpec,
    Failure,
    FileChange,
    Landed,
    Limits,
    Revision,
    Run,
    Runner,
    Task,
    Usage,
)
from orchestration.store.values import (
    DURATION,
    FLAG,
    ID,
    INTEGER,
    INTEGER_OR_NULL,
    MOMENT,
    MOMENT_OR_NULL,
    NUMBER_OR_NULL,
    OBJECT_OR_NULL,
    OBSERVED,
    OBSERVED_OR_NULL,
    OBSERVED_TEXTS,
    STATUS,
    TEXT,
    TEXT_OR_NULL,
    TEXTS,
    Codec,
    decode_object,
    encode_object,
    nested,
    sequence,
)

T = TypeVar("T")


def encode_task(task: Task) -> dict[str, Any]:
    """Return every field of *task* as plain JSON values."""
    return encode_object(task, TASK)


def decode_task(record: Mapping[str, Any]) -> Task:
    """Return the task that *record* holds.

    Raises: CorruptStateError naming task and field; NewerVersionError.
    """
    return _checked(Task, TASK, record, f"task {record.get('id')!a}")


def spec_to_json(spec: AttemptSpec) -> dict[str, Any]:
    """Return *spec* as plain JSON values."""
    return encode_object(spec, SPEC)


def spec_from_json(record: Mapping[str, Any]) -> AttemptSpec:
    """Return the spec that *record* holds.

    Raises: CorruptStateError; NewerVersionError.
    """
    check_version(record.get("version"), "this attempt")
    return _checked(AttemptSpec, SPEC, record, f"the attempt spec of task {record.get('task')!a}")


def revision_to_json(revision: Revision) -> dict[str, Any]:
    """Return *revision* as plain JSON values."""
    return encode_object(revision, REVISION)


def revision_from_json(record: Mapping[str, Any]) -> Revision:
    """Return the revision that *record* holds. Raises: CorruptStateError."""
    return _checked(Revision, REVISION, record, "the revision")


def failure_to_json(failure: Failure) -> dict[str, Any]:
    """Return *failure* as plain JSON values."""
    return encode_object(failure, FAILURE)


def failure_from_json(record: Mapping[str, Any]) -> Failure:
    """Return the failure that *record* holds. Raises: CorruptStateError."""
    return _checked(Failure, FAILURE, record, "the failure")


def check_version(version: object, subject: str) -> None:
    """Refuse what a newer taskq wrote. Raises: NewerVersionError."""
    if isinstance(version, int) and version > SCHEMA_VERSION:
        msg = f"{subject} has version {version} and this taskq knows up to {SCHEMA_VERSION}; upgrade taskq"
        raise NewerVersionError(msg)


def _checked(kind: type[T], table: Mapping[str, Codec], record: Mapping[str, Any], subject: str) -> T:
    check_version(record.get("v"), subject)
    try:
        return decode_object(kind, table, record)
    except ValueError as error:
        raise CorruptStateError(f"{subject} cannot be read: {error}; see: taskq fsck") from error


LIMITS: Final[Mapping[str, Codec]] = {
    "setup": DURATION,
    "plan": DURATION,
    "build": DURATION,
    "collect": DURATION,
    "output": INTEGER,
    "bundle": INTEGER,
    "file": INTEGER,
    "files": INTEGER,
}
RUNNER: Final[Mapping[str, Codec]] = {"host": TEXT, "pid": INTEGER, "started": TEXT, "boot": TEXT}
RUN: Final[Mapping[str, Codec]] = {
    "attempt": INTEGER,
    "token": INTEGER,
    "sandbox": TEXT,
    "folder": TEXT,
    "runner": nested(Runner, RUNNER, optional=False),
    "started_at": MOMENT,
    "session": TEXT_OR_NULL,
}
FILE_CHANGE: Final[Mapping[str, Codec]] = {
    "path": OBSERVED,
    "status": TEXT,
    "added": INTEGER_OR_NULL,
    "removed": INTEGER_OR_NULL,
}
_FILE_CHANGES: Final = Codec(
    lambda changes: [encode_object(change, FILE_CHANGE) for change in changes],
    lambda items: tuple(decode_object(FileChange, FILE_CHANGE, item) for item in sequence(items)),
)
REVISION: Final[Mapping[str, Codec]] = {
    "commit": TEXT,
    "base_commit": TEXT,
    "ref": TEXT,
    "attempt": INTEGER,
    "collect": INTEGER,
    "collected_at": MOMENT,
    "source": TEXT,
    "files": _FILE_CHANGES,
    "flags": OBSERVED_TEXTS,
    "published": FLAG,
}
USAGE: Final[Mapping[str, Codec]] = {
    "input_tokens": INTEGER_OR_NULL,
    "output_tokens": INTEGER_OR_NULL,
    "cost_usd": NUMBER_OR_NULL,
}
LANDED: Final[Mapping[str, Codec]] = {"commit": TEXT, "how": TEXT, "base": TEXT, "at": MOMENT}
FAILURE: Final[Mapping[str, Codec]] = {
    "stage": TEXT,
    "code": TEXT,
    "message": OBSERVED,
    "command": OBSERVED_OR_NULL,
    "exit_code": INTEGER_OR_NULL,
    "stdout_tail": OBSERVED,
    "stderr_tail": OBSERVED,
    "report": TEXT_OR_NULL,
}
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
    "sandbox": TEXT_OR_NULL,
    "network": TEXT_OR_NULL,
    "limits": nested(Limits, LIMITS, optional=False),
    "allow_empty": FLAG,
    "attempt": INTEGER,
    "charged": INTEGER,
    "run": nested(Run, RUN),
    "revision": nested(Revision, REVISION),
    "verification": OBJECT_OR_NULL,
    "usage": nested(Usage, USAGE),
    "landed": nested(Landed, LANDED),
    "error": nested(Failure, FAILURE),
    "created_at": MOMENT,
    "updated_at": MOMENT,
}
SPEC: Final[Mapping[str, Codec]] = {
    "version": INTEGER,
    "queue": TEXT,
    "task": ID,
    "attempt": INTEGER,
    "token": INTEGER,
    "text": TEXT,
    "repo": TEXT,
    "base": TEXT,
    "base_commit": TEXT,
    "branch": TEXT,
    "worktree_path": TEXT_OR_NULL,
    "agent": TEXT,
    "agent_command": TEXT_OR_NULL,
    "model": TEXT_OR_NULL,
    "sandbox": TEXT,
    "limits": nested(Limits, LIMITS, optional=False),
    "allow_empty": FLAG,
    "created_at": MOMENT,
    "start_commit": TEXT,
    "previous_tip": TEXT_OR_NULL,
    "collect": INTEGER,
}
