"""How a host is spelled, in allow-lists and in requests: one strict grammar, so that both mean the same machine.

Guarantees: a host has one canonical form, and two spellings that a resolver could take for one address are never told
apart: what is no plain name, dotted quad or bracketed IPv6 address is refused, not interpreted.
"""

import ipaddress
import re
from typing import Final

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_LONGEST: Final = 253
_LABEL: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)
_IPV6: Final = re.compile(r"\[([0-9a-f:.]+)\]", re.ASCII)
_AUTHORITY: Final = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::([^:]*))?", re.ASCII)
_PORT: Final = re.compile(r"[1-9][0-9]{0,4}", re.ASCII)
_MAPPED: Final = ipaddress.IPv6Network("::ffff:0:0/96")


def parse_host(text: str) -> str:
    """Return the canonical form: lower case, IPv6 compressed and in brackets.

    Raises: ValueError that says what is wrong.
    """
    if not text.isascii():
        raise ValueError("a host is ASCII; write an international name in its xn-- form")
    lowered = text.lower()
    if lowered.startswith("["):
        return _parse_ipv6(lowered)
    labels = lowered.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        return _parse_ipv4(lowered)
    if len(lowered) > _LONGEST or not all(map(_LABEL.fullmatch, labels)):
        raise ValueError("a host is labels of letters, digits and inner hyphens between single dots, 253 at most")
    return lowered


def parse_authority(text: str) -> tuple[str, int | None]:
    """Return the canonical host and the port of ``HOST`` or ``HOST:PORT``.

    Raises: ValueError that says what is wrong.
    """
    found = _AUTHORITY.fullmatch(text)
    if found is None:
        raise ValueError("it is neither HOST nor HOST:PORT; an IPv6 address goes in brackets")
    host, port = found.groups()
    return parse_host(host), None if port is None else parse_port(port)


def parse_port(text: str) -> int:
    """Return a port, 1 to 65535, in plain decimal. Raises: ValueError."""
    if not _PORT.fullmatch(text) or int(text) > 65535:
        raise ValueError("a port is a decimal number from 1 to 65535")
    return int(text)


def literal(host: str) -> Address | None:
    """Return the address that a canonical host is; None for a name."""
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None


def _parse_ipv4(text: str) -> str:
    try:
        return str(ipaddress.IPv4Address(text))
    except ValueError:
        raise ValueError("an IPv4 address is four decimal numbers between dots") from None


def _parse_ipv6(text: str) -> str:
    found = _IPV6.fullmatch(text)
    try:
        address = ipaddress.IPv6Address(found.group(1) if found else "")
    except ValueError:
        raise ValueError("an IPv6 address is written in brackets, without a zone") from None
    if address in _MAPPED:
        raise ValueError("an IPv4 address inside an IPv6 address is written as IPv4")
    return f"[{address.compressed}]"
