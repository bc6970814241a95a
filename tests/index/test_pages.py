"""The dashboard in a real browser: no request leaves this machine, nothing complains, and it says what is there.

Set ``WEIBOWATCH_SHOTS`` to a folder to keep the pictures of the pages.
"""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, urlsplit

import pytest
import pytest_asyncio
from playwright.async_api import Browser, ConsoleMessage, Page, Request, async_playwright, expect

from stream.contract.records import replace
from tests.index.corpus import HOUR, MARCH, document, flip, picture
from tests.index.serving import Served, served

# All in one loop, and with one browser: a page of its own context knows nothing of the others.
pytestmark = pytest.mark.asyncio(loop_scope="module")

CHROMIUM = "/usr/bin/chromium"
FLAGS = "--no-sandbox --disable-gpu --disable-background-networking --disable-component-update --disable-sync".split()


PATHS = (
    "/",
    "/search",
    "/search?q=" + quote("上海"),
    "/entities",
    "/entities/" + quote("LOC/上海"),
    "/alerts",
    "/alerts/i1",
    "/rejects",
    "/coverage",
    "/drift",
    "/rejects/1",
    "/help/query",
)
OUTSIDE = (Path(__file__).parent / "outside.js").read_text(encoding="utf-8")
PALE = (Path(__file__).parent / "pale.js").read_text(encoding="utf-8")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    assert Path(CHROMIUM).exists(), f"{CHROMIUM} is missing: apt-get install chromium (see deploy/install_browser.sh)"
    async with async_playwright() as playwright:
        running = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield running
        await running.close()


@pytest_asyncio.fixture(loop_scope="module")
async def server(tmp_path: Path) -> AsyncIterator[Served]:
    async with served(tmp_path / "store.db") as running:
        yield running


