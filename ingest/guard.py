"""Which addresses may be asked for what strangers name: public ones only. Pure.

A name in a post may lead anywhere, also into the network that this runs in. What is judged is the address that is
connected to, after names were resolved, so that no form of writing and no second answer of a resolver gets around it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Final

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
PORTS: Final = frozenset((80, 443))
_NAT64: Final = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("64:ff9b:1::/48"))
_COMPATIBLE: Final = ipaddress.IPv6Network("::/96")


class ForbiddenAddress(OSError):
    """Nothing was sent: the address is not public."""


def networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """Networks in CIDR form. Raises ``ValueError`` naming the one that is none."""
    found: list[Network] = []
    for text in texts:
        try:
            found.append(ipaddress.ip_network(text, strict=False))
        except ValueError:
            raise ValueError(f"{text!r} is no network: write 192.0.2.0/24 or 2001:db8::/32") from None
    return tuple(found)


def forbidden(address: str, port: int, allow: Sequence[Network] = ()) -> str:
    """Why ``address`` may not be connected to, empty when it may. ``allow``: networks that are fine at any port."""
    try:
        given = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return f"{address[:60]} is no address"
    if any(given.version == network.version and given in network for network in allow):
        return ""
    if port not in PORTS:
        return f"port {port} is not one of the web's"
    if isinstance(given, ipaddress.IPv6Address) and (inner := _embedded(given)) is not None:
        return _private(inner) and f"{given} means {inner}, which {_private(inner)}"
    return _private(given) and f"{given} {_private(given)}"


def _private(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    if address.is_loopback:
        return "is this machine"
    if address.is_multicast:
        return "is a multicast address"
    if address.is_link_local:
        return "is link-local"
    return "" if address.is_global else "is not public"


def _embedded(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that an IPv6 one stands for, in any of the forms that gateways know."""
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    if any(address in network for network in _NAT64) or (address in _COMPATIBLE and int(address) > 1):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return None
