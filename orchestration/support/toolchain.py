"""``.taskq.toml`` of a repository, as a value: what its tasks need around them.

Guarantees: whatever the bytes are, the answer is a Toolchain or a ConfigError that starts with where they come from.
Not responsible for: which hosts and presets there are (``adapters.sandbox.egress``), nor for making the surroundings.
"""

import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any, Final

from orchestration.core.errors import ConfigError
from orchestration.core.toolchain import Toolchain
from orchestration.support.config import image_reference, nearest, words
from orchestration.support.secrets import check_name

TOOLCHAIN_LIMIT: Final = 64 * 1024
"""Bytes that the file may have."""

_VARIABLE: Final = r"[A-Za-z_][A-Za-z0-9_]*"
_OURS: Final = (
    r"TASKQ_\w*|GIT_\w*|XDG_\w*|HOME|TMPDIR|USER|LOGNAME"
    r"|(?i:HTTP_PROXY|HTTPS_PROXY|FTP_PROXY|ALL_PROXY|NO_PROXY)"
)
"""Variables by which the sandbox itself works; a repository that set them would break it, or be ignored."""


def parse_toolchain(content: bytes, *, where: str) -> Toolchain:
    """Return what *content* says; *where* starts each error. Raises: ConfigError."""
    said: dict[str, Any] = {}
    for key, value in _table(content, where).items():
        if key not in _READERS:
            raise ConfigError(f"{where}: unknown key {key!a:.60}; {nearest(key, _READERS)}")
        try:
            said[key] = _READERS[key](value)
        except ValueError as error:
            raise ConfigError(f"{where}: {key}: {error}") from error
    if "image" in said and "dockerfile" in said:
        raise ConfigError(f"{where}: image and dockerfile are both given; keep one")
    return Toolchain(**said)


def _table(content: bytes, where: str) -> dict[str, Any]:
    if len(content) > TOOLCHAIN_LIMIT:
        raise ConfigError(f"{where}: the file has more than {TOOLCHAIN_LIMIT >> 10} KiB; shorten it")
    try:
        return tomllib.loads(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{where}: line {line} is no UTF-8; save the file as UTF-8") from error
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from error
    except RecursionError as error:
        raise ConfigError(f"{where}: values are nested too deep") from error


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("must be a text that is not empty")
    if "\0" in value:
        raise ValueError("holds a NUL character")
    return value


def _path(value: Any) -> str:
    path = PurePosixPath(_text(value))
    if not str(value).isprintable() or path.is_absolute() or ".." in path.parts or not path.name:
        raise ValueError("must be the path of a file in the repository, as in docker/Dockerfile")
    return str(path)


def _environment(value: Any) -> Mapping[str, str]:
    if not isinstance(value, dict):
        raise ValueError("must be a table of texts")  # noqa: TRY004 -- the caller sorts by ValueError
    for name, text in value.items():
        if not re.fullmatch(_VARIABLE, name, re.ASCII):
            raise ValueError(f"{name!a:.60} is no variable's name")
        if re.fullmatch(_OURS, name, re.ASCII):
            raise ValueError(f"{name:.60} is set by taskq itself; leave it out")
        if not isinstance(text, str) or "\0" in text:
            raise ValueError(f"{name:.60} must be a text")
    return value


def _list(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ValueError("must be a list of texts")  # noqa: TRY004 -- the caller sorts by ValueError
    return words(value)


def _secrets(value: Any) -> tuple[str, ...]:
    return tuple(map(check_name, _list(value)))


_READERS: Final[Mapping[str, Callable[[Any], Any]]] = MappingProxyType(
    {
        "image": image_reference,
        "dockerfile": _path,
        "setup": _text,
        "env": _environment,
        "allow": _list,
        "secrets": _secrets,
    }
)