@asynccontextmanager
async def visit(browser: Browser, language: str, *, refusals: int = 0, **options: Any) -> AsyncIterator[Page]:
    """A page in ``language``; afterwards nothing may have left this machine or complained, but for ``refusals``."""
    locale = {"zh": "zh-CN", "en": "en-US"}[language]
    context = await browser.new_context(locale=locale, timezone_id="Asia/Shanghai", **options)
    page = await context.new_page()
    page.set_default_timeout(8_000)
    complaints: list[str] = []
    hosts: set[str | None] = set()

    def listen(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            complaints.append(message.text)

    def note(request: Request) -> None:
        hosts.add(urlsplit(request.url).hostname)

    page.on("console", listen)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", note)
    yield page
    await context.close()
    assert len(complaints) == refusals and all("status of 400" in complaint for complaint in complaints)
    assert hosts == {"127.0.0.1"}


async def shot(page: Page, name: str) -> None:
    folder = os.environ.get("WEIBOWATCH_SHOTS")
    if folder:
        await page.screenshot(path=Path(folder) / f"{name}.png")


async def test_the_overview_in_chinese_and_live(browser: Browser, server: Served) -> None:
    async with visit(browser, "zh") as page:
        await page.goto(server.base)
        await expect(page.locator("html")).to_have_attribute("lang", "zh-CN")
        await expect(page.locator("#posts .post")).to_have_count(8)
        first = page.locator("#posts .post", has_text="周杰伦在上海")
        await expect(first.locator(".mention.t-per")).to_have_text("周杰伦")
        await expect(first.locator("time")).to_have_text("2022-03-01 09:00")
        await expect(page.locator("[data-stat=posts]")).to_have_text("8")
        await expect(page.locator("#status")).to_have_text("运行中")
        await expect(page.locator("#alerts .alert")).to_have_count(3)
        assert await page.locator(".pictures img").first.evaluate("image => image.complete && image.naturalWidth") == 64
        await expect(page.locator("#live")).to_have_text("实时")
        hostile = document("n1", "<img src=x onerror=alert(1)>🎤上海", "LOC/上海", at_ms=MARCH + 9 * HOUR,
                           pictures=(picture(),))  # fmt: skip
        await page.mouse.move(2, 2)
        server.write([hostile], [flip("i9", 0, "firing", "LOC/北京", at_ms=MARCH + 9 * HOUR)])
        newest = page.locator("#posts .post").first
        await expect(newest.locator(".text")).to_have_text("<img src=x onerror=alert(1)>🎤上海")
        await expect(newest.locator(".mention")).to_have_text("上海")
        await expect(page.locator("#alerts .alert .entity").first).to_have_text("北京")
        await expect(page.locator("[data-stat=posts]")).to_have_text("9", timeout=30_000)
        server.write([document("n0", "迟到", at_ms=MARCH + HOUR)])
        await expect(page.locator("#posts .post .text", has_text="迟到")).to_have_count(1)
        await expect(newest.locator(".mention")).to_have_text("上海")
        await shot(page, "home_zh")


async def test_new_posts_wait_while_the_list_is_read(browser: Browser, server: Served) -> None:
    async with visit(browser, "en") as page:
        await page.goto(server.base)
        await expect(page.locator("#live")).to_have_text("Live")
        await page.locator("#posts .post").first.hover()
        server.write([document("n1", "新帖", at_ms=MARCH + 9 * HOUR), document("n2", "又一", at_ms=MARCH + 9 * HOUR)])
        await expect(page.locator("#fresh")).to_have_text("Show 2 new posts")
        await expect(page.locator("#posts .post")).to_have_count(8)
        await page.locator("#fresh").click()
        await expect(page.locator("#posts .post .text").first).to_have_text("又一")
        await expect(page.locator("#posts .post")).to_have_count(10)


async def test_searching_by_hand(browser: Browser, server: Served) -> None:
    async with visit(browser, "zh") as page:
        await page.goto(server.base)
        await page.locator(".find input").fill("演唱会 -北京")
        await page.locator(".find input").press("Enter")
        await expect(page.locator("h1")).to_have_text("共 1 条帖子")
        await expect(page.locator(".post mark")).to_have_text("演唱会")
        await page.goto(server.base + "/search")
        await page.locator("select[name=type]").select_option("PER")
        await page.locator("input[name=has_image]").check()
        await page.locator(".filters button").click()
        await expect(page.locator(".post")).to_have_count(1)
        await page.locator(".facets a", has_text="上海").click()
        await expect(page.locator("input[name=entity]")).to_have_value("LOC/上海")
        await expect(page.locator("input[name=has_image]")).to_be_checked()
        await shot(page, "search_zh")


async def test_the_search_language_is_told_and_can_be_tried(browser: Browser, server: Served) -> None:
    async with visit(browser, "zh") as page:
        await page.goto(server.base + "/search")
        await page.locator(".help summary").click()
        await page.locator(".help a").click()
        await expect(page.locator("h1")).to_have_text(["搜索语法", "Search language"])
        await shot(page, "help_zh")
        await page.locator(".language").click()
        await expect(page.locator("h1")).to_have_text(["Search language", "搜索语法"])
        await page.locator(".queries a", has_text="上海 演唱会").click()
        await expect(page.locator(".find input")).to_have_value("上海 演唱会 -疫情")
        await expect(page.locator("h1")).to_have_text("2 posts")


async def test_alerts_speak_the_language_of_the_page(browser: Browser, server: Served) -> None:
    chinese = "实际 40，预期 6.50，为平常的 6.1 倍"
    async with visit(browser, "zh") as page:
        await page.goto(server.base + "/alerts")
        await expect(page.locator(".alert .reason").first).to_have_text(chinese)
        await expect(page.locator(".alert .facts").first).to_contain_text("警告")
        await expect(page.locator(".alert .facts").first).to_contain_text("窗口 1 小时")
        await page.goto(server.base)
        await expect(page.locator("#live")).to_have_text("实时")
        told = flip("i9", 0, "firing", "LOC/北京", at_ms=MARCH + 9 * HOUR)
        server.write([], [told, replace(told, id="i9-1", reason="from a newer rule", at_ms=MARCH + 10 * HOUR)])
        alerts = page.locator("#alerts .alert")
        await expect(alerts.nth(1).locator(".reason")).to_have_text(chinese)
        await expect(alerts.nth(1).locator(".facts")).to_contain_text("警告")
        await expect(alerts.first.locator(".reason")).to_have_text("from a newer rule")
        server.write([], [flip("i10", 0, "firing", "MODEL/PER", at_ms=MARCH + 11 * HOUR)])
        await expect(alerts.first.locator("span.entity")).to_have_text("模型：人物")
        await alerts.first.locator(".end a").click()
        await expect(page.locator("h1")).to_have_text("模型：人物")


async def test_rising_comes_and_goes_with_the_posts(browser: Browser, server: Served) -> None:
    async with visit(browser, "en") as page:
        await page.goto(server.base)
        await expect(page.locator("#trends")).to_contain_text("Nothing rises just now")
        await expect(page.locator("#live")).to_have_text("Live")
        later = MARCH + 9 * HOUR
        server.write([document(f"n{number}", "北极", "LOC/北极", at_ms=later + number) for number in range(3)])
        await expect(page.locator("#trends .name")).to_have_text("北极", timeout=30_000)
        await expect(page.locator("#trends .dot")).to_have_attribute("aria-label", "Place")
        await expect(page.locator("#trending-note")).to_contain_text("Since 2022-03-01 04:30 (UTC)")
        server.write([document("n9", "静", at_ms=MARCH + 900 * HOUR)])
        await expect(page.locator("#trends")).to_have_text("Nothing rises just now", timeout=30_000)


async def test_errors_speak_the_language_of_the_page(browser: Browser, server: Served) -> None:
    async with visit(browser, "zh", refusals=2) as page:
        await page.goto(server.base + "/search?q=" + quote("上海 OR"))
        await expect(page.locator(".problem")).to_contain_text("OR 两边都要有内容")
        await expect(page.locator(".problem mark")).to_have_text("OR")
        await page.goto(server.base + "/alerts?since=2022-01-02&until=2022-01-01")
        await expect(page.locator("main")).to_contain_text("“至”必须晚于“从”")


async def test_pages_of_results(browser: Browser, server: Served) -> None:
    server.write([document(f"b{number:02}", "北极熊", at_ms=MARCH + number) for number in range(45)])
    async with visit(browser, "en") as page:
        await page.goto(server.base + "/search?q=" + quote("北极熊"))
        seen: list[str] = []
        for _ in range(3):
            await expect(page.locator("h1")).to_have_text("45 posts")
            seen += await page.locator(".post").evaluate_all("posts => posts.map(post => post.dataset.id)")
            if await page.locator("[rel=next]").count():
                await page.locator("[rel=next]").click()
        assert seen == [f"b{number:02}" for number in reversed(range(45))]


async def test_an_entity_with_its_chart(browser: Browser, server: Served) -> None:
    async with visit(browser, "en", color_scheme="dark") as page:
        await page.goto(server.base + "/entities/" + quote("LOC/上海"))
        await expect(page.locator("h1")).to_have_text("上海")
        await expect(page.locator("#chart .bars path")).to_have_count(4)
        await expect(page.locator(".bars li")).to_have_count(2)
        await expect(page.locator(".post")).to_have_count(4)
        await expect(page.locator(".alert")).to_have_count(2)
        await shot(page, "entity_en")
        await page.locator(".bars a", has_text="周杰伦").click()
        await expect(page.locator("h1")).to_have_text("周杰伦")


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("zh", ("已恢复", "90%：2–12", "200 个 1 小时窗口", "原创 40，转发 4", "有效 30.0 位", "证据帖子")),
        ("en", ("Resolved", "90 %: 2–12", "200 windows of 1 h", "40 originals, 4 reposts", "30.0 effective")),
    ],
)
async def test_an_alert_with_its_numbers_and_posts(
    browser: Browser, server: Served, language: str, words: tuple[str, ...]
) -> None:
    shot_of = document("e1", "上海<b>封控</b>", "LOC/上海", pictures=(picture(),))
    server.write([shot_of])
    server.connection.execute("DELETE FROM pictures")
    async with visit(browser, language) as page:
        await page.goto(server.base + "/alerts")
        await page.locator(".alert .end a").first.click()
        await page.goto(server.base + "/alerts/i1")
        await expect(page.locator("h1")).to_have_text("上海")
        for word in words:
            await expect(page.locator("main")).to_contain_text(word)
        await expect(page.locator("#chart .scatterlayer .trace")).to_have_count(4)
        await expect(page.locator("#chart .shapelayer path")).to_have_count(3)
        await expect(page.locator(".feed .post .text")).to_have_text("上海<b>封控</b>")
        width = "document.querySelector('.pictures img').naturalWidth"
        assert await page.evaluate(f"new Promise(done => setInterval(() => {width} && done({width}), 50))") == 64
        await expect(page.locator(".side .alert")).to_have_count(2)
        await shot(page, f"alert_{language}")
        await page.locator(".facets a").first.click()
        await expect(page.locator("h1")).to_have_text("上海")


