"""The three stages a runtime calls, and the form in which their rows are kept."""

from stream.core.enrich import Enriched, enrich, texts
from stream.core.judge import Judged, judge
from stream.core.rows import HEADER, EnrichRow, Row, decode_row, encode_row
from stream.core.track import Tracked, track

__all__ = [
    "HEADER",
    "EnrichRow",
    "Enriched",
    "Judged",
    "Row",
    "Tracked",
    "decode_row",
    "encode_row",
    "enrich",
    "judge",
    "texts",
    "track",
]
