"""TOML files and environment variables into one Settings value, each value with its origin.

Guarantees: an unknown key, a wrong type or an unreadable file is a ConfigError that names the file and the key.
Order, the later winning: the operator's file, the queue's file, ``TASKQ_DEFAULT_<KEY>`` variables.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from orchestration.core.errors import ConfigError
from orchestration.core.models import NETWORKS, Limits
from orchestration.core.settings import Settings

ENVIRONMENT_PREFIX: Final = "TASKQ_DEFAULT_"
_LONGEST_REFERENCE: Final = 255


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("must be a text that is not empty")
    return value


def _whole(value: Any) -> int:
    if isinstance(value, str) and value.lstrip("-").isdecimal():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError("must be a whole number")  # noqa: TRY004 -- callers sort by ValueError
    return value


def _count(value: Any) -> int:
    number = _whole(value)
    if number < 1:
        raise ValueError("must be at least 1")
    return number


def _truth(value: Any) -> bool:
    spelled = {"true": True, "1": True, "false": False, "0": False}
    if isinstance(value, str) and value.lower() in spelled:
        return spelled[value.lower()]
    if not isinstance(value, bool):
        raise ValueError("must be true or false")  # noqa: TRY004 -- callers sort by ValueError
    return value


def _folder(value: Any) -> Path:
    path = Path(_text(value)).expanduser()
    if not path.is_absolute():
        raise ValueError("must be an absolute path")
    return path


def word(value: Any) -> str:
    """Return *value*, which is one printable word. Raises: ValueError."""
    if not isinstance(value, str) or not value or not value.isprintable() or " " in value:
        raise ValueError("must be a word without spaces")
    return value


def words(value: Any) -> tuple[str, ...]:
    """Return a list of words, or a text of them with commas, without repeats. Raises: ValueError."""
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",")] if value.strip() else []
    if not isinstance(value, list):
        raise ValueError("must be a list of words")  # noqa: TRY004 -- callers sort by ValueError
    return tuple(dict.fromkeys(map(word, value)))


def image_reference(value: Any) -> str:
    """Return *value*, which may name an image. Raises: ValueError."""
    reference = word(value)
    if not reference.isascii() or not reference[0].isalnum() or len(reference) > _LONGEST_REFERENCE:
        raise ValueError("must name an image, as in debian:bookworm-slim")
    return reference


def _network(value: Any) -> str:
    if value not in NETWORKS:
        raise ValueError(f"must be one of {', '.join(NETWORKS)}")
    return str(value)


_PARSERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "sandbox": _text,
    "image": image_reference,
    "network": _network,
    "allow": words,
    "allow_private": words,
    "agent": _text,
    "agent_command": _text,
    "model": _text,
    "variant": _text,
    "base": _text,
    "priority": _whole,
    "allow_empty": _truth,
    "max_parallel": _count,
    "worktree_root": _folder,
    "identity_name": _text,
    "identity_email": _text,
}


def nearest(word: str, known: Mapping[str, Any]) -> str:
    """Return ``; did you mean X`` for the nearest of *known*, or the list of them."""
    import difflib  # noqa: PLC0415 -- only for an error

    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"known are {', '.join(sorted(known))}"


def parse_limits(pairs: Mapping[str, Any], *, where: str) -> dict[str, Any]:
    """Return the fields of Limits that *pairs* name. Raises: ConfigError that starts with *where*."""
    from orchestration.support.limits import LIMITS  # noqa: PLC0415 -- most settings are at their defaults

    return {name: _parse(LIMITS, name, str(value), where=where) for name, value in pairs.items()}


def _parse(parsers: Mapping[str, Callable[[Any], Any]], key: str, value: Any, *, where: str) -> Any:
    if key not in parsers:
        raise ConfigError(f"{where}: unknown key {key!r}; {nearest(key, parsers)}")
    try:
        return parsers[key](value)
    except ValueError as error:
        raise ConfigError(f"{where}: {key}: {error}") from error


def _from_file(path: Path) -> dict[str, Any]:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    import tomllib  # noqa: PLC0415 -- most queues have no such file, and `add` must start quickly

    try:
        return tomllib.loads(content.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from error


def _from_environment(environment: Mapping[str, str]) -> dict[str, str]:
    return {
        name.removeprefix(ENVIRONMENT_PREFIX).lower(): value
        for name, value in environment.items()
        if name.startswith(ENVIRONMENT_PREFIX)
    }


def load(*files: Path, environment: Mapping[str, str]) -> tuple[Settings, Mapping[str, str]]:
    """Return the settings, and for every key that is not at its default where its value comes from."""
    values: dict[str, Any] = {}
    limits: dict[str, Any] = {}
    origins: dict[str, str] = {}
    sources = [(str(path), _from_file(path)) for path in files]
    sources.extend(
        (ENVIRONMENT_PREFIX + key.upper(), {key: text}) for key, text in _from_environment(environment).items()
    )
    for where, content in sources:
        for key, value in content.items():
            if key == "limits" and isinstance(value, dict):
                limits.update(parse_limits(value, where=f"{where}: [limits]"))
                origins.update({f"limits.{name}": where for name in value})
            else:
                values[key] = _parse(_PARSERS, key, value, where=where)
                origins[key] = where
    return Settings(limits=Limits(**limits), **values), origins
