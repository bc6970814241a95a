"""The alert channels that the settings name, made and told apart by kind."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.settings import Settings
from stream.notify import settings as kinds
from stream.notify.settings import AnyChannel

if TYPE_CHECKING:
    from stream.contract.records import Flip
    from stream.notify.channel import Answering, Tools


def channels(settings: Settings, now_ms: Callable[[], int]) -> tuple[Answering, ...]:
    """All channels of ``settings``, in the order of the file; none of them has connected to anything."""
    from stream.contract.guard import networks
    from stream.notify.channel import NamedChannel, Tools
    from stream.notify.http import Http
    from stream.notify.local import FileChannel

    notify = settings.notify
    http = Http(networks(notify.allow), notify.timeout_s)
    tools = Tools(http, now_ms, settings.web.public_url)
    found: list[Answering] = [FileChannel(Path(notify.file))] if notify.file else []
    for name, one in notify.channels.items():
        found.append(NamedChannel(name, one.limits, _delivers(name, one, tools)))
    return tuple(found)


def _delivers(name: str, one: AnyChannel, tools: Tools) -> Callable[[Flip], Awaitable[str]]:
    """What takes an alert to the service of ``one``; each kind is imported where it is used."""
    if isinstance(one, kinds.WebhookSettings):
        from stream.notify.webhook import Webhook

        return Webhook(name, one, tools).deliver
    if isinstance(one, kinds.DingTalkSettings):
        from stream.notify.dingtalk import DingTalk

        return DingTalk(one, tools).deliver
    if isinstance(one, kinds.FeishuSettings):
        from stream.notify.feishu import Feishu

        return Feishu(one, tools).deliver
    if isinstance(one, kinds.WecomSettings):
        from stream.notify.wecom import Wecom

        return Wecom(one, tools).deliver
    if isinstance(one, kinds.SlackSettings):
        from stream.notify.slack import Slack

        return Slack(one, tools).deliver
    raise NotImplementedError(type(one).__name__)
