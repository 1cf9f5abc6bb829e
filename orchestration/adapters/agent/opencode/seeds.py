"""What a sandbox gets of the operator's OpenCode: the credentials and settings of the models in use, and no more.

Guarantees: credentials come over a command's stdin into a folder in memory, where the sandbox has one, readable for the
agent's user alone; never in argv. `unseed` takes all of it away again.
Not responsible for: keeping them from the agent itself, which works with them.
"""

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from types import MappingProxyType
from typing import Any, Final

from orchestration.adapters.agent.opencode.operator import Operator, merge
from orchestration.adapters.agent.opencode.providers import BUILT_IN_URLS, base_url, from_inside, named, providers_of
from orchestration.core.attempts import AttemptSpec
from orchestration.core.errors import SandboxError
from orchestration.core.ports import Command, Sandbox

_PATIENCE: Final = timedelta(seconds=60)
_LONGEST: Final = 1 << 16
_SCHEMA: Final = "https://opencode.ai/config.json"
_LEFT_OUT: Final = frozenset(
    {
        "mcp",
        "plugin",
        "share",
        "autoshare",
        "autoupdate",
        "server",
        "instructions",
        "references",
        "enterprise",
        "$schema",
    }
)
"""What names programs, folders and hosts that a sandbox does not have, or what we decide."""

_ALONE: Final = MappingProxyType(
    {
        "OPENCODE_DISABLE_AUTOUPDATE": "1",
        "OPENCODE_DISABLE_LSP_DOWNLOAD": "1",
        "OPENCODE_DISABLE_MODELS_FETCH": "1",
        "OPENCODE_DISABLE_SHARE": "1",
        "OPENCODE_DISABLE_TERMINAL_TITLE": "1",
    }
)
"""What keeps OpenCode from asking anybody but the model."""

# OpenCode installs a package into its configuration folder unless the lock file there already has it.
_LOCK: Final = '{"packages":{"":{"dependencies":{"@opencode-ai/plugin":"*"}}}}'
_PUT_CONFIG: Final = f"""
set -eu; umask 077
place=${{TASKQ_SECRETS:-}}
[ -n "$place" ] && [ -d "$place" ] && [ -w "$place" ] || place=$XDG_RUNTIME_DIR
place=$place/opencode
rm -rf -- "$place" "$XDG_CONFIG_HOME/opencode" "$XDG_DATA_HOME/opencode/auth.json"
mkdir -p -- "$place" "$XDG_CONFIG_HOME/opencode/node_modules" "$XDG_DATA_HOME/opencode"
printf '%s' '{_LOCK}' >"$XDG_CONFIG_HOME/opencode/package-lock.json"
printf '%s' '{{}}' >"$XDG_CONFIG_HOME/opencode/package.json"
printf '*\\n' >"$XDG_CONFIG_HOME/opencode/.gitignore"
cat >"$place/opencode.json"
printf '%s\\n%s' "$place" "$PWD"
"""
_PUT_AUTH: Final = """
set -eu; umask 077
cat >"$1/auth.json"
ln -s -- "$1/auth.json" "$XDG_DATA_HOME/opencode/auth.json"
"""
_TAKE_AWAY: Final = 'rm -rf -- "$1" "$XDG_DATA_HOME/opencode/auth.json"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Seeds:
    """What was put into a sandbox. *folder* holds the credentials, *directory* is where OpenCode works."""

    folder: str
    directory: str
    environment: Mapping[str, str] = field(repr=False)


def seed(sandbox: Sandbox, spec: AttemptSpec, operator: Operator) -> Seeds:
    """Put into *sandbox* what OpenCode needs there. Raises: SandboxError, UsageError."""
    used = used_providers(spec, operator)
    config = json.dumps(settings(spec, operator, used)).encode()
    told = _run(sandbox, _PUT_CONFIG, stdin=config).decode("utf-8", "surrogateescape")
    folder, _, directory = told.partition("\n")
    auth = {name: dict(entry) for name, entry in operator.auth.items() if name in used}
    if auth:
        _run(sandbox, _PUT_AUTH, folder, stdin=json.dumps(auth).encode())
    environment = {
        **_ALONE,
        "OPENCODE_CONFIG": f"{folder}/opencode.json",
        "OPENCODE_CONFIG_CONTENT": json.dumps(ours(spec, operator)),
    }
    return Seeds(folder=folder, directory=directory, environment=environment)


def unseed(sandbox: Sandbox, seeds: Seeds) -> None:
    """Take away what `seed` put there; a sandbox that is gone has taken it along."""
    with contextlib.suppress(SandboxError):
        _run(sandbox, _TAKE_AWAY, seeds.folder)


def used_providers(spec: AttemptSpec, operator: Operator) -> frozenset[str]:
    """Return the providers that a sandbox is to reach, with the sites that hand out configuration to all.

    Raises: UsageError.
    """
    sites = {name for name, entry in operator.auth.items() if entry.get("type") == "wellknown"}
    chosen = providers_of(operator.config, model=spec.model)
    if chosen is None:
        configured = operator.config.get("provider")
        chosen = frozenset(operator.auth) | frozenset(configured if isinstance(configured, dict) else ())
    return chosen | sites


def settings(spec: AttemptSpec, operator: Operator, used: frozenset[str]) -> dict[str, Any]:
    """Return the operator's configuration as far as it is for a sandbox: of providers only the *used* ones."""
    kept = {key: value for key, value in operator.config.items() if key not in _LEFT_OUT}
    configured = kept.get("provider")
    chosen = {name: entry for name, entry in configured.items() if name in used} if isinstance(configured, dict) else {}
    if spec.network == "allowlist":
        for provider in used & (frozenset(chosen) | frozenset(BUILT_IN_URLS)):
            url = base_url(operator.config, provider)
            if url is not None and from_inside(url) != url:
                chosen = merge(chosen, {provider: {"options": {"baseURL": from_inside(url)}}})
    return {"$schema": _SCHEMA, **kept, "provider": chosen}


def ours(spec: AttemptSpec, operator: Operator) -> dict[str, Any]:
    """Return the settings that neither the operator nor the repository changes. They hold no secret."""
    model = spec.model if spec.model is not None else model_of(operator)
    small = named(operator.config, "small_model") or model
    models = {key: name for key, name in (("model", model), ("small_model", small)) if name is not None}
    return {"$schema": _SCHEMA, "autoupdate": False, "share": "disabled", **models}


def model_of(operator: Operator) -> str | None:
    """Return the model that the operator set up; None when none is named. Raises: UsageError."""
    return named(operator.config, "model")


def _run(sandbox: Sandbox, script: str, *arguments: str, stdin: bytes = b"") -> bytes:
    said: dict[str, bytes] = {"stdout": b"", "stderr": b""}

    def output(stream: str, chunk: bytes) -> None:
        said[stream] += chunk[:_LONGEST]

    command = Command(argv=("/bin/sh", "-c", script, "taskq", *arguments), timeout=_PATIENCE, stdin=stdin)
    ended = sandbox.run(command, output)
    if not ended.succeeded:
        code = "sandbox_stopped" if ended.stopped else "seeds_failed"
        raise SandboxError(f"cannot put OpenCode's settings into the sandbox: {said['stderr']!a:.300}", code=code)
    return said["stdout"]
