"""One tree of errors, sorted by what to do next; each class knows its exit code.

A message is one line without a full stop: what, which, and what would help.
A non-zero exit of an agent or a test is a result, not one of these.
"""

from typing import ClassVar, Final

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_NOT_NOW: Final = 3
EXIT_DAMAGED: Final = 4
EXIT_BUG: Final = 70
EXIT_INTERRUPTED: Final = 130


class TaskqError(Exception):
    """Any error that taskq foresees; *code* is stable and for machines, the message is for people."""

    exit_code: ClassVar[int] = EXIT_BUG
    default_code: ClassVar[str] = "bug"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.code = code if code is not None else self.default_code


class UsageError(TaskqError):
    """Ask differently: the request cannot be right as it stands."""

    exit_code = EXIT_USAGE
    default_code = "usage"


class TaskNotFoundError(UsageError):
    """No task has this id."""

    default_code = "unknown_task"


class DuplicateTaskError(UsageError):
    """A task of this id (case ignored) is in the queue."""

    default_code = "duplicate_task"


class IllegalTransitionError(UsageError):
    """The task's status does not allow what was asked."""

    default_code = "illegal_transition"

    def __init__(self, task_id: str, current: str, wanted: str, *, hint: str = "") -> None:
        suffix = f"; {hint}" if hint else ""
        super().__init__(f"task {task_id} is {current} and cannot become {wanted}{suffix}")
        self.task_id = task_id
        self.current = current
        self.wanted = wanted


class TaskFileError(UsageError):
    """A task file is malformed; the message starts with ``file:line``."""

    default_code = "task_file"


class ConfigError(UsageError):
    """A configuration file or variable is malformed; the message names it and the key."""

    default_code = "config"


class RepositoryError(UsageError):
    """A repository, base or branch is not what the task says."""

    default_code = "repository"


class NewerVersionError(UsageError):
    """The data was written by a newer taskq; this one refuses rather than guess."""

    default_code = "newer_version"


class ExternalError(TaskqError):
    """Not possible now: something outside of taskq must change, then the same request works."""

    exit_code = EXIT_NOT_NOW
    default_code = "external"


class StorageError(ExternalError):
    """The queue's files cannot be read or written now: disk full, read-only, no permission. Nothing was changed."""

    default_code = "storage"


class SandboxError(ExternalError):
    """A sandbox could not be opened or died under us."""

    default_code = "sandbox"


class GitError(ExternalError):
    """git itself failed: the message carries the command and the tail of its stderr."""

    default_code = "git"


class BusyError(ExternalError):
    """Somebody else holds what is needed: a lock, a lease, a dirty worktree."""

    default_code = "busy"


class CorruptStateError(TaskqError):
    """A person must look: stored state is damaged or in doubt. Writers refuse, readers warn."""

    exit_code = EXIT_DAMAGED
    default_code = "damaged"


class WorkFailedError(TaskqError):
    """An attempt did not succeed: the agent failed, changed nothing, or what came out was refused."""

    exit_code = EXIT_FAILED
    default_code = "failed"
