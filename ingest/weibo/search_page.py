"""Posts in a page of s.weibo.com, which is HTML for people. Pure.

Of a repost only the reposting post is taken: what the page shows of its original lacks too much to be a post.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from selectolax.lexbor import LexborHTMLParser, LexborNode

from ingest.clean import RawPicture, RawPost, Refusal
from ingest.ids import created_ms_from_mid, mid_from_bid
from ingest.weibo.html import plain_text
from ingest.weibo.payload import ReplyError, Shown, Unread
from ingest.weibo.times import shown_time_ms

PAGES_MAX: Final = 50
"""The site shows no more of a search, however much there is."""
_HREF: Final = re.compile(r"weibo\.com/(\d+)/([0-9A-Za-z]+)")
_ORIGINAL: Final = re.compile(r"(?:^|&)mid=(\d+)")
_COUNT: Final = re.compile(r"[\d.,]+[万亿]?\+?")
_PICTURE: Final = re.compile(r"//(?:wx|tvax?)\d\.sinaimg\.cn/[^/]+/([0-9A-Za-z]+)\.(\w+)")
_MORE: Final = "展开"


def found_posts(page: bytes, as_of_ms: int) -> Iterator[Shown | Unread]:
    """All posts of a page that was made at ``as_of_ms``. Raises ``ReplyError`` when it is another page."""
    text = page.decode("utf-8", "replace")
    tree = LexborHTMLParser(text)
    cards = [card for card in tree.css("div.card-wrap") if card.attributes.get("mid")]
    if not cards and tree.css_first("div.card-no-result") is None:
        if "passport.weibo" in text or "Sina Visitor System" in text or "login.sina" in text:
            raise ReplyError("login_required", "the page of the login, not of a search")
        raise ReplyError("parse_error", "a page of HTML in which no search is known")
    for card in cards:
        body = (card.html or "").encode()
        try:
            yield _shown(card, body, as_of_ms)
        except Refusal as refusal:
            yield Unread(body, refusal)


def pages_of(page: bytes) -> int:
    """How many pages the search has, by the list at its end; 1 where there is none."""
    rows = LexborHTMLParser(page.decode("utf-8", "replace")).css("ul.s-scroll li")
    return max(1, len(rows))


def _shown(card: LexborNode, body: bytes, as_of_ms: int) -> Shown:
    repost = card.css_first("div.card-comment")
    original = ""
    if repost is not None:
        for node in repost.css("[action-data]"):
            if match := _ORIGINAL.search(node.attributes.get("action-data") or ""):
                original = match[1]
        repost.decompose()
    link = card.css_first("div.from a")
    match = _HREF.search((link.attributes.get("href") if link is not None else None) or "")
    if link is None or match is None:
        raise Refusal("bad_field", "the card has no address of its post")
    uid, bid = match.groups()
    mid = card.attributes.get("mid") or ""
    try:
        created_ms = shown_time_ms(link.text().strip(), as_of_ms)
        mid = mid if mid.isdigit() else mid_from_bid(bid)
        exact_ms = created_ms_from_mid(mid)  # the page shows no seconds
        created_ms = exact_ms if 0 <= exact_ms - created_ms < 60_000 else created_ms
    except ValueError as error:
        raise Refusal("bad_field", str(error)) from None
    whole = card.css_first("p[node-type=feed_list_content_full]")
    content = whole or card.css_first("p[node-type=feed_list_content]") or card.css_first("p.txt")
    if content is None:
        raise Refusal("bad_field", "the card has no text")
    cut = whole is None and content.css_first("a[action-type=fl_unfold]") is not None
    for fold in content.css("a[action-type=fl_fold], a[action-type=fl_unfold]"):
        fold.decompose()
    return Shown(
        body=body,
        raw=RawPost(
            mid=mid, bid=bid, created_at=created_ms, observed_at=as_of_ms, author=uid,
            text=plain_text(content.inner_html or ""),
            reposts=_count(card, "feed_list_forward"),
            comments=_count(card, "feed_list_comment"),
            likes=_count(card, "feed_list_like"),
            has_counts=True,
            pictures=tuple(_pictures(card)),
            repost_of=original or None,
        ),
        pinned=False,
        whole=not cut,
    )  # fmt: skip


def _count(card: LexborNode, action: str) -> str:
    node = card.css_first(f"a[action-type={action}]")
    match = _COUNT.search(node.text()) if node is not None else None
    return match[0] if match else "0"


def _pictures(card: LexborNode) -> Iterator[RawPicture]:
    seen: set[str] = set()
    for image in card.css("div.media img"):
        if (match := _PICTURE.search(image.attributes.get("src") or "")) and match[1] not in seen:
            seen.add(match[1])
            yield RawPicture(id=match[1], url=f"https://wx1.sinaimg.cn/large/{match[1]}.{match[2]}")
