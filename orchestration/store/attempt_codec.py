"""Attempt specs, and what a result holds, to plain JSON values and back; see ``store.codec``."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from orchestration.core.attempts import AttemptSpec
from orchestration.core.facts import Failure, Revision, SandboxFacts, Usage
from orchestration.core.models import Limits
from orchestration.core.toolchain import Toolchain
from orchestration.store.codec import LIMITS, check_version, checked
from orchestration.store.fact_codec import FAILURE, REVISION, SANDBOX, USAGE
from orchestration.store.values import (
    FLAG,
    ID,
    INTEGER,
    MOMENT,
    TEXT,
    TEXT_OR_NULL,
    TEXTS,
    TEXTS_BY_NAME,
    Codec,
    encode_object,
    nested,
)


def spec_to_json(spec: AttemptSpec) -> dict[str, Any]:
    """Return *spec* as plain JSON values."""
    return encode_object(spec, SPEC)


def spec_from_json(record: Mapping[str, Any]) -> AttemptSpec:
    """Return the spec that *record* holds.

    Raises: CorruptStateError; NewerVersionError.
    """
    check_version(record.get("version"), "this attempt")
    return checked(AttemptSpec, SPEC, record, f"the attempt spec of task {record.get('task')!a}")


def revision_to_json(revision: Revision) -> dict[str, Any]:
    """Return *revision* as plain JSON values."""
    return encode_object(revision, REVISION)


def revision_from_json(record: Mapping[str, Any]) -> Revision:
    """Return the revision that *record* holds. Raises: CorruptStateError."""
    return checked(Revision, REVISION, record, "the revision")


def failure_to_json(failure: Failure) -> dict[str, Any]:
    """Return *failure* as plain JSON values."""
    return encode_object(failure, FAILURE)


def failure_from_json(record: Mapping[str, Any]) -> Failure:
    """Return the failure that *record* holds. Raises: CorruptStateError."""
    return checked(Failure, FAILURE, record, "the failure")


def usage_to_json(usage: Usage) -> dict[str, Any]:
    """Return *usage* as plain JSON values."""
    return encode_object(usage, USAGE)


def usage_from_json(record: Mapping[str, Any] | Sequence[Any]) -> Usage:
    """Return the usage that *record* holds; in older results a list of three. Raises: CorruptStateError."""
    named = record if isinstance(record, Mapping) else dict(zip(_USED_ONCE, record, strict=False))
    return checked(Usage, USAGE, named, "the usage")


def sandbox_to_json(facts: SandboxFacts) -> dict[str, Any]:
    """Return *facts* as plain JSON values."""
    return encode_object(facts, SANDBOX)


def sandbox_from_json(record: Mapping[str, Any]) -> SandboxFacts:
    """Return the facts that *record* holds. Raises: CorruptStateError."""
    return checked(SandboxFacts, SANDBOX, record, "what is known of the sandbox")


_USED_ONCE: Final = ("input_tokens", "output_tokens", "cost_usd")
TOOLCHAIN: Final[Mapping[str, Codec]] = {
    "image": TEXT_OR_NULL,
    "dockerfile": TEXT_OR_NULL,
    "setup": TEXT_OR_NULL,
    "env": TEXTS_BY_NAME,
    "allow": TEXTS,
    "secrets": TEXTS,
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
    "network": TEXT_OR_NULL,
    "allow": TEXTS,
    "allow_private": TEXTS,
    "toolchain": nested(Toolchain, TOOLCHAIN, optional=False),
    "image": TEXT_OR_NULL,
    "variant": TEXT_OR_NULL,
    "session": TEXT_OR_NULL,
}
