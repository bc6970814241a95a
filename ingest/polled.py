"""The sources that poll public addresses, and their dead letters. What they need is imported when one is opened."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from ingest.clean import Edge, Refusal, reject
from stream.contract.ports import Source
from stream.contract.records import Post, Reject

POLLED: Final = {
    "rss": "rss:URL: a feed of RSS or Atom, read again when it changes",
    "mastodon": "mastodon:HOST or mastodon:HOST/TAG, with ?local its own posts only: a public timeline",
}


def open_polled(
    spec: str,
    edge_at: Callable[[int], Edge],
    now_ms: Callable[[], int],
    sleep: Callable[[float], Awaitable[None]],
    *,
    once: bool,
) -> Source:
    """The source behind ``spec``, which is of one of these kinds. Raises ``SourceError``."""
    if spec.startswith("rss:"):
        from ingest.rss import Rss

        return Rss(spec, edge_at, now_ms, sleep=sleep, once=once)
    from ingest.mastodon import Mastodon

    return Mastodon(spec, edge_at, now_ms, sleep=sleep, once=once)


def check_polled(spec: str) -> None:
    """Raises ``SourceError`` for a spec of one of these kinds that names nothing."""
    if spec.startswith("rss:"):
        from ingest.rss import feed_url

        feed_url(spec)
        return
    from ingest.mastodon import timeline

    timeline(spec)


def polled_again(letter: Reject, edge: Edge) -> Post | Reject:
    """The post behind a dead letter of one of these sources, or of Weibo, or its Reject under ``edge``. Blocks."""
    if letter.source.startswith("weibo:"):
        from ingest.weibo.again import weibo_again

        return weibo_again(letter, edge)
    try:
        if letter.source.startswith("rss:"):
            from ingest.rss import item_again

            return item_again(letter, edge)
        from ingest.mastodon import status_again

        return status_again(letter, edge)
    except Refusal as refusal:
        return reject(refusal, edge, letter.raw, letter.place)
