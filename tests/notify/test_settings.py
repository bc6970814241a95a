"""Channels in the settings: every kind, clear errors with the place, and secrets that stay secret."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest

from deploy.channels import channels
from deploy.settings import Settings, SettingsError, flat, load
from stream.contract.ports import Limit
from stream.notify.settings import FeishuSettings, WebhookSettings, WecomSettings

KEY = "5e8c0ffee5e8c0ffee"


def read(tmp_path: Path, text: str) -> Settings:
    path = tmp_path / "weibowatch.toml"
    path.write_text(text, encoding="utf-8")
    return load(path, {})


def hook(rest: str = "", name: str = "ops", kind: str = "webhook") -> str:
    return f"[notify.channels.{name}]\nkind = '{kind}'\nurl = 'https://hooks.example/in/{KEY}'\n{rest}"


def mail(rest: str) -> str:
    return f"[notify.channels.m]\nkind='email'\nhost='h'\n{rest}"


def test_channels_are_read_in_the_order_of_the_file(tmp_path: Path) -> None:
    settings = read(tmp_path, hook(name="b") + "[notify]\nfile = 'x'\n" + hook(name="a", kind="wecom"))
    assert list(settings.notify.channels) == ["b", "a"]
    assert isinstance(settings.notify.channels["a"], WecomSettings)
    assert settings.notify.channels["b"] == WebhookSettings(url=f"https://hooks.example/in/{KEY}")
    assert settings.notify.channels["b"].language == "both"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (hook("urll = 'x'\n"), r"notify\.channels\.ops: .*unknown field `urll`"),
        ("[notify.channels.ops]\nkind = 'dingtalk'\n", r"notify\.channels\.ops: .*missing required field `url`"),
        ("[notify.channels.ops]\nurl = 'https://x.example'\n", r"channels\.ops: .*missing required field `kind`"),
        (hook(kind="webhok"), r"notify\.channels\.ops: .*'webhok'"),
        (hook("language = 'fr'\n"), r"notify\.channels\.ops: .*'fr'.*language"),
        (hook("per_minute = -1\n"), r"notify\.channels\.ops: .*per_minute must be"),
        (hook("secret = 5\n"), r"notify\.channels\.ops: .*secret"),
        (hook(name="'a b'"), "notify.channels.a b: a name has"),
        ("[notify]\nchannels = 5\n", "a table for each channel"),
        ("[notify]\nallow = ['nowhere']\n", "'nowhere' is no network"),
        ("[notify]\ntimeout_s = 0\n", "timeout_s must be"),
        (mail("to=[]\nsender='a@b.c'\n"), "to must not be empty"),
        (mail("to=['x']\nsender='a@b.c'\n"), "plain addresses"),
        (mail("to=['a@b.c']\nsender=\"a@b.c\\nBcc: e@v.il\"\n"), "plain addresses"),
        (mail("to=['a@b.c']\nsender='a@b.c'\npassword='p'\n"), "go together"),
        (mail("to=['a@b.c']\nsender='a@b.c'\nusername='u'\npassword='p'\nsecurity='none'\n"), "starttls or tls"),
        (mail("to=['a@b.c']\nsender='a@b.c'\nport=0\n"), "port must be"),
        ("[notify.channels.f]\nkind='file'\npath=''\n", "path must not be empty"),
        ("[notify.channels.a]\nkind='apprise'\nurl='nothing'\n", "one of Apprise's"),
    ],
)  # fmt: skip
def test_errors_name_the_place_and_no_secret(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words) as caught:
        read(tmp_path, text)
    assert str(tmp_path) in str(caught.value)
    assert KEY not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    "url", ["ftp://x/KEY", "x.example/KEY", "https:///KEY", "https://x:port/KEY", "https://x/ KEY", "https://é/KEY"]
)
def test_what_is_no_address_is_refused_without_its_text(tmp_path: Path, url: str) -> None:
    with pytest.raises(SettingsError, match="url must be the whole address") as caught:
        read(tmp_path, f"[notify.channels.ops]\nkind = 'slack'\nurl = '{url.replace('KEY', KEY)}'\n")
    assert KEY not in "".join(traceback.format_exception(caught.value))


def test_channels_are_set_in_the_file_only(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="in the file only"):
        load(None, {"WEIBOWATCH_NOTIFY__CHANNELS": "{}"})


def test_secrets_are_shown_nowhere(tmp_path: Path) -> None:
    settings = read(tmp_path, hook(f"secret = 'SEC{KEY}'\n"))
    assert flat(settings)["notify.channels"] == {
        "ops": {"kind": "webhook", "language": "both", "per_minute": 0, "url": "***", "secret": "***"}
    }
    assert KEY not in f"{flat(settings)} {settings!r}"
    assert flat(read(tmp_path, hook()))["notify.channels"]["ops"]["secret"] == "", "unset is shown as unset"


def test_limits_are_those_of_the_service_unless_set() -> None:
    url = "https://open.example/x"
    assert FeishuSettings(url=url).limits == (Limit(100, 62_000), Limit(5, 1_200))
    assert WecomSettings(url=url, per_minute=3).limits == (Limit(3, 62_000),)
    assert WebhookSettings(url=url).limits == WecomSettings(url=url, per_minute=0).limits == ()


def test_the_short_form_and_tables_make_channels(tmp_path: Path) -> None:
    made = channels(read(tmp_path, hook("per_minute = 7\n") + "[notify]\nfile = 'alerts.jsonl'\n"), lambda: 0)
    assert [(one.name, one.limits) for one in made] == [("file:alerts.jsonl", ()), ("ops", (Limit(7, 62_000),))]


@pytest.mark.parametrize("url", ["watch.example", "https://watch.example/a?b=c", "javascript:alert(1)", "https://a b/"])
def test_the_dashboard_s_address_is_checked(tmp_path: Path, url: str) -> None:
    with pytest.raises(SettingsError, match=r"web\.public_url must be"):
        read(tmp_path, f"[web]\npublic_url = '{url}'\n")
    assert read(tmp_path, "[web]\npublic_url = 'https://watch.example:8443/weibo/'\n").web.public_url


def test_every_kind_is_read_and_made(tmp_path: Path) -> None:
    with_url = "".join(hook(name=kind, kind=kind) for kind in ("webhook", "dingtalk", "feishu", "wecom", "slack"))
    others = (
        "[notify.channels.email]\nkind='email'\nhost='mail.example'\nsender='a@b.c'\nto=['d@e.f']\n"
        f"[notify.channels.apprise]\nkind='apprise'\nurl='ntfy://{KEY}'\n"
        "[notify.channels.stdout]\nkind='stdout'\n[notify.channels.file]\nkind='file'\npath='x'\n"
        "[notify.channels.kafka]\nkind='kafka'\ntopic='alerts'\n"
    )
    settings = read(tmp_path, with_url + others)
    made = {one.name: one for one in channels(settings, lambda: 0)}
    assert made.keys() == settings.notify.channels.keys() and len(made) == 10
    assert {name: one.limits[0].count if one.limits else 0 for name, one in made.items()} == {
        "webhook": 0, "dingtalk": 20, "feishu": 100, "wecom": 20, "slack": 60, "email": 60, "apprise": 20,
        "stdout": 0, "file": 0, "kafka": 0,
    }  # fmt: skip
    assert KEY not in str(flat(settings))
