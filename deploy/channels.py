"""The alert channels that the settings name, made and told apart by kind."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.errors import Failure
from deploy.settings import Settings
from stream.contract.guard import networks
from stream.contract.ports import Telling
from stream.notify import settings as kinds
from stream.notify.apprise_channel import AppriseChannel
from stream.notify.channel import Answering, NamedChannel, Tools
from stream.notify.dingtalk import DingTalk
from stream.notify.email import Email
from stream.notify.feishu import Feishu
from stream.notify.http import Http
from stream.notify.kafka_topic import KafkaTopic, Publish
from stream.notify.local import FileChannel, Stdout
from stream.notify.settings import AnyChannel
from stream.notify.slack import Slack
from stream.notify.webhook import Webhook
from stream.notify.wecom import Wecom

if TYPE_CHECKING:
    from index.reading import Reader


def channels(
    settings: Settings, now_ms: Callable[[], int], reader: Callable[[], Reader] | None = None
) -> tuple[Answering, ...]:
    """All channels of ``settings``, in the order of the file; none of them has connected to anything.

    ``reader`` makes one of the index that alerts are in; without it no channel shows a chart.
    Raises ``Failure`` where a library is missing.
    """
    notify = settings.notify
    chart = None
    if reader is not None and any(isinstance(one, kinds.EmailSettings) for one in notify.channels.values()):
        from deploy.charts import AlertCharts

        chart = AlertCharts(reader, round(settings.core.utc_offset_s))
    tools = Tools(Http(networks(notify.allow), notify.timeout_s), now_ms, settings.web.public_url, chart)
    found: list[Answering] = [FileChannel(Path(notify.file))] if notify.file else []
    for name, one in notify.channels.items():
        found.append(NamedChannel(name, one.limits, _delivers(name, one, tools, settings)))
    return tuple(found)


def _delivers(name: str, one: AnyChannel, tools: Tools, settings: Settings) -> Callable[[Telling], Awaitable[str]]:
    """What takes an alert to the service of ``one``."""
    match one:
        case kinds.WebhookSettings():
            return Webhook(name, one, tools).deliver
        case kinds.DingTalkSettings():
            return DingTalk(one, tools).deliver
        case kinds.FeishuSettings():
            return Feishu(one, tools).deliver
        case kinds.WecomSettings():
            return Wecom(one, tools).deliver
        case kinds.SlackSettings():
            return Slack(one, tools).deliver
        case kinds.EmailSettings():
            return Email(name, one, tools).deliver
        case kinds.AppriseSettings():
            return AppriseChannel(one, tools).deliver
        case kinds.FileSettings():
            return FileChannel(Path(one.path)).deliver
        case kinds.StdoutSettings():
            return Stdout().deliver
        case kinds.KafkaTopicSettings():
            return KafkaTopic(one.topic, _publish(name, settings)).deliver


def _publish(name: str, settings: Settings) -> Publish:
    try:
        from stream.runtime.alert_topic import publish
    except ImportError as error:
        raise Failure(
            f"notify.channels.{name}: {error.name} is missing. Install: pip install 'weibowatch[cluster]'"
        ) from error
    return functools.partial(publish, settings.kafka)
