"""The whole behaviour of the worker, as three pure stages over records in envelopes: Enrich, Track and Judge.

A runtime fetches a batch, calls a stage, delivers what it returns, applies the writes in their order, and only then
acknowledges. State is any mapping of keys to rows; ``encode_row`` and ``decode_row`` give a row its stored form.
"""

from __future__ import annotations

from typing import Final

import msgspec

from stream.core.alerts import Incident
from stream.core.calibration import Peaks
from stream.core.coverage import CoverageRow
from stream.core.enrich import Enriched, Plan, enrich, finish, halved, inputs, partition_of, plan
from stream.core.events import Events
from stream.core.judge import Judged, JudgeRow, judge
from stream.core.memory import GoneRow, SilentRow
from stream.core.past import TrendState
from stream.core.rows import HEADER, BinRow, EnrichState, JudgeHeader, OpenRow, TrackHeader, WaitingReport
from stream.core.track import Tracked, TrackRow, rows_of, track
from stream.core.volume import StreamRow

AnyRow = (
    EnrichState | OpenRow | TrendState | BinRow | StreamRow | CoverageRow | SilentRow | GoneRow | TrackHeader
    | JudgeHeader | WaitingReport | Incident | Events | Peaks
)  # fmt: skip

_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final[msgspec.msgpack.Decoder[AnyRow | None]] = msgspec.msgpack.Decoder(AnyRow | None)

EnrichRow = EnrichState


def encode_row(row: AnyRow | None) -> bytes:
    """The stored form of a row, MessagePack. None is a row that stands for no row."""
    return _encoder.encode(row)


def decode_row(data: bytes) -> AnyRow | None:
    """The row behind ``data``. Raises ``msgspec.DecodeError`` for anything that ``encode_row`` never gave."""
    return _decoder.decode(data)


__all__ = [
    "HEADER",
    "AnyRow",
    "EnrichRow",
    "EnrichState",
    "Enriched",
    "JudgeRow",
    "Judged",
    "Plan",
    "TrackRow",
    "Tracked",
    "decode_row",
    "encode_row",
    "enrich",
    "finish",
    "halved",
    "inputs",
    "judge",
    "partition_of",
    "plan",
    "rows_of",
    "track",
]
