"""Several records in one Kafka record: what a chunk of a source has for one partition travels together.

A Kafka record costs far more than the post in it, on both ends. The wire form is one mark byte, then a MessagePack
array of the records' own wire forms (``codec``); a record that travels alone needs no bundle. Offsets in ``Position``
count single records: Kafka's offset in the high bits, the place in the bundle in the low ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec

from stream.contract.codec import RECORD_BYTES_MAX, CodecError

MARK: Final = 0xB1
"""First byte of a bundle; no version of ``codec`` may use it."""
PLACE_BITS: Final = 12
BUNDLE_READ_MAX: Final = 4 * RECORD_BYTES_MAX
BUNDLE_RECORDS_MAX: Final = 128
BUNDLE_BYTES_MAX: Final = 256_000
"""A bundle is closed before it grows beyond this; a larger record travels alone."""

_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(list[bytes])


def pack(records: Iterable[bytes]) -> Iterator[bytes]:
    """Values of as few Kafka records as the limits allow, in the order of ``records``."""
    held: list[bytes] = []
    size = 0
    for record in records:
        if held and (size + len(record) > BUNDLE_BYTES_MAX or len(held) == BUNDLE_RECORDS_MAX):
            yield _packed(held)
            held, size = [], 0
        held.append(record)
        size += len(record)
    if held:
        yield _packed(held)


def _packed(records: Sequence[bytes]) -> bytes:
    return records[0] if len(records) == 1 else bytes((MARK,)) + _encoder.encode(records)


def unpack(value: bytes) -> list[bytes]:
    """The records in the value of a Kafka record. Raises ``CodecError`` for a bundle that ``pack`` never wrote."""
    if not value or value[0] != MARK:
        return [value]
    if len(value) > BUNDLE_READ_MAX:
        raise CodecError("too_large", f"a bundle of {len(value)} bytes")
    try:
        records = _decoder.decode(memoryview(value)[1:])
    except msgspec.DecodeError as error:
        raise CodecError("bad_record", f"a broken bundle: {error}") from error
    if len(records) > 1 << PLACE_BITS:
        raise CodecError("bad_record", f"a bundle of {len(records)} records; at most {1 << PLACE_BITS}")
    return records


def place(kafka_offset: int, index: int) -> int:
    """The offset in ``Position`` of record ``index`` of the Kafka record at ``kafka_offset``."""
    return kafka_offset << PLACE_BITS | index


def place_of(offset: int) -> tuple[int, int]:
    """(Kafka's offset, place in the bundle) behind an offset of ``place``."""
    return offset >> PLACE_BITS, offset & ((1 << PLACE_BITS) - 1)