async def test_a_chart_stands_over_its_hours_and_an_empty_one_is_not_drawn(browser: Browser, server: Served) -> None:
    async with visit(browser, "zh") as page:
        address = server.base + "/entities/" + quote("PER/周杰伦")
        await page.goto(f"{address}?since=2022-03-01T01:00&until=2022-03-01T02:00")
        await expect(page.locator("#chart .bars path")).to_have_count(1)
        await expect(page.locator("#chart .xtick text").first).to_contain_text("2022-03-01")
        assert await page.locator("#chart .ytick text").all_text_contents() == ["0", "1"]
        bar = await page.locator("#chart .bars path").bounding_box()
        plot = await page.locator("#chart .plotclip rect").first.get_attribute("width")
        assert bar is not None and plot is not None
        assert bar["width"] / float(plot) == pytest.approx(0.85, abs=0.02)
        await page.goto(f"{address}?since=2022-05-01&until=2022-05-03")
        await expect(page.locator("#chart")).to_have_count(0)
        await expect(page.locator("main")).to_contain_text("此时段没有提及")


async def test_the_language_switch_keeps_the_page(browser: Browser, server: Served) -> None:
    async with visit(browser, "en") as page:
        await page.goto(server.base + "/search?q=" + quote("上海"))
        await page.locator(".language").click()
        await expect(page.locator("h1")).to_have_text("共 3 条帖子")
        await page.goto(server.base + "/alerts")
        await expect(page.locator("h1")).to_have_text("告警")
        await expect(page.locator(".alert .evidence").first).to_contain_text("上海<b>封控</b>")


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("zh", ("采集覆盖", "验证码 1", "全部来源", "热搜", "验证码 1 · 正常 2")),
        ("en", ("Coverage", "captcha 1", "All sources", "Hot searches", "captcha 1 · ok 2")),
    ],
)
async def test_what_was_not_seen_is_shown_by_the_hour(
    browser: Browser, server: Served, language: str, words: tuple[str, str, str, str, str]
) -> None:
    title, captcha, everything, hot, outcomes = words
    async with visit(browser, language) as page:
        await page.goto(server.base + "/coverage?since=2022-03-01T00:00Z&until=2022-03-01T04:00Z")
        await expect(page.locator("h1")).to_have_text(title)
        rows = page.locator(".coverage tbody tr")
        await expect(rows).to_have_count(3)
        assert (await rows.nth(0).inner_text()).split("\t") == [everything, "", "", "100", "50", "75", "100", ""]
        await expect(rows.nth(1).locator("td").first).to_have_text("weibo:search:<b>上海</b>")
        cells = (await rows.nth(2).inner_text()).split("\t")[1:]
        assert cells == ["3", "12", "100", "0", "50", "100", outcomes]
        await expect(page.locator("header .range")).to_have_text("2022-03-01 00:00 – 2022-03-01 04:00 UTC")
        await expect(rows.nth(2).locator("td.c-some")).to_have_attribute("title", re.compile(captcha))
        await expect(page.locator("main")).to_contain_text(hot)
        await expect(page.locator(".hot li").first).to_contain_text("1 上海 1,034,512 热")
        await page.locator(".hot a").first.click()
        await expect(page.locator("h1")).to_contain_text("3")


