"""Names, mappings and templates of the indices in Elasticsearch. Pure.

One index per kind and month, ``{prefix}-posts-2022.03``, behind the alias ``{prefix}-posts``. Posts, trend points and
alerts lie in the month of their own time, what is frozen of an incident's posts in that of the incident, pictures and
dead letters in the month they were stored. Mappings are strict.
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any, Final, Literal, get_args

from index.elastic_settings import ElasticSettings
from index.schema import CREATED_MS_MAX, META_FORM
from stream.contract.text import TOKENISER

FORM: Final = "1"
"""Version of these mappings."""
Kind = Literal["documents", "points", "flips", "rejects", "pictures", "notes", "evidence"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
_WORDS: Final[dict[Kind, str]] = {
    "documents": "posts",
    "points": "trends",
    "flips": "alerts",
    "rejects": "rejects",
    "pictures": "pictures",
    "notes": "notes",
    "evidence": "evidence",
}
FLAT_TYPES: Final = ("PER", "LOC", "ORG", "MISC")
OTHER_TYPE: Final = "OTHER"
"""The flat field for names of all further types."""
NESTED_MAX: Final = 200
"""Names of one post that its nested form holds."""
KEYWORD_CHARS_MAX: Final = 8_000
"""A longer name is found, but not counted among names; Lucene holds 32,766 bytes."""
ANALYZERS: Final[dict[str, str]] = {
    "smartcn": "smartcn",
    "ik": "ik_max_word",
    "cjk": "cjk",
    "standard": "standard",
}
"""What ``text`` is analysed with, best first: our name → Elasticsearch's."""
DAY_MS: Final = 86_400_000
MONTH_DAYS: Final = 31


def alias(prefix: str, kind: Kind) -> str:
    """The name over all months of ``kind``."""
    return f"{prefix}-{_WORDS[kind]}"


