"""Connecting to an allowed host: its name is resolved once, and only an address that was checked is connected to.

The name of the operator's own machine is no name server's to resolve: it is 127.0.0.1.
"""

import ipaddress
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from orchestration.adapters.sandbox.egress.hosts import Address
from orchestration.adapters.sandbox.egress.policy import OPERATORS_MACHINE, Grant, Refusal

_ATTEMPTS: Final = 4
_LOOPBACK: Final = "127.0.0.1"
Resolve = Callable[[str, int], Iterable[tuple[Any, ...]]]
"""As `socket.getaddrinfo`; raises OSError."""


class RefusedAddressError(Exception):
    """All addresses of a host are refused."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.value)
        self.refusal = refusal


class UnreachableError(Exception):
    """A host has no address, or does not answer."""


@dataclass(frozen=True, slots=True)
class _Candidate:
    address: Address
    sockaddr: tuple[Any, ...]

    @property
    def family(self) -> socket.AddressFamily:
        return socket.AF_INET if self.address.version == 4 else socket.AF_INET6


def resolve(host: str, port: int) -> Iterable[tuple[Any, ...]]:
    """Return the host's addresses, as `socket.getaddrinfo`."""
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)


def connect(grant: Grant, port: int, *, seconds: float, resolve: Resolve = resolve) -> socket.socket:
    """Return a connection to the granted host; each of a few addresses is waited for *seconds*.

    Raises: RefusedAddressError, UnreachableError.
    """
    allowed = _allowed(grant, _candidates(grant.host, port, resolve))
    problem = OSError("no address")
    for candidate in allowed[:_ATTEMPTS]:
        connection = socket.socket(candidate.family, socket.SOCK_STREAM)
        try:
            connection.settimeout(seconds)
            connection.connect(candidate.sockaddr)
        except OSError as error:
            connection.close()
            problem = error
        else:
            return connection
    raise UnreachableError(f"{grant.host} does not answer: {problem.strerror or problem}") from problem


def _candidates(host: str, port: int, resolve: Resolve) -> list[_Candidate]:
    if host == OPERATORS_MACHINE:
        return [_Candidate(ipaddress.ip_address(_LOOPBACK), (_LOOPBACK, port))]
    try:
        found = [answer[4] for answer in resolve(host.strip("[]"), port)]
    except (OSError, UnicodeError) as error:
        raise UnreachableError(f"{host} cannot be resolved: {error}") from error
    return [_Candidate(ipaddress.ip_address(sockaddr[0].partition("%")[0]), sockaddr) for sockaddr in found]


def _allowed(grant: Grant, candidates: list[_Candidate]) -> list[_Candidate]:
    refusals = {candidate.sockaddr: _refusal(grant, candidate) for candidate in candidates}
    allowed = [candidate for candidate in candidates if refusals[candidate.sockaddr] is None]
    refused = [refusal for refusal in refusals.values() if refusal is not None]
    if refused and not allowed:
        raise RefusedAddressError(refused[0])
    return allowed


def _refusal(grant: Grant, candidate: _Candidate) -> Refusal | None:
    refusal = grant.refusal(candidate.address)
    if refusal is None and not grant.private and is_own(candidate.sockaddr, candidate.family):
        return Refusal.PRIVATE
    return refusal


def is_own(sockaddr: tuple[Any, ...], family: socket.AddressFamily) -> bool:
    """Whether an address is this machine's own, public or not: then its own services would answer. Sends nothing."""
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(sockaddr)
        except OSError:
            return False  # there is no way to it at all; connecting will say so
        return bool(probe.getsockname()[0] == sockaddr[0])
