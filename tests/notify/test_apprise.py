"""Apprise to a real receiver of its ``json://`` on loopback."""

from __future__ import annotations

import json

import pytest

from stream.contract.ports import DeliveryError
from stream.notify.apprise_channel import AppriseChannel, escape
from stream.notify.settings import AppriseSettings
from tests.notify.alerts import AT_MS, HOSTILE, alert, hostile, telling
from tests.notify.fakes import PUBLIC_URL, Hook, tools

KEY = "5e8c0ffee5e8c0ffee"


def channel(url: str) -> AppriseChannel:
    return AppriseChannel(AppriseSettings(url=url), tools(AT_MS))


async def test_an_alert_arrives_with_the_kind_of_its_state() -> None:
    hook = Hook()
    async with hook.serving() as url:
        sender = channel(f"{url.replace('http', 'json')}/in/{KEY}")
        for changes in ({}, {"severity": "critical"}, {"state": "resolved"}, {"severity": "p1"}):
            assert await sender.deliver(telling(alert(**changes))) == "Apprise has delivered it"
    found = [json.loads(body) for _, _, body in hook.asked]
    assert [one["type"] for one in found] == ["warning", "failure", "success", "info"]
    assert found[0]["title"] == "【触发 firing】上海 · 地点 LOC · 警告 warning"
    assert "实际 42，预期 3.20" in found[0]["message"] and "上海今天下雨了" in found[0]["message"]
    assert f"{PUBLIC_URL}/entities/LOC/%E4%B8%8A%E6%B5%B7" in found[0]["message"]


async def test_hostile_words_are_no_markup_of_any_service() -> None:
    hook = Hook()
    async with hook.serving() as url:
        for text in HOSTILE:
            await channel(url.replace("http", "json")).deliver(telling(hostile(text)))
    for _, _, body in hook.asked:
        words = json.loads(body)
        text = (words["title"] + words["message"]).replace(PUBLIC_URL, "")
        assert not set(text) & set("<>@*`[]|&\\\x1b\u202e") and "://" not in text
    assert len(hook.asked) == len(HOSTILE)


def test_calls_of_discord_are_escaped() -> None:
    assert escape("@everyone <@&1>") == "＠everyone ＜＠＆1＞"


@pytest.mark.parametrize("fault", ["500", "404", "429"])
async def test_a_failure_is_tried_again_and_tells_no_key(fault: str, capfd: pytest.CaptureFixture[str]) -> None:
    hook = Hook()
    hook.faults = [fault]  # type: ignore[list-item]
    async with hook.serving() as url:
        with pytest.raises(DeliveryError) as caught:
            await channel(f"{url.replace('http', 'json')}/in/{KEY}").deliver(telling(alert()))
    text = str(caught.value)
    assert not caught.value.lasting and text.startswith("Apprise could not deliver it: Failed to send JSON")
    assert KEY not in text and KEY not in "".join(capfd.readouterr())


@pytest.mark.parametrize("url", [f"nonsense://{KEY}", "tgram://x"])
async def test_what_apprise_does_not_know_is_a_lasting_failure(url: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(DeliveryError, match="knows no such address") as caught:
        await channel(url).deliver(telling(alert()))
    assert caught.value.lasting and KEY not in str(caught.value) + "".join(capfd.readouterr())