def index_name(prefix: str, kind: Kind, at_ms: int) -> str:
    """The index of the month that ``at_ms`` lies in; times out of range count as the nearest that exists."""
    moment = datetime.fromtimestamp(min(max(at_ms, 0), CREATED_MS_MAX) // 1000, tz=timezone.utc)
    return f"{alias(prefix, kind)}-{moment.year:04}.{moment.month:02}"


def month_end_ms(index: str) -> int:
    """When the month in the name ``index`` ends. Raises ``ValueError`` for a name that ``index_name`` never gave."""
    year, month = (int(part) for part in index.rpartition("-")[2].split("."))
    following = datetime(year + month // 12, month % 12 + 1, 1, tzinfo=timezone.utc)
    return round(following.timestamp() * 1000)


def template(settings: ElasticSettings, kind: Kind, analyzer: str) -> dict[str, Any]:
    """The index template of ``kind``."""
    name = alias(settings.prefix, kind)
    index: dict[str, Any] = {
        "number_of_shards": settings.shards,
        "number_of_replicas": settings.replicas,
        "refresh_interval": f"{round(settings.refresh_s * 1000)}ms",
    }
    return {
        "index_patterns": [f"{name}-*"],
        "priority": 500,
        "template": {
            "settings": {"index": index},
            "aliases": {name: {}},
            "mappings": mapping(kind, analyzer),
        },
        "_meta": {"owner": "weibowatch", "form": FORM},
    }


def mapping(kind: Kind, analyzer: str) -> dict[str, Any]:
    """The mapping of ``kind``; ``analyzer`` is one of ``ANALYZERS`` and matters for posts alone."""
    meta = {"form": FORM, "tokeniser": f"{TOKENISER}/{META_FORM}", "analyzer": analyzer}
    return {"dynamic": "strict", "_meta": meta, "properties": {"record": _BINARY, **_PROPERTIES[kind](analyzer)}}


_BINARY: Final[dict[str, Any]] = {"type": "binary"}
_DATE: Final[dict[str, Any]] = {"type": "date", "format": "epoch_millis"}
_LONG: Final[dict[str, Any]] = {"type": "long"}
_DOUBLE: Final[dict[str, Any]] = {"type": "double"}
_WORD: Final[dict[str, Any]] = {"type": "keyword", "ignore_above": KEYWORD_CHARS_MAX}
_SHOWN: Final[dict[str, Any]] = {"type": "keyword", "index": False, "doc_values": False}


def _documents(analyzer: str) -> dict[str, Any]:
    return {
        "id": {"type": "keyword"},
        "created_at": _DATE,
        "observed_at": _DATE,
        "stored_at": _DATE,
        "source": _WORD,
        "author": _WORD,
        "region": _WORD,
        "model_version": _WORD,
        "has_image": {"type": "boolean"},
        "pictures": _WORD,
        "counts": {"properties": {"reposts": _LONG, "comments": _LONG, "likes": _LONG}},
        "text": {"type": "text", "analyzer": ANALYZERS[analyzer]},
        "tokens": {"type": "text", "analyzer": "whitespace", "norms": False},
        "meta": {"type": "keyword", "doc_values": False},
        "entities": _WORD,
        "mention_count": _LONG,
        **{name: _WORD for name in (*FLAT_TYPES, OTHER_TYPE)},
        "mentions": {
            "type": "nested",
            "properties": {
                "entity": _WORD,
                "key": _WORD,
                "type": _WORD,
                "surface": _WORD,
                "count": _LONG,
                "confidence": {"type": "float"},
                "provenance": _WORD,
            },
        },
    }


def _named() -> dict[str, Any]:
    """An entity beside something else; ``entities`` lets one question count those of all indices."""
    return {
        "entity": _WORD,
        "entities": {"type": "alias", "path": "entity"},
        "name": _WORD,
        "key": _WORD,
        "type": _WORD,
        "stored_at": _DATE,
    }


def _points(_: str) -> dict[str, Any]:
    counted = ("width_ms", "mentions", "authors", "engagement", "image_only", "late", "score", "window_ms", "observed")
    return {
        **_named(),
        "bin_at": _DATE,
        "end_at": _DATE,
        **{name: _LONG for name in counted},
        "weighted": _DOUBLE,
        "expected": _DOUBLE,
    }


def _flips(_: str) -> dict[str, Any]:
    return {
        **_named(),
        "id": {"type": "keyword"},
        "incident_id": {"type": "keyword"},
        "sequence": _LONG,
        "at": _DATE,
        "first_at": _DATE,
        "rule_id": _WORD,
        "rule_kind": _WORD,
        "state": _WORD,
        "severity": _WORD,
        "surface": _WORD,
        "reason": _SHOWN,
        "score": _LONG,
        "observed": _LONG,
        "expected": _DOUBLE,
        "total_posts": _LONG,
    }


def _rejects(_: str) -> dict[str, Any]:
    return {
        "number": _LONG,
        "rank": _LONG,
        "reason": _WORD,
        "source": _WORD,
        "place": _WORD,
        "detail": _SHOWN,
        "raw_bytes": _LONG,
        "stored_at": _DATE,
    }


def _pictures(_: str) -> dict[str, Any]:
    return {"sha256": _WORD, "stored_at": _DATE}


def _notes(_: str) -> dict[str, Any]:
    return {
        "id": {"type": "keyword"},
        "kind": _WORD,
        "subject": _WORD,
        "source": _WORD,
        "outcome": _WORD,
        "posts": _LONG,
        "fresh": _LONG,
        "from_at": _DATE,
        "through_at": _DATE,
        "observed_at": _DATE,
        "stored_at": _DATE,
    }


def _evidence(_: str) -> dict[str, Any]:
    return {"incident_id": {"type": "keyword"}, "post": _WORD, "sha256": _WORD, "first_at": _DATE, "stored_at": _DATE}


_PROPERTIES: Final = {
    "documents": _documents,
    "points": _points,
    "flips": _flips,
    "rejects": _rejects,
    "pictures": _pictures,
    "notes": _notes,
    "evidence": _evidence,
}
