"""Slack's incoming webhooks: blocks of plain text, the key in the address, ``ok`` as the whole answer."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from stream.contract.ports import DeliveryError, Telling
from stream.notify.channel import Tools
from stream.notify.http import judged, keys_of
from stream.notify.message import Style, compose
from stream.notify.settings import SlackSettings
from stream.notify.words import first

HEADER_CHARS_MAX: Final = 150
SECTION_CHARS_MAX: Final = 3_000
LINES_MAX: Final = 46
"""Slack takes 50 blocks; the others are title, facts and link."""
_ENTITIES: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def escape(text: str) -> str:
    """Slack's three characters: without them there are no calls, no links and no tags."""
    return "".join(_ENTITIES.get(one, one) for one in text)


class Slack:
    """Delivers to one webhook."""

    def __init__(self, settings: SlackSettings, tools: Tools) -> None:
        self._settings = settings
        self._tools = tools
        self._secrets = keys_of(settings.url)

    async def deliver(self, telling: Telling) -> str:
        """What was answered. Raises ``DeliveryError``."""
        answer = await self._tools.http.post(self._settings.url, msgspec.json.encode(self._body(telling)))
        said = judged(answer, self._secrets)
        if answer.body.strip() != b"ok":
            raise DeliveryError(f"it did not answer ok: {said}")
        return said

    def _body(self, telling: Telling) -> dict[str, Any]:
        message = compose(telling, Style(self._settings.language, self._tools.public_url), escape)
        # A header takes fewer characters; a piece that ``escape`` made must not be cut.
        short = len(message.title) <= HEADER_CHARS_MAX
        blocks = [{"type": "header", "text": _plain(message.title)} if short else _section(message.title)]
        blocks.append(_section("\n".join(message.facts)))
        lines = [*message.body, *message.posts]
        # One for each post: three of them could be longer than a section.
        blocks += [_section(line) for line in first(lines, LINES_MAX)]
        if message.link:
            link = f"<{message.link}|{message.label}>"
            blocks.append({"type": "section", "text": {"type": "mrkdwn", "text": link, "verbatim": True}})
        return {"text": message.title, "blocks": blocks, "unfurl_links": False, "unfurl_media": False}


def _plain(text: str) -> dict[str, Any]:
    return {"type": "plain_text", "text": text, "emoji": False}


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": _plain(text)}
