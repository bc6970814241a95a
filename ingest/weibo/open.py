"""From a ``Spec`` to its source."""

from __future__ import annotations

from ingest.weibo.listing import Listing
from ingest.weibo.single import Hot, Single
from ingest.weibo.source import Parts, WeiboSource
from ingest.weibo.spec import Spec


def make_source(spec: Spec, parts: Parts) -> WeiboSource:
    """The source behind ``spec``, which is no list."""
    kinds: dict[str, type[WeiboSource]] = {"hot": Hot, "post": Single}
    return kinds.get(spec.kind, Listing)(spec, parts)
