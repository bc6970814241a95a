"""The HTML of a post's text → plain text. Pure.

Both flavours of a post give the same text: links become their short form (``http://t.cn/…``), as in ``text_raw`` of
weibo.com; emoji become their names (``[doge]``); the anchor that unfolds a long post goes.
"""

from __future__ import annotations

import re
import unicodedata
from html import unescape
from typing import Final
from urllib.parse import unquote

_MARKUP: Final = re.compile(r"[<&]")
_BREAK: Final = re.compile(r"<br\s*/?>", re.IGNORECASE)
# No part of these runs over another tag's beginning: a page of unclosed tags must not take quadratic time.
_IMAGE: Final = re.compile(r"<img\b[^<>]*>", re.IGNORECASE)
_ALT: Final = re.compile(r"""\balt\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s>]+))""", re.IGNORECASE)
_ANCHOR: Final = re.compile(r"<a\b([^<>]*)>((?:(?!<a\b).)*?)</a>", re.IGNORECASE | re.DOTALL)
_TARGET: Final = re.compile(r"""\b(data-url|href)\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s>]+))""", re.IGNORECASE)
_WRAPPED: Final = re.compile(r"https?://(?:www\.)?weibo\.cn/sinaurl\?(?:.*&)?u=([^&]+)", re.IGNORECASE)
_SHORT: Final = re.compile(r"https?://t\.cn/[0-9A-Za-z]+")
_UNFOLD: Final = re.compile(r"<span class=[\"']?expand[\"']?>[^<]*</span>", re.IGNORECASE | re.DOTALL)
_TAG: Final = re.compile(r"</?[A-Za-z][^<>]*>")
_UNFOLDS: Final = frozenset(("全文", "展开", "展开全文"))
_INVISIBLE: Final = ("\u200b", "\ufeff")


def plain_text(html: str) -> str:
    """What people read of ``html``, in NFC, without zero-width padding and blanks at its ends."""
    text = html
    if _MARKUP.search(text):
        if "expand" in text:
            text = _UNFOLD.sub("", text)
        text = _BREAK.sub("\n", text)
        text = _IMAGE.sub(_alt, text)
        text = _ANCHOR.sub(_anchor, text)
        text = unescape(_TAG.sub("", text))
    return tidy(text)


def tidy(text: str) -> str:
    """Plain text as it is stored."""
    for character in _INVISIBLE:
        text = text.replace(character, "")
    return unicodedata.normalize("NFC", text).strip()


def _alt(match: re.Match[str]) -> str:
    found = _ALT.search(match[0])
    return _value(found, 1) if found else ""


def _anchor(match: re.Match[str]) -> str:
    inner = _TAG.sub("", match[2])
    if inner.strip() in _UNFOLDS:
        return ""
    if "t.cn" not in match[1] and "sinaurl" not in match[1]:  # to a person or a topic, as most are
        return inner
    targets = {found[1].lower(): unescape(_value(found, 2)) for found in _TARGET.finditer(match[1])}
    short = targets.get("data-url", "")
    if _SHORT.fullmatch(short):
        return short
    if wrapped := _WRAPPED.match(targets.get("href", "")):
        return unquote(wrapped[1]).replace("<", "").replace(">", "")
    return inner


def _value(match: re.Match[str], first: int) -> str:
    for group in match.groups()[first - 1 :]:
        if group is not None:
            return str(group)
    return ""
