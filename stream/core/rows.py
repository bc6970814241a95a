"""The state of Track and Judge: rows of a mapping, each rewritten as a whole. MessagePack arrays, tagged.

Every row that counts carries a fence: the last log offset it has taken in, per ``generation/origin``.
"""

from __future__ import annotations

from typing import Final

import msgspec

from stream.contract.records import BinReport
from stream.core.trends import Baseline, Bin
from stream.core.windows import SourceReach

HEADER: Final = "\x00header"
ORIGINS_MAX: Final = 1024
"""Partitions of the log of posts."""


def posts_key(bin_ms: int) -> str:
    """Key of the row of an open or recently closed bin."""
    return f"\x00bin/{bin_ms}"


def place(origin: int, offset: int) -> int:
    """A log place in one number, so that a replay of a post is told from a second post of the same id."""
    return offset * ORIGINS_MAX + origin


class TrackHeader(msgspec.Struct, array_like=True, tag_field="row", tag="th"):
    """One Track partition. ``hours`` counts posts by hour for seasons; ``kept`` lists bins with a row of posts."""

    fence: dict[str, int] = msgspec.field(default_factory=dict)
    reaches: dict[str, SourceReach] = msgspec.field(default_factory=dict)
    watermark_ms: int = 0
    first_ms: int = -1
    open: list[int] = msgspec.field(default_factory=list)
    kept: list[int] = msgspec.field(default_factory=list)
    windows: list[int] = msgspec.field(default_factory=list)
    hours: dict[int, int] = msgspec.field(default_factory=dict)


class PostsRow(msgspec.Struct, array_like=True, tag_field="row", tag="tp"):
    """The posts of one bin, hash → where it was first seen (``place``), and the entities they mention."""

    posts: dict[int, int] = msgspec.field(default_factory=dict)
    entities: list[str] = msgspec.field(default_factory=list)


class EntityRow(msgspec.Struct, array_like=True, tag_field="row", tag="te"):
    """One entity: its recent bins and its baseline per window length."""

    type: str
    surface: str
    first_seen_ms: int
    authors_known: bool
    fence: dict[str, int] = msgspec.field(default_factory=dict)
    bins: dict[int, Bin] = msgspec.field(default_factory=dict)
    baselines: dict[int, Baseline] = msgspec.field(default_factory=dict)


class JudgeHeader(msgspec.Struct, array_like=True, tag_field="row", tag="jh"):
    """The one Judge: rules in force, incidents that fire, tests by day, and the last bin that was judged."""

    rules: str = ""
    rules_version: int = 0
    judged_ms: int = -1
    pending: list[int] = msgspec.field(default_factory=list)
    firing: list[str] = msgspec.field(default_factory=list)
    tests: dict[int, int] = msgspec.field(default_factory=dict)


class PendingRow(msgspec.Struct, array_like=True, tag_field="row", tag="jp"):
    """Reports of a bin that waits for the other partitions."""

    reports: dict[int, BinReport] = msgspec.field(default_factory=dict)


class IncidentRow(msgspec.Struct, array_like=True, tag_field="row", tag="ji"):
    """One rule on one entity. ``incident_id`` is empty while nothing fires; ``fired_ms`` stays for the cooldown."""

    entity: str
    type: str
    surface: str
    incident_id: str = ""
    sequence: int = 0
    first_ms: int = 0
    fired_ms: int = -1
    last_above_ms: int = 0
    pending_ms: int = -1
    told_score: int = 0
    level: int = 0


class EnrichRow(msgspec.Struct, array_like=True, tag_field="row", tag="en"):
    """Aliases in force, as the payload of the Control record that brought them."""

    aliases: str = ""
    aliases_version: int = 0
    model_epoch: int = 0


Row = TrackHeader | PostsRow | EntityRow | JudgeHeader | PendingRow | IncidentRow | EnrichRow

_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final[msgspec.msgpack.Decoder[Row]] = msgspec.msgpack.Decoder(Row)


def encode_row(row: Row) -> bytes:
    """The stored form of ``row``."""
    return _encoder.encode(row)


def decode_row(data: bytes) -> Row:
    """The row behind ``data``. Raises ``msgspec.ValidationError`` for another program's state."""
    return _decoder.decode(data)
