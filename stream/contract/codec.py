"""The wire form of a record: one version byte, then a MessagePack map tagged with the record's kind.

The same bytes stand in the SQLite log and in Kafka. Fields may be added with a default without a new version
(readers ignore what they don't know); anything else raises ``VERSION`` and adds a reader for the old form.
A golden file per version (``tests/contract/golden``) keeps old logs readable.
"""

from __future__ import annotations

from typing import Final

import msgspec

from stream.contract.records import AnyRecord, Record

VERSION: Final = 1
RECORD_BYTES_MAX: Final = 1_000_000
"""A record stays under Kafka's default message limit."""

_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final[msgspec.msgpack.Decoder[AnyRecord]] = msgspec.msgpack.Decoder(AnyRecord)


class CodecError(ValueError):
    """The bytes are no record that this program can read; ``reason`` is one of ``records.REASONS``. Not retryable."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def encode(record: Record, bytes_max: int = RECORD_BYTES_MAX) -> bytes:
    """The wire form of ``record``. Raises ``CodecError`` when it cannot travel, by size or by its values."""
    try:
        data = bytes((VERSION,)) + _encoder.encode(record)
    except (UnicodeEncodeError, OverflowError) as error:
        raise CodecError("bad_record", str(error)) from error
    if len(data) > bytes_max:
        raise CodecError("too_large", f"a record of {len(data)} bytes; at most {bytes_max} can travel")
    return data


def decode(data: bytes) -> AnyRecord:
    """The record behind ``data``. Raises ``CodecError`` for anything that ``encode`` of this version never wrote."""
    if not data:
        raise CodecError("bad_record", "an empty record")
    if data[0] != VERSION:
        raise CodecError("unknown_version", f"record version {data[0]}; this program reads version {VERSION}")
    try:
        return _decoder.decode(memoryview(data)[1:])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CodecError("bad_record", str(error)) from error
