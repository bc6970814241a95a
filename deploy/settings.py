"""Settings: one TOML file, then the environment, then the command line. The only place that reads the environment.

Every field stands in the README's table; a test holds the two together.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from ingest.clean import EdgeSettings
from stream.core.settings import CoreSettings
from stream.runtime.settings import WorkerSettings

PREFIX: Final = "WEIBOWATCH_"
CONFIG_FILE: Final = "weibowatch.toml"
SECRETS: Final = frozenset({"web.token", "privacy.author_key"})


class SettingsError(Exception):
    """The settings cannot be used; the message names the file, the key and what to do."""


class StoreSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    directory: str = "weibowatch-data"


class WebSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    host: str = "127.0.0.1"
    port: int = 8765
    token: str = ""


class TaggerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    model: str = ""
    threads: int = 2


class RulesSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    file: str = ""


class PrivacySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    author_key: str = ""


class RetentionSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    log_days: float = 7
    documents_days: float = 30
    pictures_days: float = 7
    trends_days: float = 400
    alerts_days: float = 400
    rejects_days: float = 30
    every_s: float = 3600


class NotifySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    file: str = ""


class LogSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    level: Literal["debug", "info", "warning", "error"] = "info"
    json: bool = False


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All settings in force."""

    store: StoreSettings = StoreSettings()
    web: WebSettings = WebSettings()
    edge: EdgeSettings = EdgeSettings()
    tagger: TaggerSettings = TaggerSettings()
    worker: WorkerSettings = WorkerSettings()
    core: CoreSettings = CoreSettings()
    rules: RulesSettings = RulesSettings()
    privacy: PrivacySettings = PrivacySettings()
    retention: RetentionSettings = RetentionSettings()
    notify: NotifySettings = NotifySettings()
    log: LogSettings = LogSettings()


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
    for name, value in sorted(environment.items()):
        if name.startswith(PREFIX) and "__" in name:
            _put(tree, name, value)
    return _convert(tree, where)


def flat(settings: Settings, *, redact: bool = True) -> dict[str, Any]:
    """``section.key`` → value in the order of the sections, secrets shown as ``***`` when they are set."""
    found: dict[str, Any] = {}
    for section in settings.__struct_fields__:
        part = getattr(settings, section)
        for key in part.__struct_fields__:
            name = f"{section}.{key}"
            value = getattr(part, key)
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


def _put(tree: dict[str, Any], name: str, value: str) -> None:
    section, _, key = name[len(PREFIX) :].lower().partition("__")
    if f"{section}.{key}" not in flat(Settings()):
        raise SettingsError(f"{name}: unknown setting {section}.{key}. See: weibowatch config show")
    tree.setdefault(section, {})[key] = value


def _convert(tree: Mapping[str, Any], where: str) -> Settings:
    parts: dict[str, Any] = {}
    for section, part in tree.items():
        kind = type(getattr(Settings(), section))
        for key, value in part.items():
            try:
                msgspec.convert({key: value}, kind, strict=not isinstance(value, str))
            except msgspec.ValidationError as error:
                raise SettingsError(f"{where}: {section}.{key} = {value!r}: {error}") from error
        try:
            parts[section] = msgspec.convert(part, kind, strict=False)
        except msgspec.ValidationError as error:
            raise SettingsError(f"{where}: [{section}]: {error}") from error
    return Settings(**parts)
