"""HTML of other sites → plain text: paragraphs become lines, what nobody reads goes. Pure, in linear time."""

from __future__ import annotations

import re
from typing import Final

from ingest.weibo.html import plain_text

# No part of these runs over another tag's beginning: unclosed tags must not take quadratic time.
_UNREAD: Final = re.compile(
    r"<!--(?:(?!<!--).)*?-->|<(script|style|template|noscript)\b[^<>]*>(?:(?!<\1\b).)*?</\1\s*>",
    re.IGNORECASE | re.DOTALL,
)
_BLOCK: Final = re.compile(
    r"</?(?:p|div|li|ul|ol|h[1-6]|blockquote|pre|table|tr|section|article|header|footer|figure|figcaption|hr|dd|dt|dl)"
    r"(?=[\s/>])[^<>]*>",
    re.IGNORECASE,
)
_CELL: Final = re.compile(r"</t[dh](?=[\s>])[^<>]*>", re.IGNORECASE)
_BREAK: Final = re.compile(r"<br\s*/?>", re.IGNORECASE)
_TAG: Final = re.compile(r"<[A-Za-z/!]")
_SPACE: Final = re.compile(r"[ \t\r\n\f]+")
_EDGES: Final = re.compile(r"[ \t\xa0]*\n[ \t\xa0]*")
_GAP: Final = re.compile(r"\n{3,}")
_IMAGE: Final = re.compile(r"""<img\b[^<>]*?\bsrc\s*=\s*["']([^"'<>\s]+)""", re.IGNORECASE)


def html_text(html: str) -> str:
    """What people read of ``html``: blocks and breaks are line ends, no more than one line between two stays empty.

    Text without a tag keeps its own line ends.
    """
    if _TAG.search(html):
        html = _UNREAD.sub("", html)
        html = _SPACE.sub(" ", html)
        html = _CELL.sub(" ", _BREAK.sub("\n", _BLOCK.sub("\n", html)))
    text = _EDGES.sub("\n", plain_text(html).replace("\r\n", "\n"))
    return _GAP.sub("\n\n", text).strip()


def image_urls(html: str, most: int) -> list[str]:
    """Addresses of the first ``most`` pictures in ``html``, as they are written there."""
    found: list[str] = []
    for match in _IMAGE.finditer(html):
        if len(found) == most:
            break
        found.append(match[1].replace("&amp;", "&"))
    return found
