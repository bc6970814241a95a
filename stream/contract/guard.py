"""Which addresses may be connected to: public ones, and those of networks that were opened. Pure.

A name in a post, or of a service that takes alerts, may lead anywhere, also into the network that this runs in. What is
judged is the address that is connected to, after names were resolved, so that no form of writing and no second answer
of a resolver gets around it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Container, Sequence
from typing import Final

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
PORTS: Final = frozenset((80, 443))
ANY_PORT: Final = range(1, 65_536)

_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
_UNICAST: Final = ipaddress.IPv6Network("2000::/3")
"""All of IPv6 that has been given out to be reached from anywhere; the rest is reserved or local."""
# Python's own list grew from release to release, so what the oldest of them lacks stands here.
_NOT_PUBLIC: Final = tuple(
    ipaddress.ip_network(text)
    for text in (
        "192.0.0.0/24",  # for protocols, not for hosts
        "192.88.99.0/24",  # what 6to4 used to find its relays by
        "2001::/23",  # for protocols, Teredo's tunnels among them
        "2001:db8::/32",  # for documents
        "2002::/16",  # 6to4: a tunnel to the IPv4 address inside
        "3fff::/20",  # for documents, too
    )
)


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


def forbidden(address: str, port: int, allow: Sequence[Network] = (), ports: Container[int] = PORTS) -> str:
    """Why ``address`` may not be connected to, empty when it may. ``allow``: networks that are fine at any port.

    ``ports`` are those of public addresses: the web's for what strangers name, any for what an administrator does.

    An IPv4 address inside an IPv6 one is judged as itself where a plain gateway would go on to it (mapped ones and
    NAT64); tunnels are refused wherever they lead. ``allow`` means the address as it is written.
    """
    try:
        given = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return f"{address[:60]} is no address"
    if any(given.version == network.version and given in network for network in allow):
        return ""
    if port not in ports:
        return f"port {port} is not one of the web's"
    inner = _embedded(given)
    if inner is not None:
        reason = _not_public(inner)
        return reason and f"{given} means {inner}, which {reason}"
    reason = _not_public(given)
    return reason and f"{given} {reason}"


def _not_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    if address.is_loopback:
        return "is this machine"
    if address.is_multicast:
        return "is a multicast address"
    if address.is_link_local:
        return "is link-local"
    if any(address.version == network.version and address in network for network in _NOT_PUBLIC):
        return "is not public"
    if isinstance(address, ipaddress.IPv6Address) and address not in _UNICAST:
        return "is not public"
    return "" if address.is_global else "is not public"


def _embedded(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that a gateway makes of an IPv6 one, if any does."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped
