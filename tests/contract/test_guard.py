"""The judgement of addresses, over all that there are."""

from __future__ import annotations

import ipaddress
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.contract.guard import ANY_PORT, forbidden, networks

ALLOWED = networks(["127.0.0.1/32", "fd00::/8"])

# IANA's registries of special-purpose addresses, and what is multicast or reserved besides; read on their own, so that
# neither Python's lists nor ours are their own proof.
NOT_PUBLIC_4: Final = networks(
    [
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
        "224.0.0.0/4", "240.0.0.0/4",
    ]
)  # fmt: skip
NOT_PUBLIC_6: Final = networks(
    [
        "::/128", "::1/128", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20",
        "5f00::/16", "4000::/2", "8000::/1", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8",
    ]
)  # fmt: skip


@given(st.ip_addresses(v=4), st.sampled_from([80, 443]))
def test_of_version_four_exactly_the_public_ones_are_fine(address: ipaddress.IPv4Address, port: int) -> None:
    fine = not any(address in network for network in NOT_PUBLIC_4)
    assert (forbidden(str(address), port) == "") == fine


@given(st.ip_addresses(v=6))
def test_of_version_six_only_given_out_unicast_and_gateways_to_public_ones(address: ipaddress.IPv6Address) -> None:
    if forbidden(str(address), 443) == "":
        inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        gateway = address.ipv4_mapped is not None or address in ipaddress.ip_network("64:ff9b::/96")
        assert address in ipaddress.ip_network("2000::/3") or (gateway and forbidden(str(inner), 443) == "")
        assert not any(address in network for network in NOT_PUBLIC_6)


@pytest.mark.parametrize("network", [*NOT_PUBLIC_4, *NOT_PUBLIC_6], ids=str)
def test_networks_that_are_not_public_are_forbidden_from_end_to_end(
    network: ipaddress.IPv4Network | ipaddress.IPv6Network,
) -> None:
    for address in (network[0], network[network.num_addresses // 2], network[-1]):
        assert forbidden(str(address), 443), address


@given(st.ip_addresses(v=4))
def test_what_is_forbidden_stays_so_inside_of_version_six(address: ipaddress.IPv4Address) -> None:
    number = int(address)
    mapped = str(ipaddress.IPv6Address(f"::ffff:{address}"))
    nat64 = str(ipaddress.IPv6Address(int(ipaddress.IPv6Address("64:ff9b::")) | number))
    assert bool(forbidden(mapped, 443)) == bool(forbidden(nat64, 443)) == bool(forbidden(str(address), 443))
    tunnels = [
        ipaddress.IPv6Address((0x2002 << 112) | (number << 80) | 1),
        ipaddress.IPv6Address((0x20010000 << 96) | (number ^ 0xFFFFFFFF)),
        ipaddress.IPv6Address(number),
        ipaddress.IPv6Address(int(ipaddress.IPv6Address("64:ff9b:1::")) | number),
    ]
    for tunnel in tunnels:
        assert forbidden(str(tunnel), 443), tunnel


@pytest.mark.parametrize("address", ["93.184.215.14", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2606:4700::1111"])
def test_public_addresses_are_fine(address: str) -> None:
    assert forbidden(address, 443) == ""


@given(st.integers(0, 65_535))
def test_only_ports_of_the_web(port: int) -> None:
    assert (forbidden("93.184.215.14", port) == "") == (port in (80, 443))


@given(st.integers(1, 65_535))
def test_any_port_of_a_public_address_and_no_other_where_the_administrator_names_it(port: int) -> None:
    assert forbidden("93.184.215.14", port, ports=ANY_PORT) == ""
    assert forbidden("127.0.0.1", port, ports=ANY_PORT) == "127.0.0.1 is this machine"


@pytest.mark.parametrize("text", ["2130706433", "0x7f000001", "0177.0.0.1", "127.1", "localhost", "", "127.0.0.1 "])
def test_what_is_no_plain_address_is_forbidden(text: str) -> None:
    assert "is no address" in forbidden(text, 80, ALLOWED)


def test_what_is_allowed_is_fine_at_any_port() -> None:
    assert forbidden("127.0.0.1", 8080, ALLOWED) == "" == forbidden("fd00::1", 1, ALLOWED)
    assert forbidden("127.0.0.2", 80, ALLOWED) == "127.0.0.2 is this machine"
    assert forbidden("::ffff:127.0.0.1", 80, ALLOWED).endswith("means 127.0.0.1, which is this machine")
    assert forbidden("fe80::1%eth0", 80) == "fe80::1 is link-local"
    with pytest.raises(ValueError, match="is no network"):
        networks(["10.0.0.0/99"])
