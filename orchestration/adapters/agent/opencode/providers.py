"""Where the models of a provider are: hosts for the allow-list of a sandbox. Pure.

Guarantees: only what the operator's own files name can open a private address.
"""

import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from orchestration.adapters.agent.opencode.asked import provider_of
from orchestration.adapters.agent.opencode.operator import BAD_CONFIG
from orchestration.core.errors import UsageError

OUTSIDE: Final = "host.docker.internal"
"""What the operator's own machine is called inside a sandbox with an allow-list."""
_PORTS: Final = MappingProxyType({"http": 80, "https": 443})
_PRIVATE_ENDS: Final = (".local", ".internal", ".lan", ".home.arpa", ".intranet", ".corp", ".localhost")

WELL_KNOWN: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "alibaba": ("https://dashscope-intl.aliyuncs.com",),
        "anthropic": ("https://api.anthropic.com", "https://console.anthropic.com"),
        "cerebras": ("https://api.cerebras.ai",),
        "cohere": ("https://api.cohere.com",),
        "deepinfra": ("https://api.deepinfra.com",),
        "deepseek": ("https://api.deepseek.com",),
        "fireworks-ai": ("https://api.fireworks.ai",),
        "github-copilot": (
            "https://api.githubcopilot.com",
            "https://api.individual.githubcopilot.com",
            "https://api.business.githubcopilot.com",
            "https://api.enterprise.githubcopilot.com",
            "https://api.github.com",
            "https://github.com",
        ),
        "google": ("https://generativelanguage.googleapis.com",),
        "groq": ("https://api.groq.com",),
        "huggingface": ("https://router.huggingface.co",),
        "lmstudio": ("http://127.0.0.1:1234",),
        "minimax": ("https://api.minimax.io",),
        "mistral": ("https://api.mistral.ai",),
        "moonshotai": ("https://api.moonshot.ai",),
        "nvidia": ("https://integrate.api.nvidia.com",),
        "ollama-cloud": ("https://ollama.com",),
        "openai": ("https://api.openai.com", "https://auth.openai.com", "https://chatgpt.com"),
        "opencode": ("https://opencode.ai",),
        "opencode-go": ("https://opencode.ai",),
        "openrouter": ("https://openrouter.ai",),
        "perplexity": ("https://api.perplexity.ai",),
        "togetherai": ("https://api.together.xyz",),
        "vercel": ("https://ai-gateway.vercel.sh",),
        "xai": ("https://api.x.ai",),
        "zai": ("https://api.z.ai",),
        "zai-coding-plan": ("https://api.z.ai",),
    }
)
"""Where providers are whose address the operator need not write down, with what refreshes their log-ins."""
BUILT_IN_URLS: Final[Mapping[str, str]] = MappingProxyType({"lmstudio": "http://127.0.0.1:1234/v1"})
"""Providers on the operator's machine that OpenCode knows without a ``baseURL``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hosts:
    """Entries for `AttemptSpec.allow` and `AttemptSpec.allow_private`."""

    allow: tuple[str, ...] = ()
    allow_private: tuple[str, ...] = ()


def providers_of(config: Mapping[str, Any], *, model: str | None) -> frozenset[str] | None:
    """Return the providers of every model that may be asked; None when no model is named, so that any may be.

    *model* is the task's; without one the configuration's counts. Raises: UsageError for a model that is none.
    """
    first = model if model is not None else named(config, "model")
    if first is None:
        return None
    return frozenset(provider_of(each) for each in (first, *_others(config)))


def named(config: Mapping[str, Any], key: str) -> str | None:
    """Return the text under *key*. Raises: UsageError when something else is there."""
    value = config.get(key)
    if value is not None and not isinstance(value, str):
        raise UsageError(f"'{key}' of OpenCode's configuration is no text; mend it", code=BAD_CONFIG)
    return value or None


def base_url(config: Mapping[str, Any], provider: str) -> str | None:
    """Return where the operator's configuration says that *provider* is. Raises: UsageError for what is no URL."""
    entry = _inner(config.get("provider"), provider)
    url = _inner(entry, "options").get("baseURL") or entry.get("api") or BUILT_IN_URLS.get(provider)
    if url is None:
        return None
    if not isinstance(url, str):
        raise UsageError(f"the baseURL of OpenCode's provider {provider!a} is no text; mend it", code=BAD_CONFIG)
    _split(url, provider)
    return url


def hosts_of(
    config: Mapping[str, Any], auth: Mapping[str, Mapping[str, Any]], providers: Iterable[str], *, from_inside: bool
) -> Hosts:
    """Return the hosts of *providers*; *from_inside* they are named as a sandbox with an allow-list sees them."""
    allow: dict[str, None] = {}
    private: dict[str, None] = {}
    for provider in sorted(providers):
        for url in _urls(config, auth, provider):
            parts = _split(url, provider)
            host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
            host = OUTSIDE if from_inside and is_loopback(host) else host
            (private if is_private(host) else allow)[f"[{host}]:{port}" if ":" in host else f"{host}:{port}"] = None
    return Hosts(allow=tuple(allow), allow_private=tuple(private))


def from_inside(url: str) -> str:
    """Return *url* as a sandbox with an allow-list must name it, when it is on the operator's own machine."""
    parts = urlsplit(url)
    if not is_loopback(parts.hostname or ""):
        return url
    port = f":{parts.port}" if parts.port is not None else ""
    return parts._replace(netloc=f"{OUTSIDE}{port}").geturl()


def is_loopback(host: str) -> bool:
    """Return whether *host* is the machine that it is said on."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_private(host: str) -> bool:
    """Return whether *host* is, by its looks, no host of the public internet."""
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return "." not in host or host.endswith(_PRIVATE_ENDS)


def _others(config: Mapping[str, Any]) -> Iterator[str]:
    """Yield the models that OpenCode asks besides the one in use: for small things, and by agents of their own."""
    small = named(config, "small_model")
    if small is not None:
        yield small
    agents = config.get("agent")
    for agent in agents.values() if isinstance(agents, dict) else ():
        if isinstance(agent, dict) and isinstance(agent.get("model"), str):
            yield agent["model"]


def _urls(config: Mapping[str, Any], auth: Mapping[str, Mapping[str, Any]], provider: str) -> Iterator[str]:
    if provider.startswith(("http://", "https://")):  # a site that hands out configuration
        yield provider
        return
    url = base_url(config, provider)
    yield from (url,) if url is not None else WELL_KNOWN.get(provider, ())
    enterprise = auth.get(provider, {}).get("enterpriseUrl")
    if isinstance(enterprise, str) and enterprise:
        host = enterprise.removeprefix("https://").strip("/")
        yield from (f"https://{host}", f"https://copilot-api.{host}", f"https://api.{host}")


def _split(url: str, provider: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in _PORTS and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        message = f"the baseURL of OpenCode's provider {provider!a} is no http or https URL; mend it in opencode.json"
        raise UsageError(message, code=BAD_CONFIG)
    return parts


def _inner(value: Any, key: str) -> Mapping[str, Any]:
    inner = value.get(key) if isinstance(value, Mapping) else None
    return inner if isinstance(inner, Mapping) else {}
