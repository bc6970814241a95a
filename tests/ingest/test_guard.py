"""The judgement of addresses, over all that there are."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.guard import forbidden, networks

ALLOWED = networks(["127.0.0.1/32", "fd00::/8"])


@given(st.ip_addresses(v=4), st.sampled_from([80, 443]))
def test_of_version_four_exactly_the_global_unicast_ones_are_fine(address: ipaddress.IPv4Address, port: int) -> None:
    fine = address.is_global and not address.is_multicast
    assert (forbidden(str(address), port) == "") == fine


@given(st.ip_addresses(v=4))
def test_what_is_forbidden_stays_so_inside_of_version_six(address: ipaddress.IPv4Address) -> None:
    number = int(address)
    forms = [
        ipaddress.IPv6Address(f"::ffff:{address}"),
        ipaddress.IPv6Address((0x2002 << 112) | (number << 80) | 1),
        ipaddress.IPv6Address(int(ipaddress.IPv6Address("64:ff9b::")) | number),
        ipaddress.IPv6Address((0x20010000 << 96) | (number ^ 0xFFFFFFFF)),
    ]
    if forbidden(str(address), 443):
        for form in forms:
            assert forbidden(str(form), 443), form


@given(st.ip_addresses(v=6))
def test_of_version_six_nothing_that_is_not_global(address: ipaddress.IPv6Address) -> None:
    if not address.is_global or address.is_multicast:
        assert forbidden(str(address), 443)


@given(st.integers(0, 65_535))
def test_only_ports_of_the_web(port: int) -> None:
    assert (forbidden("93.184.215.14", port) == "") == (port in (80, 443))


def test_what_is_allowed_is_fine_at_any_port() -> None:
    assert forbidden("127.0.0.1", 8080, ALLOWED) == "" == forbidden("fd00::1", 1, ALLOWED)
    assert forbidden("127.0.0.2", 80, ALLOWED) == "127.0.0.2 is this machine"
    assert forbidden("fe80::1%eth0", 80) == "fe80::1 is link-local"
    assert "is no address" in forbidden("example.com", 80)
    with pytest.raises(ValueError, match="is no network"):
        networks(["10.0.0.0/99"])
