"""What kind of place an address is: the public internet, a private network, a machine's own metadata, or none.

Guarantees: public is what is known to be; what is unknown, reserved or tunnelled is not; NAT64's addresses
are as the IPv4 address inside.
"""

import ipaddress
from enum import StrEnum
from typing import Final

from orchestration.adapters.sandbox.egress.hosts import Address


class Place(StrEnum):
    """Where an address leads."""

    PUBLIC = "public"
    PRIVATE = "private"
    METADATA = "metadata"
    UNUSABLE = "unusable"


_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _networks(*texts: str) -> tuple[_Network, ...]:
    return tuple(map(ipaddress.ip_network, texts))


_METADATA: Final = _networks(
    "169.254.0.0/16",  # link-local: AWS, Azure, Google and others
    "fe80::/10",
    "fd00:ec2::/32",  # AWS
    "fd20:ce::254/128",  # Google
    "100.100.100.200/32",  # Alibaba
    "168.63.129.16/32",  # Azure; looks public
    "192.0.0.192/32",  # Oracle
)
_PRIVATE: Final = _networks(
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "127.0.0.0/8",
    "100.64.0.0/10",
    "::1/128",
    "fc00::/7",
)
_NEVER_PUBLIC: Final = _networks(
    "192.0.0.0/24",  # protocol assignments
    "192.88.99.0/24",  # 6to4 relays
    "224.0.0.0/3",  # multicast and reserved
    "2001::/23",  # protocol assignments, Teredo among them
    "2002::/16",  # 6to4
    "3fff::/20",  # documentation
)
_GLOBAL_IPV6: Final = ipaddress.IPv6Network("2000::/3")
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")


def place(address: Address) -> Place:
    """Return where *address* leads."""
    if isinstance(address, ipaddress.IPv6Address) and address in _NAT64:
        return place(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    if _is_in(address, _METADATA):
        return Place.METADATA
    if _is_in(address, _PRIVATE):
        return Place.PRIVATE
    if _is_in(address, _NEVER_PUBLIC) or not address.is_global:
        return Place.UNUSABLE
    if address.version == 6 and address not in _GLOBAL_IPV6:
        return Place.UNUSABLE
    return Place.PUBLIC


def _is_in(address: Address, networks: tuple[_Network, ...]) -> bool:
    return any(address.version == network.version and address in network for network in networks)
