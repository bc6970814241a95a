"""DingTalk's robots of groups: Markdown, signed in the address, errors in the body of a 200."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any, Final
from urllib.parse import quote_plus

import msgspec

from stream.contract.ports import Telling
from stream.notify.channel import Tools
from stream.notify.http import Codes, judged_by_code, keys_of
from stream.notify.message import Style, compose
from stream.notify.settings import DingTalkSettings
from stream.notify.words import fitted, widened

TEXT_BYTES_MAX: Final = 16_000
"""DingTalk takes 20,000 bytes with everything around."""
CODES: Final = Codes(
    code="errcode",
    text="errmsg",
    # Keyword, signature or IP address do not fit; no such token or robot, or it is switched off; refused content.
    lasting=frozenset(
        (40035, 43004, 300001, 310000, 400013, 400101, 400102, 400105, 400106, 430101, 430102, 430103, 430104)
    ),
    # More than 20 in a minute silence a robot for ten.
    busy={130101: 600.0, 410100: 60.0, 90030: 3_600.0},
)


def sign(secret: str, timestamp_ms: int) -> str:
    """What the address takes as ``sign``, quoted for it."""
    digest = hmac.new(secret.encode(), f"{timestamp_ms}\n{secret}".encode(), hashlib.sha256).digest()
    return quote_plus(base64.b64encode(digest))


def escape(text: str) -> str:
    """No markup, no links, no tags and no calls."""
    return widened(text, "\\`*_[]<>~@&|")


class DingTalk:
    """Delivers to one robot."""

    def __init__(self, settings: DingTalkSettings, tools: Tools) -> None:
        self._settings = settings
        self._tools = tools
        self._secrets = keys_of(settings.url, settings.secret)

    async def deliver(self, telling: Telling) -> str:
        """What was answered. Raises ``DeliveryError``."""
        answer = await self._tools.http.post(self._address(), msgspec.json.encode(self._body(telling)))
        return judged_by_code(answer, CODES, self._secrets)

    def _address(self) -> str:
        """The robot's address, signed for now: a signature holds for an hour."""
        url = self._settings.url
        if not self._settings.secret:
            return url
        now_ms = self._tools.now_ms()
        joint = "&" if "?" in url else "?"
        return f"{url}{joint}timestamp={now_ms}&sign={sign(self._settings.secret, now_ms)}"

    def _body(self, telling: Telling) -> dict[str, Any]:
        message = compose(telling, Style(self._settings.language, self._tools.public_url), escape)
        keyword = self._settings.keyword
        title = f"{message.title} · {keyword}" if keyword else message.title
        link = [f"[{message.label}]({message.link})"] if message.link else []
        lines = [*message.body, *(f"> {post}" for post in message.posts)]
        text = fitted([f"#### {title}", *message.facts, *link], lines, "\n\n", TEXT_BYTES_MAX)
        return {
            "msgtype": "markdown",
            "markdown": {"title": title, "text": text},
            "at": {"atMobiles": [], "isAtAll": False},
        }
