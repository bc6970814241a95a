"""Settings: one TOML file, then the environment, then the command line. The only place that reads the environment.

Every field stands in the README's table; a test holds the two together.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from index.elastic_settings import ElasticSettings
from ingest.clean import EdgeSettings
from ingest.picture_settings import PictureSettings
from ingest.weibo.settings import WeiboSettings
from nlp.serving.settings import TaggerSettings
from stream.contract.guard import networks
from stream.core.settings import CoreSettings
from stream.notify.settings import AnyChannel, read_channels, shown
from stream.runtime.settings import KafkaSettings, WorkerSettings

PREFIX: Final = "WEIBOWATCH_"
CONFIG_FILE: Final = "weibowatch.toml"
SECRETS: Final = frozenset(
    {"web.token", "privacy.author_key", "kafka.password", "elastic.password", "elastic.api_key", "weibo.cookie"}
)
NO_SETTINGS: Final = frozenset({f"{PREFIX}CONFIG", f"{PREFIX}TEST_SERVICES"})
"""Variables of the environment that are no settings."""
KEY_BYTES_MIN: Final = 16
FILE_ONLY: Final = frozenset({"notify.channels"})
"""What stands in the file of the administrator only."""
_PUBLIC_URL: Final = re.compile(r"https?://[A-Za-z0-9.:\[\]-]{1,300}(/[A-Za-z0-9._~/-]{0,300})?")


class SettingsError(Exception):
    """The settings cannot be used; the message names the file, the key and what to do."""


class StoreSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    directory: str = "weibowatch-data"


class WebSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    host: str = "127.0.0.1"
    port: int = 8765
    token: str = ""
    public_url: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65_535:
            raise ValueError("web.port must be from 0 to 65535")
        if self.public_url and not _PUBLIC_URL.fullmatch(self.public_url):
            raise ValueError("web.public_url must be the dashboard's address: http:// or https://, host, port, path")


class IngestSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where ``weibowatch ingest`` serves ``/healthz`` and ``/metrics``; port 0 takes a free one, -1 serves none."""

    http_host: str = "127.0.0.1"
    http_port: int = 8767

    def __post_init__(self) -> None:
        if not self.http_host or not -1 <= self.http_port <= 65_535:
            raise ValueError("ingest.http_host must not be empty, ingest.http_port must be from -1 to 65535")


class RulesSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    file: str = ""


class BiasSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``audit``: what people found in samples of the tagger's mentions; API and dashboard correct counts by it."""

    audit: str = ""


class PrivacySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    author_key: str = ""

    def __post_init__(self) -> None:
        if self.author_key and len(self.author_key.encode()) < KEY_BYTES_MIN:
            raise ValueError(f"privacy.author_key must have at least {KEY_BYTES_MIN} bytes")


class RetentionSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    log_days: float = 7
    documents_days: float = 30
    pictures_days: float = 7
    trends_days: float = 400
    alerts_days: float = 400
    rejects_days: float = 30
    notes_days: float = 400
    every_s: float = 3600

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            least = 1 if name == "every_s" else 0
            if not least <= getattr(self, name) < 1e6:
                raise ValueError(f"retention.{name} must be from {least} to 1,000,000")


class NotifySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``file`` is the short form of a channel of kind ``file``. ``allow``: networks besides the public ones."""

    file: str = ""
    allow: tuple[str, ...] = ()
    timeout_s: float = 10.0
    channels: dict[str, AnyChannel] = {}

    def __post_init__(self) -> None:
        networks(self.allow)
        if not 1 <= self.timeout_s <= 60:
            raise ValueError("notify.timeout_s must be from 1 to 60")


class LogSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    level: Literal["debug", "info", "warning", "error"] = "info"
    json: bool = False


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All settings in force."""

    store: StoreSettings = StoreSettings()
    web: WebSettings = WebSettings()
    edge: EdgeSettings = EdgeSettings()
    ingest: IngestSettings = IngestSettings()
    weibo: WeiboSettings = WeiboSettings()
    pictures: PictureSettings = PictureSettings()
    tagger: TaggerSettings = TaggerSettings()
    worker: WorkerSettings = WorkerSettings()
    core: CoreSettings = CoreSettings()
    rules: RulesSettings = RulesSettings()
    bias: BiasSettings = BiasSettings()
    privacy: PrivacySettings = PrivacySettings()
    retention: RetentionSettings = RetentionSettings()
    notify: NotifySettings = NotifySettings()
    kafka: KafkaSettings = KafkaSettings()
    elastic: ElasticSettings = ElasticSettings()
    log: LogSettings = LogSettings()