async def test_rejects_can_be_tried_again(browser: Browser, server: Served) -> None:
    async with visit(browser, "en") as page:
        await page.goto(server.base + "/rejects?reason=bad_field")
        await expect(page.locator("tbody tr")).to_have_count(1)
        await page.locator("[data-replay]").click()
        await expect(page.locator("#outcome")).to_have_text("1 handed over, 1 still cannot be used.")
        await page.locator("tbody a").click()
        await expect(page.locator(".raw")).to_have_text("{坏 line <2>")
        await page.locator("[data-replay]").click()
        await expect(page.locator("#outcome")).not_to_be_empty()
    assert server.calls == [{"reason": "bad_field"}, {"id": 2}]


@pytest.mark.parametrize(("language", "words"), [("zh", "还没有帖子"), ("en", "No posts yet")])
async def test_an_empty_store_says_what_to_do(browser: Browser, tmp_path: Path, language: str, words: str) -> None:
    async with served(tmp_path / "empty.db", filled=False) as server, visit(browser, language) as page:
        for path in ("/", "/search", "/entities"):
            await page.goto(server.base + path)
            await expect(page.locator(".empty").first).to_contain_text(words)
            await expect(page.locator(".empty").first).to_contain_text("weibowatch run --source demo")
        for path in ("/alerts", "/coverage", "/rejects"):
            await page.goto(server.base + path)
            await expect(page.locator(".empty")).to_have_count(1)


@pytest.mark.parametrize("language", ["zh", "en"])
async def test_nothing_is_wider_than_a_phone(browser: Browser, server: Served, language: str) -> None:
    """Neither a page nor anything on it, but tables and code, which scroll on their own."""
    async with visit(browser, language, viewport={"width": 360, "height": 740}) as page:
        for path in PATHS:
            await page.goto(server.base + path)
            assert await page.evaluate("document.documentElement.scrollWidth") <= 360, path
            assert await page.evaluate(OUTSIDE) == [], path


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_text_can_be_read(browser: Browser, server: Served, scheme: Literal["light", "dark"]) -> None:
    """A contrast of 4.5 at least, as WCAG 2.2 AA asks."""
    async with visit(browser, "zh", color_scheme=scheme) as page:
        for path in PATHS:
            await page.goto(server.base + path)
            assert await page.evaluate(PALE) == [], path


async def test_logging_in(browser: Browser, tmp_path: Path) -> None:
    async with served(tmp_path / "store.db", token="s3cret") as server, visit(browser, "en") as page:
        await page.goto(server.base + "/alerts")
        await page.locator("input[name=token]").fill("s3cret")
        await page.locator(".filters button").click()
        await expect(page.locator("#posts .post")).to_have_count(8)
