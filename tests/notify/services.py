"""DingTalk, Feishu, WeCom and Slack as their documentation tells of them, with their errors in a 200."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import urllib.parse
from collections import deque
from collections.abc import Callable
from html import unescape
from typing import Any, Final

from aiohttp import web

from tests.notify.fakes import Fake, Shown

HOUR_MS: Final = 3_600_000
TOKEN: Final = "5e8c0ffee5e8c0ffee5e8c0ffee"
_MARKDOWN_LINK: Final = re.compile(r"!?\[([^\]]*)\]\(([^)\s]*)\)")
_BARE_LINK: Final = re.compile(r"(?:https?|ftp)://[^\s)\]>|]+|www\.\S+|(?<![\w/.])[a-z0-9-]+\.(?:example|cn|com)\b\S*")
_TAG: Final = re.compile(r"</?[A-Za-z!@#/][^>]*>")


def markdown(text: str) -> tuple[list[str], list[str]]:
    """(where links lead, tags) of Markdown as lenient clients read it: entities count, and so do bare addresses."""
    text = unescape(text)
    links = [target for _, target in _MARKDOWN_LINK.findall(text)]
    rest = _MARKDOWN_LINK.sub(" ", text)
    return [*links, *_BARE_LINK.findall(rest)], _TAG.findall(rest)


class Robot(Fake):
    """What the robots share: a clock of their own, and at most ``per_minute`` messages."""

    def __init__(self, now_ms: Callable[[], int], per_minute: int) -> None:
        super().__init__()
        self._now_ms = now_ms
        self._taken: deque[int] = deque()
        self._per_minute = per_minute

    def too_many(self) -> bool:
        now_ms = self._now_ms()
        while self._taken and self._taken[0] <= now_ms - 60_000:
            self._taken.popleft()
        self._taken.append(now_ms)
        return len(self._taken) > self._per_minute


def said(**fields: Any) -> web.Response:
    return web.Response(text=json.dumps(fields), content_type="application/json")


class DingTalkFake(Robot):
    """A robot with a secret, or with a keyword; 20 messages a minute."""

    def __init__(self, now_ms: Callable[[], int], secret: str = "", keyword: str = "") -> None:
        super().__init__(now_ms, 20)
        self.secret = secret
        self.keyword = keyword

    async def answer(self, request: web.Request, body: bytes) -> web.StreamResponse:
        if request.path != "/robot/send" or request.query.get("access_token") != TOKEN:
            return said(errcode=300001, errmsg="token is not exist")
        if self.secret and (why := self._signed(request)):
            return said(errcode=310000, errmsg=why)
        if self.too_many():
            return said(errcode=130101, errmsg="send too fast, exceed 20 times per minute")
        try:
            message = json.loads(body)
            title, text = message["markdown"]["title"], message["markdown"]["text"]
            assert message["msgtype"] == "markdown" and len(body) <= 20_000 and title and text
        except (ValueError, KeyError, AssertionError):
            return said(errcode=40035, errmsg="缺少参数 json")
        if self.keyword and self.keyword not in text:
            return said(errcode=310000, errmsg="keywords not in content, more: [https://ding-doc.dingtalk.com/]")
        at = message.get("at", {})
        calls = ["all"] if at.get("isAtAll") or "@all" in text or "@所有人" in text else []
        calls += [mobile for mobile in at.get("atMobiles", []) if f"@{mobile}" in text]
        links, tags = markdown(text)
        self.shown.append(Shown(f"{title}\n{text}", tuple(links), tuple(calls + tags)))
        return said(errcode=0, errmsg="ok")

    def _signed(self, request: web.Request) -> str:
        timestamp = request.query.get("timestamp", "")
        if not timestamp.isdigit() or abs(int(timestamp) - self._now_ms()) > HOUR_MS:
            return "invalid timestamp"
        digest = hmac.digest(self.secret.encode(), f"{timestamp}\n{self.secret}".encode(), hashlib.sha256)
        # The query as it was sent: base64 has characters that mean something else in an address.
        given = re.search(r"[?&]sign=([^&]*)", request.raw_path)
        sent = urllib.parse.unquote(given[1].replace("+", " ")) if given else ""
        return "" if sent == base64.b64encode(digest).decode() else "sign not match"


class FeishuFake(Robot):
    """A robot with a secret, or with a keyword; 100 messages a minute, 20 KB each."""

    def __init__(self, now_ms: Callable[[], int], secret: str = "", keyword: str = "") -> None:
        super().__init__(now_ms, 100)
        self.secret = secret
        self.keyword = keyword

    async def answer(self, request: web.Request, body: bytes) -> web.StreamResponse:
        if request.path != f"/open-apis/bot/v2/hook/{TOKEN}":
            return said(code=19001, msg="param invalid: incoming webhook access token invalid")
        message = json.loads(body)
        if self.secret and not self._signed(message):
            return said(code=19021, msg="sign match fail or timestamp is not within one hour from current time")
        if self.too_many():
            return said(code=11232, msg="frequency limited psm[lark.oapi.app_platform]appID[1500]")
        if len(body) > 20 * 1024 or message.get("msg_type") != "interactive":
            return said(code=9499, msg="Bad Request")
        shown = Shown(*self._read(message["card"]))
        if self.keyword and self.keyword not in shown.text:
            return said(code=19024, msg="Key Words Not Found")
        self.shown.append(shown)
        return said(StatusCode=0, StatusMessage="success", code=0, data={}, msg="success")

    def _signed(self, message: dict[str, Any]) -> bool:
        timestamp = message.get("timestamp")
        if not isinstance(timestamp, str) or abs(int(timestamp) * 1000 - self._now_ms()) > HOUR_MS:
            return False
        made = hmac.digest(f"{timestamp}\n{self.secret}".encode(), b"", hashlib.sha256)
        return message.get("sign") == base64.b64encode(made).decode()

    def _read(self, card: dict[str, Any]) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
        """Every text of the card. Plain text is held to be as dangerous as Markdown: at worst a client reads it so."""
        texts: list[str] = []
        links: list[str] = []

        def walk(part: Any) -> None:
            if isinstance(part, list):
                for one in part:
                    walk(one)
            elif isinstance(part, dict):
                if part.get("tag") in ("plain_text", "lark_md"):
                    texts.append(part["content"])
                if "url" in part:
                    links.append(part["url"])
                for one in part.values():
                    walk(one)

        walk(card)
        tags = [tag for text in texts for tag in _TAG.findall(unescape(text))]
        bare = [link for text in texts for link in _BARE_LINK.findall(text)]
        return "\n".join(texts), tuple(links + bare), tuple(tags)


class WecomFake(Robot):
    """A robot; 20 messages a minute, 4,096 bytes of Markdown each."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        super().__init__(now_ms, 20)

    async def answer(self, request: web.Request, body: bytes) -> web.StreamResponse:
        if request.path != "/cgi-bin/webhook/send" or request.query.get("key") != TOKEN:
            return said(errcode=93000, errmsg="invalid webhook url, hint: [1700000000]")
        if self.too_many():
            return said(errcode=45009, errmsg="api freq out of limit")
        message = json.loads(body)
        if message.get("msgtype") != "markdown":
            return said(errcode=40008, errmsg="invalid message type")
        text = message["markdown"]["content"]
        if not text.strip():
            return said(errcode=44004, errmsg="empty content")
        if len(text.encode()) > 4096:
            return said(errcode=40058, errmsg="markdown.content exceed max length 4096")
        links, tags = markdown(text)
        calls = [*tags, *re.findall(r"<@[^>]*>", unescape(text))]
        self.shown.append(Shown(text, tuple(links), tuple(calls)))
        return said(errcode=0, errmsg="ok")


