"""Settings of the alert channels: a table ``[notify.channels.NAME]`` each, told apart by ``kind``.

They come from the administrator's file only. Addresses hold keys, so they count as secrets like the secrets proper:
no error and no ``repr`` shows them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar, Final, Literal
from urllib.parse import urlsplit

import msgspec

from stream.contract.ports import Limit

Language = Literal["zh", "en", "both"]
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")
URL_CHARS_MAX: Final = 2_000
PER_MINUTE_MAX: Final = 6_000
MINUTE_MS: Final = 62_000
"""Two seconds more: alerts arrive at other distances than they leave, and a service counts when they arrive."""


class ChannelSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """What all kinds have. ``per_minute`` 0 sets no limit."""

    SECRET: ClassVar[tuple[str, ...]] = ()
    language: Language = "both"
    per_minute: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.per_minute <= PER_MINUTE_MAX:
            raise ValueError(f"per_minute must be from 0 (no limit) to {PER_MINUTE_MAX}")
        url = getattr(self, "url", None)
        if url is not None and not isinstance(self, AppriseSettings):
            _check_url(url)
        _check_rest(self)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({shown(self)})"

    @property
    def limits(self) -> tuple[Limit, ...]:
        """``per_minute``, and what the service asks for besides."""
        return (Limit(self.per_minute, MINUTE_MS),) if self.per_minute else ()


class WebhookSettings(ChannelSettings, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="webhook"):
    """Alertmanager's body to any address, signed when there is a ``secret``."""

    SECRET: ClassVar[tuple[str, ...]] = ("url", "secret")
    url: str
    secret: str = ""


class DingTalkSettings(ChannelSettings, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="dingtalk"):
    """A robot of a DingTalk group. ``keyword`` is put into each message for robots that ask for one."""

    SECRET: ClassVar[tuple[str, ...]] = ("url", "secret")
    url: str
    secret: str = ""
    keyword: str = ""
    per_minute: int = 20


class FeishuSettings(ChannelSettings, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="feishu"):
    """A robot of a Feishu or Lark group."""

    SECRET: ClassVar[tuple[str, ...]] = ("url", "secret")
    url: str
    secret: str = ""
    keyword: str = ""
    per_minute: int = 100

    @property
    def limits(self) -> tuple[Limit, ...]:
        """Also five a second."""
        return (Limit(self.per_minute, MINUTE_MS), Limit(5, 1_200)) if self.per_minute else ()


class WecomSettings(ChannelSettings, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="wecom"):
    """A robot of a WeCom group."""

    SECRET: ClassVar[tuple[str, ...]] = ("url",)
    url: str
    per_minute: int = 20


class SlackSettings(ChannelSettings, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="slack"):
    """An incoming webhook of Slack."""

    SECRET: ClassVar[tuple[str, ...]] = ("url",)
    url: str
    per_minute: int = 60


class EmailSettings(ChannelSettings, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="email"):
    """Mail over SMTP. ``security``: STARTTLS, TLS from the start, or none; a ``ca_file`` is trusted
    instead of the system's authorities."""

    SECRET: ClassVar[tuple[str, ...]] = ("password",)
    host: str
    port: int = 587
    security: Literal["starttls", "tls", "none"] = "starttls"
    username: str = ""
    password: str = ""
    ca_file: str = ""
    sender: str
    to: tuple[str, ...]
    per_minute: int = 60


class AppriseSettings(ChannelSettings, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="apprise"):
    """Whatever the library Apprise can send to: ``url`` in its notation, e.g. ``tgram://TOKEN/CHAT``."""

    SECRET: ClassVar[tuple[str, ...]] = ("url",)
    url: str
    per_minute: int = 20


class StdoutSettings(ChannelSettings, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="stdout"):
    """Standard output, a JSON object a line."""


class FileSettings(ChannelSettings, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="file"):
    """A file, a JSON object a line."""

    path: str


class KafkaTopicSettings(ChannelSettings, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="kafka"):
    """A topic of the Kafka in ``[kafka]``, a JSON object a record, keyed by incident."""

    topic: str


AnyChannel = (
    WebhookSettings
    | DingTalkSettings
    | FeishuSettings
    | WecomSettings
    | SlackSettings
    | EmailSettings
    | AppriseSettings
    | StdoutSettings
    | FileSettings
    | KafkaTopicSettings
)


def shown(channel: ChannelSettings) -> dict[str, Any]:
    """The settings as plain values, kind first, secrets as ``***`` when they are set."""
    found: dict[str, Any] = msgspec.to_builtins(channel)
    return {key: "***" if key in channel.SECRET and value else value for key, value in found.items()}


def read_channels(table: object) -> dict[str, AnyChannel]:
    """The channels of ``[notify.channels]``. Raises ``ValueError`` naming the place, and no value."""
    if not isinstance(table, Mapping):
        raise ValueError("notify.channels: write a table for each channel: [notify.channels.NAME]")
    found: dict[str, AnyChannel] = {}
    for name, part in table.items():
        place = f"notify.channels.{name}"
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise ValueError(f"{place}: a name has 1 to 40 letters, digits, - and _")
        try:
            found[name] = msgspec.convert(part, AnyChannel)
        except msgspec.ValidationError as error:
            raise ValueError(f"{place}: {error}") from None
    return found


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        fine = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        fine = False
    if not fine or len(url) > URL_CHARS_MAX or not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError("url must be the whole address, https://…, as the service shows it")


def _check_rest(channel: ChannelSettings) -> None:
    empty = [name for name in ("host", "sender", "path", "topic", "to") if getattr(channel, name, "there") in ("", ())]
    if empty or (isinstance(channel, AppriseSettings) and "://" not in channel.url):
        raise ValueError(f"{empty[0]} must not be empty" if empty else "url must be one of Apprise's, such as ntfy://…")
    if isinstance(channel, EmailSettings):
        if not 0 < channel.port < 65_536:
            raise ValueError("port must be from 1 to 65535")
        for address in (channel.sender, *channel.to):
            local, at, domain = address.rpartition("@")
            fine = bool(at and local and domain) and address.isascii() and address.isprintable()
            if not fine or set(address) & set(' <>,;"()'):
                raise ValueError("sender and to must be plain addresses, name@example.org")
        if bool(channel.password) != bool(channel.username):
            raise ValueError("username and password go together")
        if channel.password and channel.security == "none":
            raise ValueError("security must be starttls or tls where there is a password")
