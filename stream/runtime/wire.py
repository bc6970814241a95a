"""Records and their wire form where nothing may be lost: what cannot travel or be read becomes a dead letter."""

from __future__ import annotations

from typing import Final

from stream.contract import codec
from stream.contract.records import Control, Envelope, Record, Reject

REJECT_BYTES_MAX: Final = codec.RECORD_BYTES_MAX - 10_000
DETAIL_CHARS_MAX: Final = 500


def encoded(record: Record) -> bytes:
    """The wire form of ``record``; one that cannot travel becomes the wire form of a Reject that says so."""
    try:
        return codec.encode(record)
    except codec.CodecError as error:
        source = getattr(record, "source", "")
        place = getattr(record, "id", "")
        return codec.encode(Reject(source=source, reason=error.reason, detail=str(error), raw=b"", place=place))


def decoded(data: bytes) -> Record:
    """The record behind ``data``; unreadable bytes become a Reject that keeps them."""
    try:
        return codec.decode(data)
    except codec.CodecError as error:
        return Reject(source="log", reason=error.reason, detail=str(error), raw=data[:REJECT_BYTES_MAX])


def refused(envelope: Envelope, error: Exception) -> Envelope:
    """The dead letter that stands for a record that nothing could be done with."""
    record = envelope.record
    letter = Reject(
        source=f"control:{record.topic}" if isinstance(record, Control) else str(getattr(record, "source", "log")),
        reason="bad_record",
        detail=f"{type(error).__name__}: {error}"[:DETAIL_CHARS_MAX],
        raw=encoded(record),
        place=str(getattr(record, "id", f"offset {envelope.position.offset}")),
    )
    return Envelope(envelope.position, letter)
