"""Where the queue, the state, the cache and the configuration are.

Responsible for: the order in which places are tried (docs/reference/configuration.md), as functions of an environment.
Not responsible for: creating anything.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

MARKER: Final = ".taskq"


def _home(environment: Mapping[str, str]) -> Path:
    return Path(environment["HOME"]) if environment.get("HOME") else Path.home()


def _xdg(environment: Mapping[str, str], variable: str, fallback: str) -> Path:
    """Return an XDG folder; a relative value is to be ignored, by the XDG base directory specification."""
    given = environment.get(variable, "")
    return Path(given) if given.startswith("/") else _home(environment) / fallback


def state_folder(environment: Mapping[str, str]) -> Path:
    """Return the folder of attempts."""
    return _xdg(environment, "XDG_STATE_HOME", ".local/state") / "taskq"


def cache_folder(environment: Mapping[str, str]) -> Path:
    """Return the folder of what can be made again at any time."""
    return _xdg(environment, "XDG_CACHE_HOME", ".cache") / "taskq"


def data_folder(environment: Mapping[str, str]) -> Path:
    """Return the folder of worktrees, and of the queue when no other is found."""
    return _xdg(environment, "XDG_DATA_HOME", ".local/share") / "taskq"


def config_file(environment: Mapping[str, str]) -> Path:
    """Return the operator's own configuration file."""
    return _xdg(environment, "XDG_CONFIG_HOME", ".config") / "taskq" / "config.toml"


def secrets_folder(environment: Mapping[str, str]) -> Path:
    """Return the folder of the operator's secrets."""
    return config_file(environment).parent / "secrets"


def find_queue(given: str | None, *, environment: Mapping[str, str], cwd: Path) -> Path:
    """Return the queue's folder: *given*, ``TASKQ_QUEUE``, the nearest marked ``queue/``, the user's data folder."""
    named = given or environment.get("TASKQ_QUEUE")
    if named:
        return Path(cwd, Path(named).expanduser()).absolute()
    for folder in (cwd, *cwd.parents):
        if (folder / "queue" / MARKER).is_file():
            return folder / "queue"
    return data_folder(environment) / "queue"
