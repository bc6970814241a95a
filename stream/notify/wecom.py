"""WeCom's robots of groups: Markdown of 4,096 bytes, the key in the address, errors in the body of a 200."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from stream.contract.ports import Telling
from stream.notify.channel import Tools
from stream.notify.http import Codes, judged_by_code, keys_of
from stream.notify.message import Style, compose
from stream.notify.settings import WecomSettings
from stream.notify.words import fitted, widened

TEXT_BYTES_MAX: Final = 4_096
CODES: Final = Codes(
    code="errcode",
    text="errmsg",
    # No such key; a message of the wrong kind, shape or length.
    lasting=frozenset((40008, 40058, 44004, 45002, 93000, 93004, 93008)),
    busy={45009: 60.0, 45033: 60.0},
)


def escape(text: str) -> str:
    """No markup, no links, no tags and no calls."""
    return widened(text, "\\`*_[]<>~@&|")


class Wecom:
    """Delivers to one robot."""

    def __init__(self, settings: WecomSettings, tools: Tools) -> None:
        self._settings = settings
        self._tools = tools
        self._secrets = keys_of(settings.url)

    async def deliver(self, telling: Telling) -> str:
        """What was answered. Raises ``DeliveryError``."""
        answer = await self._tools.http.post(self._settings.url, msgspec.json.encode(self._body(telling)))
        return judged_by_code(answer, CODES, self._secrets)

    def _body(self, telling: Telling) -> dict[str, Any]:
        message = compose(telling, Style(self._settings.language, self._tools.public_url), escape)
        link = [f"[{message.label}]({message.link})"] if message.link else []
        lines = [*message.body, *(f"> {post}" for post in message.posts)]
        content = fitted([f"### {message.title}", *message.facts, *link], lines, "\n", TEXT_BYTES_MAX)
        return {"msgtype": "markdown", "markdown": {"content": content}}
