"""The allow-list: which hosts, ports and addresses a sandbox may reach. Pure.

Entries are ``HOST``, ``HOST:PORT``, ``.HOST`` or ``*.HOST`` (both: every name below HOST, at any depth, but not HOST
itself), an address, or the name of a preset. Without a port: 80 and 443.
Guarantees: names match exactly or at a dot; only an operator's private entry opens a private address, and for itself
only; a link-local or metadata address takes a private entry that is that address. The operator's own machine has a
name of its own, `OPERATORS_MACHINE`, which a private entry that is this name opens, and nothing else does.
"""

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from orchestration.adapters.sandbox.egress.addresses import Place, place
from orchestration.adapters.sandbox.egress.hosts import Address, literal, parse_authority
from orchestration.adapters.sandbox.egress.presets import PRESETS

WEB_PORTS: Final = frozenset({80, 443})
OPERATORS_MACHINE: Final = "host.docker.internal"
"""What 127.0.0.1 of the host is called in a sandbox, where 127.0.0.1 is the sandbox itself."""
_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://([^/?#]*)", re.ASCII)


class Refusal(StrEnum):
    """Why a host was refused, as it is recorded."""

    MALFORMED = "malformed request"
    NOT_LISTED = "not in the allow-list"
    PORT_NOT_LISTED = "port not in the allow-list"
    PRIVATE = "private address"
    METADATA = "link-local or metadata address"
    UNUSABLE = "not a public address"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of the allow-list. *is_suffix* covers the names below *host*; otherwise only *host* itself."""

    host: str
    ports: frozenset[int]
    is_suffix: bool = False
    is_private: bool = False

    def covers(self, host: str) -> bool:
        """Whether a canonical *host* is meant, on whatever port."""
        return host.endswith(f".{self.host}") if self.is_suffix else host == self.host

    def opens_private(self, host: str) -> bool:
        """Whether a canonical *host* that is covered may have a private address."""
        return self.is_private and (host != OPERATORS_MACHINE or not self.is_suffix)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What an allowed host may resolve to."""

    host: str
    private: bool

    def refusal(self, address: Address) -> Refusal | None:
        """Return why the host may not be reached at *address*; None when it may."""
        match place(address):
            case Place.PUBLIC:
                return None
            case Place.PRIVATE:
                return None if self.private else Refusal.PRIVATE
            case Place.METADATA:
                return None if self.private and literal(self.host) == address else Refusal.METADATA
            case Place.UNUSABLE:
                return Refusal.UNUSABLE


@dataclass(frozen=True, slots=True)
class Policy:
    """An allow-list, read."""

    entries: tuple[Entry, ...]

    def judge(self, host: str, port: int) -> Grant | Refusal:
        """Return what a canonical *host* is granted on *port*, or why it is refused. Resolves nothing."""
        covering = [entry for entry in self.entries if entry.covers(host)]
        if not covering:
            return Refusal.NOT_LISTED
        open_here = [entry for entry in covering if port in entry.ports]
        if not open_here:
            return Refusal.PORT_NOT_LISTED
        return Grant(host=host, private=any(entry.opens_private(host) for entry in open_here))


def parse(entries: Iterable[str], *, private: Iterable[str] = ()) -> Policy:
    """Return the policy of *entries* and of the operator's *private* ones.

    Raises: ValueError that names the entry and the nearest right one.
    """
    public = (entry for text in entries for entry in _parse(text))
    return Policy((*public, *(_parse_host_entry(text, is_private=True) for text in private)))


def _parse(text: str) -> tuple[Entry, ...]:
    if text in PRESETS:
        return tuple(Entry(host=host, ports=WEB_PORTS) for host in PRESETS[text])
    if re.fullmatch(r"[\w-]+", text):
        near = difflib.get_close_matches(text.lower(), PRESETS, n=1, cutoff=0)
        raise ValueError(f"{text!r} is no preset; did you mean {near[0]!r}? A host has a dot, or a port: {text}:443")
    return (_parse_host_entry(text, is_private=False),)


def _parse_host_entry(text: str, *, is_private: bool) -> Entry:
    if is_private and text in PRESETS:
        raise ValueError(f"{text!r} is a preset, whose hosts are public; list it under allow")
    found = re.match(r"\*?\.", text)
    try:
        host, port = parse_authority(text[found.end() :] if found else text)
        if found and ("." not in host or literal(host) is not None):
            raise ValueError("what follows the dot is a name of two labels or more")  # noqa: TRY301 - one message below
    except ValueError as error:
        raise ValueError(f"{text!r} is no entry: {error}{_remedy(text)}") from None
    ports = WEB_PORTS if port is None else frozenset({port})
    return Entry(host=host, ports=ports, is_suffix=found is not None, is_private=is_private)


def _remedy(text: str) -> str:
    url = _URL.match(text)
    if url is not None:
        return f"; did you mean {url.group(1).rpartition('@')[2]!r}?"
    if text.endswith("."):
        return f"; did you mean {text.rstrip('.')!r}?"
    if "/" in text:
        return f"; did you mean {text.partition('/')[0]!r}?"
    return "; entries are HOST, HOST:PORT, .HOST, an address or a preset"