def of_the_user(name: str) -> str:
    """A variable that belongs to the user's system, such as JAVA_HOME; empty when it is not set."""
    return os.environ.get(name, "")


def load(path: Path | None, environment: Mapping[str, str] | None = None) -> Settings:
    """Settings from ``path`` (default: ``weibowatch.toml`` here, if it is there) and the environment.

    Raises ``SettingsError`` for an unreadable file, an unknown key or a value of the wrong type.
    """
    environment = os.environ if environment is None else environment
    named = path or (Path(environment[PREFIX + "CONFIG"]) if PREFIX + "CONFIG" in environment else None)
    file = named or Path(CONFIG_FILE)
    tree = _read(file) if named or file.exists() else {}
    where = str(file)
    _check(tree, where)
    origin: dict[str, str] = {}
    for name, value in sorted(environment.items()):
        if name.startswith(PREFIX) and name not in NO_SETTINGS:
            origin[_put(tree, name, value)] = name
    return _convert(tree, where, origin)


def flat(settings: Settings, *, redact: bool = True) -> dict[str, Any]:
    """``section.key`` → value in the order of the sections, secrets shown as ``***`` when they are set."""
    found: dict[str, Any] = {}
    for section in settings.__struct_fields__:
        part = getattr(settings, section)
        for key in part.__struct_fields__:
            name = f"{section}.{key}"
            value = getattr(part, key)
            if redact and name == "notify.channels":
                value = {channel: shown(one) for channel, one in value.items()}
            found[name] = "***" if redact and name in SECRETS and value else value
    return found


def _read(path: Path) -> dict[str, Any]:
    try:
        tree: dict[str, Any] = msgspec.toml.decode(path.read_bytes())
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read ({error.strerror}). Check --config.") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: no valid TOML: {error}") from error
    return tree


def _check(tree: Mapping[str, Any], where: str) -> None:
    known = {name.split(".")[0]: None for name in flat(Settings())}
    for section, part in tree.items():
        if section not in known:
            raise SettingsError(f"{where}: unknown section [{section}]. Known: {', '.join(known)}.")
        if not isinstance(part, dict):
            raise SettingsError(f"{where}: {section} must be a section: [{section}]")
        fields = getattr(Settings(), section).__struct_fields__
        for key in part:
            if key not in fields:
                raise SettingsError(f"{where}: unknown key {section}.{key}. Known: {', '.join(fields)}.")


def _put(tree: dict[str, Any], name: str, value: str) -> str:
    """Set what an environment variable names. Returns the setting's name."""
    section, _, key = name[len(PREFIX) :].lower().partition("__")
    if f"{section}.{key}" not in flat(Settings()):
        raise SettingsError(
            f"{name}: no such setting; write {PREFIX}SECTION__KEY with two underscores. See: weibowatch config show"
        )
    if f"{section}.{key}" in FILE_ONLY:
        raise SettingsError(f"{name}: channels are set in the file only: [notify.channels.NAME]. See docs/alerts.md")
    tree.setdefault(section, {})[key] = value
    return f"{section}.{key}"


def _convert(tree: Mapping[str, Any], where: str, origin: Mapping[str, str]) -> Settings:
    parts: dict[str, Any] = {}
    _check_channels(tree.get("notify", {}), where)
    for section, part in tree.items():
        kind = type(getattr(Settings(), section))
        types = {field.name: field.type for field in msgspec.structs.fields(kind)}
        for key, value in part.items():
            try:
                msgspec.convert(value, types[key], strict=not isinstance(value, str))
            except msgspec.ValidationError as error:
                raise _refused(section, key, value, error, where, origin) from error
        try:
            parts[section] = msgspec.convert(part, kind, strict=False)
        except msgspec.ValidationError as error:
            for key, value in part.items():  # it is that one which is wrong by itself, too
                try:
                    msgspec.convert({key: value}, kind, strict=False)
                except msgspec.ValidationError as own:
                    if str(own) == str(error):
                        raise _refused(section, key, value, error, where, origin) from error
            raise SettingsError(f"{where}: [{section}]: {error}") from error
    return Settings(**parts)


def _check_channels(notify: Mapping[str, Any], where: str) -> None:
    """Raise ``SettingsError`` with the channel's name; msgspec would tell a place without it, and we the values."""
    try:
        read_channels(notify.get("channels", {}))
    except ValueError as error:
        raise SettingsError(f"{where}: {error}") from None


def _refused(
    section: str, key: str, value: Any, error: Exception, where: str, origin: Mapping[str, str]
) -> SettingsError:
    name = f"{section}.{key}"
    shown = "***" if name in SECRETS or name in FILE_ONLY else repr(value)
    return SettingsError(f"{origin.get(name, where)}: {name} = {shown}: {error}")