class SlackFake(Robot):
    """An incoming webhook: errors are words with a status, success is ``ok``."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        super().__init__(now_ms, 60)
        self.archived = False
        self.says = "ok"

    async def answer(self, request: web.Request, body: bytes) -> web.StreamResponse:
        if request.path != f"/services/T0000001/B0000001/{TOKEN}":
            return web.Response(status=403, text="invalid_token")
        if self.archived:
            return web.Response(status=410, text="channel_is_archived")
        if self.too_many():
            return web.Response(status=429, text="rate_limited", headers={"Retry-After": "30"})
        try:
            self.shown.append(self._read(json.loads(body)))
        except (ValueError, KeyError, AssertionError) as error:
            return web.Response(status=400, text=f"invalid_blocks: {error!r}")
        return web.Response(text=self.says)

    def _read(self, message: dict[str, Any]) -> Shown:
        assert message["text"] and 0 < len(message["blocks"]) <= 50
        texts = [message["text"]]
        for block in message["blocks"]:
            text = block["text"]
            assert 0 < len(text["text"]) <= (150 if block["type"] == "header" else 3000)
            assert text["type"] == "plain_text" or block["type"] == "section"
            texts.append(text["text"])
        marks = [mark for text in texts for mark in re.findall(r"<([^<>]*)>", text)]
        calls = [mark for mark in marks if mark[:1] in "!@#"]
        # Outside of what is marked, ``verbatim`` and plain text make no links; the fallback text is read with care.
        links = [mark.partition("|")[0] for mark in marks if mark[:1] not in "!@#"]
        rest = re.sub(r"<[^<>]*>", " ", "\n".join(texts))
        assert not re.search(r"[<>]|&(?!amp;|lt;|gt;)", rest), "what is not escaped has no meaning"
        return Shown(unescape(rest), tuple(links + _BARE_LINK.findall(rest)), tuple(calls))
