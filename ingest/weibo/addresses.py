"""Requests that the sources send. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Final
from urllib.parse import quote, urlencode

from ingest.fields import CHINA
from ingest.weibo.client import Request
from ingest.weibo.session import DESKTOP, MOBILE
from ingest.weibo.settings import WeiboSettings
from ingest.weibo.spec import Spec

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS
NEWEST_FIRST: Final = 61


def list_page(settings: WeiboSettings, spec: Spec, page: int, since_id: str = "") -> Request:
    """A page of a user's posts, or of a search for the newest ones. ``since_id`` goes on where the last one ended."""
    if spec.kind == "user":
        query = {"type": "uid", "value": spec.target, "containerid": f"107603{spec.target}"}
        query |= {"since_id": since_id} if since_id else {"page": str(page)} if page > 1 else {}
        return Request(
            f"{settings.mobile_url}/api/container/getIndex?{urlencode(query)}", "user",
            referer=f"https://m.weibo.cn/u/{spec.target}",
        )  # fmt: skip
    container = f"100103type={NEWEST_FIRST}&q={spec.words}"
    query = {"containerid": container, "page_type": "searchall"} | ({"page": str(page)} if page > 1 else {})
    return Request(
        f"{settings.mobile_url}/api/container/getIndex?{urlencode(query)}", "search",
        referer=f"https://m.weibo.cn/search?containerid={quote(container)}",
    )  # fmt: skip


def one_post(settings: WeiboSettings, mid: str) -> Request:
    """A post by itself, with its whole text and all its pictures."""
    return Request(
        f"{settings.mobile_url}/statuses/show?{urlencode({'id': mid})}", "show",
        referer=f"https://m.weibo.cn/detail/{mid}",
    )  # fmt: skip


def hot_list(settings: WeiboSettings) -> Request:
    """What is searched for most; no login is needed."""
    return Request(f"{settings.desktop_url}/ajax/side/hotSearch", "hot", DESKTOP, "https://weibo.com/", "json")


def hours_page(settings: WeiboSettings, spec: Spec, from_ms: int, until_ms: int, page: int) -> Request:
    """A page of the search of weibo.com for posts of whole hours of China's time, [from, until)."""
    # The site counts the last hour in.
    scope = f"custom:{_hour(from_ms)}:{_hour(until_ms - HOUR_MS)}"
    query = {"q": spec.words, "typeall": "1", "suball": "1", "timescope": scope, "page": str(page)}
    return Request(
        f"{settings.search_url}/weibo?{urlencode(query)}", "search_hours", DESKTOP, "https://s.weibo.com/", "page"
    )


def login_check(settings: WeiboSettings, host: str) -> Request:
    """A request whose answer tells whether the cookie is alive on ``host``."""
    if host == MOBILE:
        return Request(f"{settings.mobile_url}/api/config", "config", MOBILE, "https://m.weibo.cn/", "json")
    query = urlencode({"list_id": "", "refresh": "4", "since_id": "0", "count": "1"})
    return Request(
        f"{settings.desktop_url}/ajax/feed/friendstimeline?{query}", "friendstimeline", DESKTOP, "https://weibo.com/",
        "json",
    )  # fmt: skip


def _hour(at_ms: int) -> str:
    """2026-11-01-8: hours have no leading zero."""
    at = datetime.fromtimestamp(at_ms / 1000, CHINA)
    return f"{at:%Y-%m-%d}-{at.hour}"
