"""Everything that the library Apprise can send to: Telegram, ntfy, Matrix, Discord, Pushover and a hundred others.

Apprise connects by itself, so the address guard sees nothing of it: hence its addresses come from the administrator's
file only. Why something failed it tells in the log of the call.
"""

from __future__ import annotations

import logging
import re
from typing import Final

from stream.contract.ports import DeliveryError, Telling
from stream.notify.aside import Aside
from stream.notify.channel import Tools
from stream.notify.http import keys_of, told
from stream.notify.message import Message, Style, compose, over, worst
from stream.notify.settings import AppriseSettings
from stream.notify.words import fitted, widened

TEXT_BYTES_MAX: Final = 1_900
"""Discord takes 2,000 characters; of those that take less Apprise cuts it."""
TOTAL_S_MAX: Final = 60.0
TYPES: Final = {"info": "info", "warning": "warning", "critical": "failure"}


def escape(text: str) -> str:
    """No markup of any of its services, and no calls."""
    return widened(text, "\\`*_[]<>~@&|")


class AppriseChannel:
    """Delivers to one address of Apprise."""

    def __init__(self, settings: AppriseSettings, tools: Tools) -> None:
        self._settings = settings
        self._tools = tools
        self._aside = Aside()
        pieces = re.split(r"[/@:?&=,]+", settings.url.partition("://")[2])
        self._secrets = keys_of(settings.url, *pieces)

    async def deliver(self, telling: Telling) -> str:
        """What was done. Raises ``DeliveryError``."""
        message = compose(telling, Style(self._settings.language, self._tools.public_url), escape)
        kind = "success" if over(telling.flips) else TYPES.get(worst(telling.flips), "info")
        await self._aside(lambda: self._notify(message, kind))
        return "Apprise has delivered it"

    def _notify(self, message: Message, kind: str) -> None:
        """Blocking."""
        import apprise

        asset = apprise.AppriseAsset(
            app_id="weibowatch", app_desc="weibowatch", async_mode=False, secure_logging=True,
            interpret_emojis=False, interpret_escapes=False,
        )  # fmt: skip
        service = apprise.Apprise(asset=asset)
        if not service.add(self._settings.url):
            raise DeliveryError("Apprise knows no such address; see its documentation", lasting=True)
        link = [f"{message.label}: {message.link}"] if message.link else []
        body = fitted([*message.facts, *link], [*message.body, *message.posts], "\n", TEXT_BYTES_MAX)
        done = service.notify(
            body=body, title=message.title, notify_type=apprise.NotifyType(kind),
            body_format=apprise.NotifyFormat.TEXT, timeout=TOTAL_S_MAX, log_level=logging.WARNING,
        )  # fmt: skip
        if not done:
            why = told(" ".join(entry.message for entry in done.logs()), self._secrets)
            raise DeliveryError(f"Apprise could not deliver it: {why or 'it says no more'}")
