"""The operator's own OpenCode: configuration and credentials, read on the host where they are.

Guarantees: nothing is written; ``{env:NAME}`` and ``{file:PATH}`` are resolved here, as a sandbox has neither; what
looks like a credential is known by name, so that it can be kept out of logs.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from typing import Any, Final

from orchestration.core.errors import UsageError

CONFIG_FILES: Final = ("config.json", "opencode.json", "opencode.jsonc")
"""In the order in which OpenCode merges them; the later wins."""
BAD_CONFIG: Final = "bad_agent_config"
_LARGEST: Final = 4 * 1024**2
_LEAST_SECRET: Final = 4
"""Bytes; shorter values cannot be told from other output."""
_ENV: Final = re.compile(r"\{env:([^}]+)\}")
_FILE: Final = re.compile(r"\{file:([^}]+)\}")
_CREDENTIAL: Final = re.compile(
    r"key|token|secret|password|authorization|credential|cookie|access|refresh", re.IGNORECASE
)
_NO_CREDENTIAL: Final = re.compile(r"(?:max_?|num_?)?tokens?_?(?:limit|count)?s|keybinds?|cachekey", re.IGNORECASE)
_SCHEME: Final = re.compile(r"(?:Bearer|Basic|Token)\s+(\S+)\s*", re.IGNORECASE)
_OF_PROVIDERS: Final = ("provider", "mcp")
"""Where whatever was resolved from a variable or a file counts as a credential, however its key is called."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """What the operator set up. *auth* is by provider; *secrets* are names with values."""

    config: Mapping[str, Any] = field(default_factory=dict, repr=False)
    auth: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)
    secrets: tuple[tuple[str, bytes], ...] = field(default=(), repr=False)


def read_operator(environment: Mapping[str, str]) -> Operator:
    """Return what the operator with these variables set up; nothing is where there are no files.

    Raises: UsageError (``bad_agent_config``) that names the file that cannot be used.
    """
    home = Path(environment.get("HOME") or Path.home())
    folder = _folder(environment, "XDG_CONFIG_HOME", home / ".config")
    resolved: set[str] = set()
    parts = [_read_config(folder / name, environment, home, resolved) for name in CONFIG_FILES]
    config = reduce(merge, parts)
    auth = _read_auth(_folder(environment, "XDG_DATA_HOME", home / ".local/share") / "auth.json")
    named = dict.fromkeys((*_auth_secrets(auth), *_config_secrets(config, resolved)))
    return Operator(config=config, auth=auth, secrets=tuple(named))


def merge(first: Mapping[str, Any], then: Mapping[str, Any]) -> dict[str, Any]:
    """Return both, object by object; elsewhere *then* wins."""
    both = dict(first)
    for key, value in then.items():
        before = both.get(key)
        both[key] = merge(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
    return both


def _folder(environment: Mapping[str, str], variable: str, fallback: Path) -> Path:
    given = environment.get(variable, "")
    return (Path(given) if given.startswith("/") else fallback) / "opencode"


def _read_config(path: Path, environment: Mapping[str, str], home: Path, resolved: set[str]) -> dict[str, Any]:
    text = _read(path)
    if text is None:
        return {}
    return _parse(_resolve(text, path, environment, home, resolved), path)


def _read_auth(path: Path) -> dict[str, Mapping[str, Any]]:
    """Return the credentials by provider; what is no object is no credential for OpenCode either."""
    text = _read(path)
    if text is None:
        return {}
    return {name: entry for name, entry in _parse(text, path).items() if isinstance(entry, dict)}


def _read(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)
        if len(content) > _LARGEST:
            raise UsageError(f"{path} is larger than {_LARGEST >> 20} MiB", code=BAD_CONFIG)
        return content.decode("utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}", code=BAD_CONFIG) from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is no UTF-8 at byte {error.start}", code=BAD_CONFIG) from error


def _parse(text: str, path: Path) -> dict[str, Any]:
    """Return the object that *text* is. No part of the text is in an error: it may be a credential."""
    if not text.strip():
        return {}
    try:
        try:
            found = json.loads(text)
        except ValueError:
            import json5  # noqa: PLC0415 - slow to load, and plain JSON is the usual case

            found = json5.loads(text)
    except ValueError as error:
        place = re.search(r":(\d+) Unexpected", str(error))
        where = f", line {place[1]}" if place else ""
        raise UsageError(f"{path}{where}: this is no JSON with comments; mend it", code=BAD_CONFIG) from None
    except RecursionError:
        raise UsageError(f"{path}: this is nested too deeply", code=BAD_CONFIG) from None
    if not isinstance(found, dict):
        raise UsageError(f"{path}: this is no object; write {{...}}", code=BAD_CONFIG)
    return found


def _resolve(text: str, path: Path, environment: Mapping[str, str], home: Path, resolved: set[str]) -> str:
    """Put variables and files in their places, as OpenCode does, and add their values to *resolved*."""

    def variable(found: re.Match[str]) -> str:
        value = environment.get(found[1], "")
        resolved.add(value)
        return value

    def content(found: re.Match[str]) -> str:
        if text_before(found).startswith("//"):
            return found[0]
        name = found[1]
        named = home / name[2:] if name.startswith("~/") else path.parent / name
        value = _read(named)
        if value is None:
            raise UsageError(f"{path}: there is no file {named}, which {found[0]} names", code=BAD_CONFIG)
        resolved.add(value.strip())
        return json.dumps(value.strip())[1:-1]

    def text_before(found: re.Match[str]) -> str:
        start = found.string.rfind("\n", 0, found.start()) + 1
        return found.string[start : found.start()].lstrip()

    return _FILE.sub(content, _ENV.sub(variable, text))


def _auth_secrets(auth: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, bytes]]:
    for provider, entry in auth.items():
        for key, value in _strings(entry):
            is_name = entry.get("type") == "wellknown" and key[-1:] == ("key",)
            if not is_name and _is_credential(key):
                yield from _spellings(f"opencode:{provider}", value)


def _config_secrets(config: Mapping[str, Any], resolved: set[str]) -> Iterator[tuple[str, bytes]]:
    hidden = {value for value in resolved if len(value.encode()) >= 2 * _LEAST_SECRET}
    for key, value in _strings(config):
        is_theirs = key[0] in _OF_PROVIDERS and any(secret in value for secret in hidden)
        if is_theirs or (_is_credential(key) and key[0] != "keybinds"):
            yield from _spellings(f"opencode:{'.'.join(key[:2])}", value)


def _strings(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield every string with the keys that lead to it."""
    if isinstance(value, str) and path:
        yield path, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _strings(inner, (*path, str(key)))
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner, path)


def _is_credential(path: tuple[str, ...]) -> bool:
    return bool(_CREDENTIAL.search(path[-1])) and not _NO_CREDENTIAL.fullmatch(path[-1])


def _spellings(name: str, value: str) -> Iterator[tuple[str, bytes]]:
    """Yield the value, and what of a header follows its scheme."""
    scheme = _SCHEME.fullmatch(value)
    for spelled in (value.strip(), *((scheme[1],) if scheme else ())):
        content = spelled.encode("utf-8", "surrogateescape")
        if len(content) >= _LEAST_SECRET:
            yield name, content
