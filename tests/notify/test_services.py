"""The four services against faithful fakes: signatures, codes in a 200, limits, hostile words, faults."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings

from stream.contract.ports import DeliveryError, Telling
from stream.notify import dingtalk, feishu, slack, wecom
from stream.notify import settings as kinds
from stream.notify.channel import Tools
from stream.runtime.telling import FLIPS_MAX
from tests.notify.alerts import AT_MS, HOSTILE, TEXTS, alert, hostile, telling
from tests.notify.fakes import PUBLIC_URL, Fake, Fault, tools
from tests.notify.services import HOUR_MS, TOKEN, DingTalkFake, FeishuFake, SlackFake, WecomFake

SECRET: Final = "SECtest"
Deliver = Callable[[Telling], Awaitable[str]]
LINK: Final = f"{PUBLIC_URL}/entities/LOC/%E4%B8%8A%E6%B5%B7"


class Kind(NamedTuple):
    """A service: its fake, a channel at ``url`` with the right key, what it says of success."""

    fake: Callable[[], Fake]
    deliver: Callable[[str, Tools], Deliver]
    success: str


def now_ms() -> int:
    return AT_MS


def ding(url: str, given: Tools, secret: str = SECRET, keyword: str = "") -> Deliver:
    address = f"{url}/robot/send?access_token={TOKEN}"
    return dingtalk.DingTalk(kinds.DingTalkSettings(url=address, secret=secret, keyword=keyword), given).deliver


def lark(url: str, given: Tools, secret: str = SECRET, keyword: str = "") -> Deliver:
    address = f"{url}/open-apis/bot/v2/hook/{TOKEN}"
    return feishu.Feishu(kinds.FeishuSettings(url=address, secret=secret, keyword=keyword), given).deliver


def work(url: str, given: Tools) -> Deliver:
    return wecom.Wecom(kinds.WecomSettings(url=f"{url}/cgi-bin/webhook/send?key={TOKEN}"), given).deliver


def slacks(url: str, given: Tools) -> Deliver:
    return slack.Slack(kinds.SlackSettings(url=f"{url}/services/T0000001/B0000001/{TOKEN}"), given).deliver


KINDS: Final = {
    "dingtalk": Kind(lambda: DingTalkFake(now_ms, SECRET), ding, "errcode 0: ok"),
    "feishu": Kind(lambda: FeishuFake(now_ms, SECRET), lark, "code 0: success"),
    "wecom": Kind(lambda: WecomFake(now_ms), work, "errcode 0: ok"),
    "slack": Kind(lambda: SlackFake(now_ms), slacks, "HTTP 200: ok"),
}
of_every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


async def problem(fake: Fake, deliver: Callable[[str], Deliver]) -> DeliveryError:
    """What a delivery to ``fake`` fails with."""
    async with fake.serving() as url:
        with pytest.raises(DeliveryError) as caught:
            await deliver(url)(telling(alert()))
    assert TOKEN not in str(caught.value) and SECRET not in str(caught.value)
    return caught.value


def test_the_signatures_of_the_design() -> None:
    assert dingtalk.sign(SECRET, 1_700_000_000_000) == "aZLLrriXgn05YbwaGR7knYsLeJADjr9NwLaNNKpxh4g%3D"
    assert feishu.sign(SECRET, 1_700_000_000) == "G7XpBpG8NgG02fJOAhX6FRAObIljmFoxVReo8I62pEk="


@of_every_kind
async def test_an_alert_arrives_with_its_facts_posts_and_one_link(kind: Kind) -> None:
    fake = kind.fake()
    async with fake.serving() as url:
        deliver = kind.deliver(url, tools(AT_MS))
        for state in ("firing", "escalated", "resolved"):
            assert await deliver(telling(alert(state=state))) == kind.success
        assert await deliver(telling(alert(rule_kind="test"))) == kind.success
    for shown, word in zip(fake.shown, ("触发 firing", "升级 escalated", "恢复 resolved", "测试 TEST"), strict=True):
        assert word in shown.text and "上海今天下雨了" in shown.text
        assert "实际 42，预期 3.20" in shown.text or word == "测试 TEST"
        assert (set(shown.links), shown.calls) == ({LINK}, ())


@of_every_kind
async def test_several_alerts_arrive_in_one_message_with_a_line_for_each(kind: Kind) -> None:
    fake = kind.fake()
    several = telling(
        alert(state="resolved", surface="甲"), alert(surface="<at id=all></at>@all", severity="critical"),
        alert(state="escalated", surface="乙"),
    )  # fmt: skip
    async with fake.serving() as url:
        assert await kind.deliver(url, tools(AT_MS))(several) == kind.success
    [shown] = fake.shown
    assert "【汇总 digest】3 · 严重 critical" in shown.text
    assert "共 3 条告警：升级 1，触发 1，恢复 1" in shown.text
    for number, words in enumerate(("【恢复 resolved】甲", "【触发 firing】", "【升级 escalated】乙"), start=1):
        assert f"{number}/3 {words}" in shown.text
    assert "实际 42，预期 3.20" in shown.text
    assert (set(shown.links), shown.calls) == ({f"{PUBLIC_URL}/alerts"}, ())


@of_every_kind
async def test_without_an_address_of_the_dashboard_there_is_no_link(kind: Kind) -> None:
    fake = kind.fake()
    async with fake.serving() as url:
        await kind.deliver(url, tools(AT_MS, public_url=""))(telling(alert(evidence=())))
    assert fake.shown[0].links == ()


@of_every_kind
async def test_hostile_words_call_nobody_lead_nowhere_and_are_no_markup(kind: Kind) -> None:
    fake = kind.fake()
    async with fake.serving() as url:
        for text in HOSTILE:
            fake.shown.clear()
            fake._taken.clear()  # type: ignore[attr-defined]
            await kind.deliver(url, tools(AT_MS))(telling(hostile(text)))
            [shown] = fake.shown
            assert shown.calls == (), text
            assert all(link.startswith(f"{PUBLIC_URL}/entities/PER/") for link in shown.links), (text, shown.links)
            assert not set(shown.text) & set("\x1b\x9b\u202e\u2066\u200b\u2028\r\x00"), text
            lines = [line for line in shown.text.splitlines() if line.strip()]
            assert not any(line.startswith(("# ", "---", "| a")) for line in lines), text


@of_every_kind
@given(text=TEXTS)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_words_fit_and_are_taken(kind: Kind, text: str) -> None:
    fake = kind.fake()
    async with fake.serving() as url:
        await kind.deliver(url, tools(AT_MS))(telling(hostile(text * 5)))
    [shown] = fake.shown
    assert shown.calls == () and all(link.startswith(PUBLIC_URL) for link in shown.links)


@of_every_kind
async def test_the_longest_message_is_cut_at_lines_within_the_limit(kind: Kind) -> None:
    fake = kind.fake()
    flip = hostile("&" * 1_000, rule_id="上" * 300, severity="上" * 300, type="上" * 300)
    async with fake.serving() as url:
        for longest in (telling(flip), telling(*[flip] * FLIPS_MAX)):
            assert await kind.deliver(url, tools(AT_MS))(longest) == kind.success


@of_every_kind
@pytest.mark.parametrize("fault", ["500", "503", "429", "hang", "cut", "huge", "no_json", "packed"])
async def test_trouble_is_tried_again(kind: Kind, fault: Fault) -> None:
    fake = kind.fake()
    fake.faults = [fault]
    found = await problem(fake, lambda url: kind.deliver(url, tools(AT_MS, timeout_s=0.5)))
    assert not found.lasting
    assert found.retry_after_s == (7 if fault in ("500", "503", "429") else 0)


@of_every_kind
@pytest.mark.parametrize("fault", ["404", "redirect"])
async def test_a_wrong_address_is_a_lasting_failure(kind: Kind, fault: Fault) -> None:
    fake = kind.fake()
    fake.faults = [fault]
    assert (await problem(fake, lambda url: kind.deliver(url, tools(AT_MS)))).lasting
    assert fake.elsewhere == 0


@of_every_kind
async def test_more_than_the_limit_asks_for_peace(kind: Kind) -> None:
    fake = kind.fake()
    fake._per_minute = 1  # type: ignore[attr-defined]
    async with fake.serving() as url:
        deliver = kind.deliver(url, tools(AT_MS))
        await deliver(telling(alert()))
        with pytest.raises(DeliveryError) as caught:
            await deliver(telling(alert()))
    assert not caught.value.lasting and caught.value.retry_after_s >= 30
    assert len(fake.shown) == 1


# --- what one of them has ----------------------------------------------------------------------------------------


async def test_dingtalk_refuses_a_wrong_secret_and_a_wrong_clock() -> None:
    for secret, shift_ms, words in (("SECwrong", 0, "sign not match"), (SECRET, HOUR_MS + 1, "invalid timestamp")):
        fake = DingTalkFake(now_ms, SECRET)
        given = tools(AT_MS + shift_ms)
        found = await problem(fake, lambda url, given=given, secret=secret: ding(url, given, secret))  # type: ignore[misc]
        assert found.lasting and str(found) == f"errcode 310000: {words}"
        assert fake.shown == []


async def test_dingtalk_signs_anew_each_time_and_keeps_its_address() -> None:
    moments = iter([AT_MS, AT_MS + 1_000])
    fake = DingTalkFake(now_ms, SECRET)
    async with fake.serving() as url:
        deliver = ding(url, tools(lambda: next(moments)))
        await deliver(telling(alert()))
        await deliver(telling(alert()))
    first, second = (path for path, _, _ in fake.asked)
    assert first.count("timestamp=") == second.count("timestamp=") == 1 and first != second


@pytest.mark.parametrize(("make", "fake"), [(ding, DingTalkFake), (lark, FeishuFake)])
async def test_a_keyword_is_put_in_where_the_robot_asks_for_one(
    make: Callable[..., Deliver], fake: type[DingTalkFake | FeishuFake]
) -> None:
    robot = fake(now_ms, keyword="舆情")
    async with robot.serving() as url:
        await make(url, tools(AT_MS), "", "舆情")(telling(alert()))
    assert "舆情" in robot.shown[0].text
    found = await problem(fake(now_ms, keyword="舆情"), lambda url: make(url, tools(AT_MS), ""))
    assert found.lasting and "eywords" in str(found).replace(" W", "w")


async def test_feishu_refuses_a_wrong_secret_a_wrong_clock_and_none() -> None:
    for secret, shift_ms in (("SECwrong", 0), (SECRET, HOUR_MS + 1_000), ("", 0)):
        given = tools(AT_MS + shift_ms)
        found = await problem(FeishuFake(now_ms, SECRET), lambda url, g=given, s=secret: lark(url, g, s))  # type: ignore[misc]
        assert found.lasting and "code 19021" in str(found)


async def test_feishu_shows_states_by_colour_and_nothing_but_plain_text() -> None:
    fake = FeishuFake(now_ms, SECRET)
    async with fake.serving() as url:
        deliver = lark(url, tools(AT_MS))
        for state, severity in (("firing", "critical"), ("firing", "info"), ("resolved", "critical"), ("firing", "p1")):
            await deliver(telling(alert(state=state, severity=severity)))
    cards = [json.loads(body)["card"] for _, _, body in fake.asked]
    assert [card["header"]["template"] for card in cards] == ["red", "blue", "green", "blue"]
    assert "lark_md" not in json.dumps(cards)


@pytest.mark.parametrize(
    ("make", "fake", "words"),
    [
        (ding, DingTalkFake(now_ms), "errcode 300001: token is not exist"),
        (lark, FeishuFake(now_ms), "code 19001: param invalid: incoming webhook access token invalid"),
        (work, WecomFake(now_ms), "errcode 93000: invalid webhook url, hint: [1700000000]"),
        (slacks, SlackFake(now_ms), "HTTP 403: invalid_token"),
    ],
)
async def test_a_wrong_key_is_a_lasting_failure(make: Callable[..., Deliver], fake: Fake, words: str) -> None:
    found = await problem(fake, lambda url: make(f"{url}/wrong", tools(AT_MS)))
    assert (str(found), found.lasting) == (words, True)


async def test_slack_says_ok_or_it_was_not_taken() -> None:
    fake = SlackFake(now_ms)
    fake.says = "not ok"
    found = await problem(fake, lambda url: slacks(url, tools(AT_MS)))
    assert not found.lasting and "did not answer ok" in str(found)
    gone = SlackFake(now_ms)
    gone.archived = True
    found = await problem(gone, lambda url: slacks(url, tools(AT_MS)))
    assert found.lasting and str(found) == "HTTP 410: channel_is_archived"
