"""Bundles of records."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.contract.bundle import (
    BUNDLE_BYTES_MAX,
    BUNDLE_RECORDS_MAX,
    MARK,
    PLACE_BITS,
    pack,
    place,
    place_of,
    unpack,
)
from stream.contract.codec import CodecError

wire_forms = st.binary(min_size=1, max_size=40).filter(lambda data: data[0] != MARK)


@given(st.lists(wire_forms, max_size=30))
def test_what_is_packed_is_unpacked_in_order(records: list[bytes]) -> None:
    assert [record for value in pack(records) for record in unpack(value)] == records


def test_bundles_stay_within_their_limits() -> None:
    assert [len(unpack(value)) for value in pack([b"\x01"] * (2 * BUNDLE_RECORDS_MAX + 3))] == [
        BUNDLE_RECORDS_MAX,
        BUNDLE_RECORDS_MAX,
        3,
    ]
    large = b"\x01" * (BUNDLE_BYTES_MAX // 2 + 1)
    assert [len(unpack(value)) for value in pack([b"\x01", large, large, b"\x02"])] == [2, 2]
    assert list(pack([b"\x01" * 999_000])) == [b"\x01" * 999_000]


@given(st.binary(max_size=60))
def test_broken_bundles_are_refused(data: bytes) -> None:
    try:
        assert all(isinstance(record, bytes) for record in unpack(bytes((MARK,)) + data))
    except CodecError as error:
        assert error.reason == "bad_record"


def test_a_bundle_of_too_many_is_refused() -> None:
    import msgspec

    with pytest.raises(CodecError):
        unpack(bytes((MARK,)) + msgspec.msgpack.encode([b"\x01"] * ((1 << PLACE_BITS) + 1)))


@given(st.integers(0, 2**50), st.integers(0, (1 << PLACE_BITS) - 1))
def test_places_are_ordered_like_kafka_offsets(offset: int, index: int) -> None:
    assert place_of(place(offset, index)) == (offset, index)
    assert place(offset, index) < place(offset + 1, 0) < 2**63
