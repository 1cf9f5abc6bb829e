"""Errors and exits as facts of the task."""

import errno
from typing import Final

from orchestration.core.errors import TaskqError
from orchestration.core.facts import Failure
from orchestration.core.ports import AgentResult
from orchestration.pipeline.log import StageLog
from orchestration.support.files import storage_error

_DISK: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO})


def from_error(error: Exception, *, stage: str) -> Failure:
    """Return what *error* says, whether foreseen or not."""
    if isinstance(error, OSError) and error.errno in _DISK:
        error = storage_error(error, "write", error.filename or "the attempt's folder")
    if isinstance(error, TaskqError):
        return Failure(stage=stage, code=error.code, message=str(error))
    return Failure(stage=stage, code="bug", message=f"taskq itself failed: {type(error).__name__}: {error}")


def from_agent(result: AgentResult, *, stage: str, log: StageLog) -> Failure | None:
    """Return the failure that *result* tells of; None when the agent succeeded."""
    if result.problem is None:
        return None
    return Failure(
        stage=stage,
        code=result.code or "agent_failed",
        message=result.problem,
        command=result.command,
        exit_code=result.exit.code if result.exit.signal is None else 128 + result.exit.signal,
        stdout_tail=log.tail("stdout"),
        stderr_tail=log.tail("stderr"),
        retry_at=result.retry_at,
    )
