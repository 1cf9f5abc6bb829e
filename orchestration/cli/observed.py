"""What was observed of a sandbox, as rows for people: a word, and what goes with it.

Guarantees: each row is one visible line, whatever a program inside asked for.
"""

from collections.abc import Iterator
from typing import Final

from orchestration.core.facts import RefusedHost, SandboxFacts
from orchestration.support.text import visible_line

_MOST: Final = 20
_SHORT: Final = 12
_WIDEST: Final = 120


def rows(facts: SandboxFacts) -> Iterator[tuple[str, str]]:
    """Yield the sandbox, what is wider than usual about it, and the hosts that it was refused."""
    yield "ran in", ", ".join(_parts(facts))
    if facts.name is not None:
        yield "", visible_line(facts.name) + (f" ({_short(facts.id)})" if facts.id is not None else "")
    for waiver in facts.waivers:
        yield "WAIVER", visible_line(waiver)
    for host in facts.refused[:_MOST]:
        yield "refused", refused(host)
    if len(facts.refused) > _MOST:
        yield "refused", f"and {len(facts.refused) - _MOST} more; see --json"
    if facts.refused:
        yield "", 'open one: allow = ["HOST"] in .taskq.toml or config.toml'
        yield "", "a private one: allow_private in config.toml"


def refused(host: RefusedHost) -> str:
    """Return a refused host as one line: ``evil.example:443 (not allowed) x3``."""
    name = visible_line(host.host, width=_WIDEST)
    if host.port is not None:
        name = f"[{name}]:{host.port}" if ":" in name and not name.startswith("[") else f"{name}:{host.port}"
    times = f" x{host.count}" if host.count > 1 else ""
    return f"{name} ({visible_line(host.reason, width=_WIDEST)}){times}"


def _parts(facts: SandboxFacts) -> Iterator[str]:
    yield facts.kind
    if facts.image is not None:
        yield f"image {_short(facts.image)}"
    if facts.network is not None:
        yield f"network {facts.network}"


def _short(identity: str) -> str:
    return visible_line(identity.removeprefix("sha256:")[:_SHORT])
