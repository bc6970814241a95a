"""Feishu's and Lark's robots of groups: a card of plain text, signed in the body, errors in the body of a 200."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any, Final

import msgspec

from stream.contract.ports import Telling
from stream.notify.channel import Tools
from stream.notify.http import Codes, judged_by_code, keys_of
from stream.notify.message import Style, compose, over, worst
from stream.notify.settings import FeishuSettings
from stream.notify.words import fitted, widened

TEXT_BYTES_MAX: Final = 15_000
"""Feishu takes 20 KB with everything around."""
COLOURS: Final = {"info": "blue", "warning": "orange", "critical": "red"}
CODES: Final = Codes(
    code="code",
    text="msg",
    # No such robot or bad parameters; signature, IP address or keyword do not fit.
    lasting=frozenset((19001, 19002, 19021, 19022, 19024)),
    busy={11232: 60.0},
)


def sign(secret: str, timestamp_s: int) -> str:
    """What the body takes as ``sign``. Key and message are the other way round than DingTalk's."""
    key = f"{timestamp_s}\n{secret}".encode()
    return base64.b64encode(hmac.new(key, b"", hashlib.sha256).digest()).decode()


def escape(text: str) -> str:
    """No tags, which call members; plain text of a card knows no other markup."""
    return widened(text, "<>&@")


class Feishu:
    """Delivers to one robot."""

    def __init__(self, settings: FeishuSettings, tools: Tools) -> None:
        self._settings = settings
        self._tools = tools
        self._secrets = keys_of(settings.url, settings.secret)

    async def deliver(self, telling: Telling) -> str:
        """What was answered. Raises ``DeliveryError``."""
        body: dict[str, Any] = {"msg_type": "interactive", "card": self._card(telling)}
        if self._settings.secret:
            timestamp_s = self._tools.now_ms() // 1000
            body |= {"timestamp": str(timestamp_s), "sign": sign(self._settings.secret, timestamp_s)}
        answer = await self._tools.http.post(self._settings.url, msgspec.json.encode(body))
        return judged_by_code(answer, CODES, self._secrets)

    def _card(self, telling: Telling) -> dict[str, Any]:
        message = compose(telling, Style(self._settings.language, self._tools.public_url), escape)
        keyword = self._settings.keyword
        elements: list[dict[str, Any]] = [_text("\n".join(message.facts))]
        if lines := [*message.body, *message.posts]:
            elements += [{"tag": "hr"}, _text(fitted([], lines, "\n", TEXT_BYTES_MAX))]
        if message.link:
            button = {"tag": "button", "text": _plain(message.label), "url": message.link, "type": "default"}
            elements.append({"tag": "action", "actions": [button]})
        colour = "green" if over(telling.flips) else COLOURS.get(worst(telling.flips), "blue")
        title = f"{message.title} · {keyword}" if keyword else message.title
        return {
            "config": {"wide_screen_mode": True},
            "header": {"title": _plain(title), "template": colour},
            "elements": elements,
        }


def _plain(text: str) -> dict[str, str]:
    return {"tag": "plain_text", "content": text}


def _text(text: str) -> dict[str, Any]:
    return {"tag": "div", "text": _plain(text)}
