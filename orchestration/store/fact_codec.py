"""What is known of a task since it ran, to plain JSON values and back; see ``store.codec``."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from orchestration.core.facts import (
    Failure,
    FileChange,
    Landed,
    RefusedHost,
    Revision,
    Run,
    Runner,
    SandboxFacts,
    Usage,
)
from orchestration.store.values import (
    FLAG,
    INTEGER,
    INTEGER_OR_NULL,
    MOMENT,
    MOMENT_OR_NULL,
    NUMBER_OR_NULL,
    OBSERVED,
    OBSERVED_OR_NULL,
    OBSERVED_TEXTS,
    TEXT,
    TEXT_OR_NULL,
    Codec,
    decode_object,
    encode_object,
    nested,
    sequence,
)

RUNNER: Final[Mapping[str, Codec]] = {"host": TEXT, "pid": INTEGER, "started": TEXT, "boot": TEXT}
REFUSED_HOST: Final[Mapping[str, Codec]] = {
    "host": OBSERVED,
    "port": INTEGER_OR_NULL,
    "reason": OBSERVED,
    "count": INTEGER,
}
_REFUSED_HOSTS: Final = Codec(
    lambda hosts: [encode_object(host, REFUSED_HOST) for host in hosts],
    lambda items: tuple(decode_object(RefusedHost, REFUSED_HOST, item) for item in sequence(items)),
)
SANDBOX: Final[Mapping[str, Codec]] = {
    "kind": TEXT,
    "id": OBSERVED_OR_NULL,
    "name": OBSERVED_OR_NULL,
    "image": OBSERVED_OR_NULL,
    "network": TEXT_OR_NULL,
    "refused": _REFUSED_HOSTS,
    "waivers": OBSERVED_TEXTS,
}
RUN: Final[Mapping[str, Codec]] = {
    "attempt": INTEGER,
    "token": INTEGER,
    "sandbox": TEXT,
    "folder": TEXT,
    "runner": nested(Runner, RUNNER, optional=False),
    "started_at": MOMENT,
    "session": TEXT_OR_NULL,
    "observed": nested(SandboxFacts, SANDBOX),
    "is_resumed": FLAG,
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
    "reasoning_tokens": INTEGER_OR_NULL,
    "cache_read_tokens": INTEGER_OR_NULL,
    "cache_write_tokens": INTEGER_OR_NULL,
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
    "retry_at": MOMENT_OR_NULL,
}
FACTS: Final[Mapping[str, Codec]] = MappingProxyType(
    {
        "run": nested(Run, RUN),
        "revision": nested(Revision, REVISION),
        "usage": nested(Usage, USAGE),
        "landed": nested(Landed, LANDED),
        "error": nested(Failure, FAILURE),
    }
)
"""By the name of the task's field."""
