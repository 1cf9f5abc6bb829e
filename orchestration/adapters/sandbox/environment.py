"""The environment of an attempt's commands, from nothing: no variable of the operator's comes along, but PATH.

The three marks (queue, task, attempt) are how the local provider's `reap` finds what a crash left.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from orchestration.core.attempts import AttemptFolders, AttemptSpec

MARKS: Final[Mapping[str, str]] = MappingProxyType(
    {"taskq.queue": "TASKQ_QUEUE_ID", "taskq.task": "TASKQ_TASK_ID", "taskq.attempt": "TASKQ_ATTEMPT"}
)
"""The variable that carries each label."""


def marks(labels: Mapping[str, str], *, kind: str) -> dict[str, str]:
    """Return the variables by which processes with *labels*, in a sandbox of this *kind*, are known."""
    return {MARKS[label]: value for label, value in labels.items()} | {"TASKQ_SANDBOX": kind}


def environment(spec: AttemptSpec, folders: AttemptFolders, *, kind: str, path: str) -> dict[str, str]:
    """Return the variables that every command of the attempt starts with; *folders* are as the command sees them."""
    home = folders.data / "home"
    return marks(spec.labels, kind=kind) | {
        "PATH": path,
        "HOME": str(home),
        "TMPDIR": str(folders.data / "tmp"),
        "XDG_CONFIG_HOME": str(home / ".config"),
        "XDG_CACHE_HOME": str(home / ".cache"),
        "XDG_DATA_HOME": str(home / ".local/share"),
        "XDG_STATE_HOME": str(home / ".local/state"),
        "XDG_RUNTIME_DIR": str(folders.data / "run"),
        "LANG": "C.UTF-8",
        "TERM": "dumb",
        "SHELL": "/bin/sh",
        "USER": "taskq",
        "LOGNAME": "taskq",
        "GIT_CONFIG_NOSYSTEM": "1",
        "TASKQ_OUT": str(folders.out),
        "TASKQ_CONFIG": str(folders.config),
        "TASKQ_SECRETS": str(folders.secrets),
        **spec.toolchain.env,
    }
