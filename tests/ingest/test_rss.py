"""Feeds that are polled, on loopback: told once, resumed anywhere, late, edited, troubled."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ingest import rss as module
from ingest.rss import DELAY_MS_MAX, DELAY_MS_MIN, ITEMS_MAX, KNOWN_MAX, Place
from stream.contract.ports import Chunk, Source, SourceError
from tests.ingest.corpus import NOW_MS, check_reach, chunks, posts, rejects, source
from tests.ingest.feeds import MINUTE, FakeFeed, Time, Trouble, atom, lines, reaches, rss, serving
from tests.runtime.live import running

DATE = "Tue, 14 Nov 2023 22:00:00 GMT"
DATE_MS = NOW_MS - 800_000


def over(base: str, time: Time, **options: Any) -> Source:
    return source(f"rss:{base}/feed?a=1", now_ms=time, sleep=time.sleep, **options)


def place_of(taken: list[Chunk]) -> Place:
    return msgspec.json.decode(taken[-1].cursor, type=Place)


async def test_only_what_is_new_is_told_and_what_has_not_changed_is_not_sent_again() -> None:
    time = Time()
    fake = FakeFeed(time)
    for n in range(3):
        fake.add(f"a{n}", NOW_MS - (n + 1) * MINUTE)
    fake.add("b", NOW_MS + 8 * MINUTE)
    async with serving(fake) as base:
        taken = await chunks(over(base, time), limit=5)
    assert [post.text for post in posts(taken)] == ["第a2条", "第a1条", "第a0条", "第b条"]
    assert [(line.outcome, line.posts, line.fresh) for line in lines(taken)] == [
        ("ok", 3, 3), ("empty", 0, 0), ("ok", 4, 1),
    ]  # fmt: skip
    assert [request.headers.get("If-None-Match") is not None for request in fake.asked] == [False, True, True]
    assert all(request.headers["User-Agent"].startswith("weibowatch/") for request in fake.asked)
    assert time.slept == [300, 300]
    assert [mark.through_ms for mark in reaches(taken)] == [NOW_MS + n * 5 * MINUTE - DELAY_MS_MIN for n in range(3)]
    check_reach(taken)
    for before, after in zip(lines(taken), lines(taken)[1:], strict=False):
        assert after.from_ms <= before.through_ms


@pytest.mark.parametrize("seed", range(6))
async def test_nothing_is_lost_or_told_twice_whatever_is_killed_when(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHUNK_POSTS_MAX", 3)
    draw, time = random.Random(seed), Time()
    fake = FakeFeed(time)
    fake.validators = seed % 2 == 0
    for n in range(120):
        created_ms = NOW_MS + draw.randrange(-60 * MINUTE, 120 * MINUTE)
        fake.add(str(n), created_ms, created_ms + draw.choice((0, 0, 5 * MINUTE, 9 * MINUTE)))
    fake.most = 40
    cursor: str | None = None
    given: list[Chunk] = []
    async with serving(fake) as base:
        while time.now_ms < NOW_MS + 140 * MINUTE:
            if draw.random() < 0.2:
                fake.trouble.append(draw.choice((Trouble(500), Trouble(429, {"Retry-After": "7"}))))
            some = await chunks(over(base, time), cursor, limit=draw.randrange(1, 8))
            given += some
            if len(some) > 1 and draw.random() < 0.5:  # killed before the log has the last chunk
                del given[-1]
            cursor = given[-1].cursor if given else None
    told = [post.text for post in posts(given)]
    assert len(told) == len(set(told))
    shown = sorted((at_ms, text) for at_ms, text in fake.items)
    before = [text for at_ms, text in shown if at_ms <= NOW_MS][:-40]
    assert len(told) == 120 - len(before)
    check_reach(given)
    assert max(mark.through_ms for mark in reaches(given)) > NOW_MS + 120 * MINUTE


async def test_an_item_without_a_date_is_dated_only_when_its_age_is_known() -> None:
    time = Time()
    fake = FakeFeed(time)
    fake.add("old", NOW_MS - 9 * MINUTE, pubDate="")
    fake.add("new", NOW_MS + MINUTE, pubDate="")
    async with serving(fake) as base:
        first = await chunks(over(base, time), limit=2)
        second = await chunks(over(base, time), first[-1].cursor, limit=4)
    [letter] = rejects(first)
    assert "no date" in letter.detail
    [post] = posts(second)
    assert (post.text, post.created_ms) == ("第new条", NOW_MS + 5 * MINUTE)
    assert not rejects(second)


async def test_edits_are_told_when_the_text_is_another() -> None:
    def entry(updated: str, text: str) -> bytes:
        return atom(f"<entry><id>urn:x:1</id><updated>2023-11-14T22:{updated}Z</updated><title>{text}</title></entry>")

    time = Time()
    fake = FakeFeed(time)
    fake.body = entry("00:00", "a")
    async with serving(fake) as base:
        taken = await chunks(over(base, time), limit=2)
        for updated, text in (("01:00", "a"), ("02:00", "b"), ("02:00", "c")):
            fake.body = entry(updated, text)
            taken += await chunks(over(base, time), taken[-1].cursor, limit=2)
    assert [(post.text, post.edit_version, post.created_ms) for post in posts(taken)] == [
        ("a", 0, DATE_MS), ("b", 120, DATE_MS),
    ]  # fmt: skip


async def test_a_feed_that_shows_late_gets_more_time_and_forgets_it_slowly() -> None:
    time = Time()
    fake = FakeFeed(time)
    fake.add("a", NOW_MS - MINUTE)
    fake.add("late", NOW_MS - 20 * MINUTE, NOW_MS + MINUTE)
    fake.add("ancient", NOW_MS - 3000 * MINUTE, NOW_MS + 9 * MINUTE)
    async with serving(fake) as base:
        taken = await chunks(over(base, time), limit=4)
        assert place_of(taken).delay_ms == 20 * MINUTE
        taken += await chunks(over(base, time), taken[-1].cursor, limit=2)
        assert place_of(taken).delay_ms == DELAY_MS_MAX
        taken += await chunks(over(base, time), taken[-1].cursor, limit=60)
    assert place_of(taken).delay_ms == DELAY_MS_MIN
    through = [mark.through_ms for mark in reaches(taken)]
    assert through == sorted(through)


async def test_a_gap_and_a_feed_that_is_too_long_are_told_as_capped() -> None:
    time = Time()
    fake = FakeFeed(time)
    fake.most = 5
    for n in range(5):
        fake.add(f"a{n}", NOW_MS - n * MINUTE)
    async with serving(fake) as base:
        taken = await chunks(over(base, time), limit=2)
        for n in range(9):
            fake.add(f"b{n}", NOW_MS + (n + 10) * MINUTE)
        time.now_ms += 30 * MINUTE
        taken += await chunks(over(base, time), taken[-1].cursor, limit=2)
        ok, capped = lines(taken)[-2:]
        assert (ok.outcome, capped.outcome) == ("ok", "capped")
        assert (capped.from_ms, capped.through_ms) == (NOW_MS, NOW_MS + 14 * MINUTE)
        assert ok.from_ms == capped.through_ms
        fake.most = 1000
        for n in range(ITEMS_MAX + 20):
            fake.add(f"c{n}", time.now_ms + n * 100)
        time.now_ms += 10 * MINUTE
        taken += await chunks(over(base, time), taken[-1].cursor, limit=9)
    assert any(line.outcome == "capped" and "334 items" in line.detail for line in lines(taken))
    assert max(len(chunk.cursor) for chunk in taken) < 60 * KNOWN_MAX


async def test_what_is_shown_outlasts_what_was() -> None:
    time = Time()
    fake = FakeFeed(time)
    fake.add("pinned", NOW_MS - MINUTE)
    async with serving(fake) as base:
        taken = await chunks(over(base, time), limit=2)
        for turn in range(5):
            fake.items = fake.items[:1]
            for n in range(250):
                fake.add(f"{turn}/{n}", time.now_ms - n)
            fake.most = 300
            taken += await chunks(over(base, time), taken[-1].cursor, limit=6)
    assert len(place_of(taken).known) == KNOWN_MAX
    assert [post.text for post in posts(taken)].count("第pinned条") == 1
    assert len(posts(taken)) == 1251


async def test_trouble_is_told_and_waited_out_and_idle_when_it_lasts() -> None:
    time = Time()
    fake = FakeFeed(time)
    fake.add("a", NOW_MS - MINUTE)
    fake.trouble = [
        Trouble(429, {"Retry-After": "45"}), Trouble(503, {"Retry-After": "Tue, 14 Nov 2023 22:20:00 GMT"}),
        Trouble(500), Trouble(404), Trouble(401), Trouble(302, {"Location": "ftp://x.example/"}),
    ]  # fmt: skip
    async with serving(fake) as base:
        taken = await chunks(over(base, time), limit=8)
    assert [line.outcome for line in lines(taken)] == [
        "throttled", "throttled", "network", "parse_error", "login_required", "network", "ok",
    ]  # fmt: skip
    # The second waits until 22:20:00, which is 355 s after the request at 22:14:05.
    assert time.slept == [45, 355, 120, 240, 480, 960]
    assert [mark.state for mark in reaches(taken)] == ["idle"] * 3 + ["live"]
    assert [post.text for post in posts(taken)] == ["第a条"]


async def test_a_restart_does_not_ask_before_its_time() -> None:
    time = Time()
    fake = FakeFeed(time)
    fake.add("a", NOW_MS - MINUTE)
    async with serving(fake) as base:
        taken = await chunks(over(base, time), limit=2)
        for _ in range(3):
            time.now_ms += MINUTE
        await chunks(over(base, time), taken[-1].cursor, limit=1)
    assert time.slept == [120]


async def test_a_feed_that_wants_to_be_left_alone_is_and_is_idle_meanwhile() -> None:
    time = Time()
    fake = FakeFeed(time)
    item = f"<item><title>t</title><pubDate>{DATE}</pubDate></item>"
    fake.body = rss(item, head="<ttl>30</ttl>")
    async with serving(fake) as base:
        taken = await chunks(over(base, time), limit=3)
    assert time.slept == [1800]
    assert reaches(taken)[0].state == "idle"


async def test_too_much_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FEED_BYTES_MAX", 1000)
    time = Time()
    fake = FakeFeed(time)
    fake.body = b"<rss>" + b" " * 2000
    async with serving(fake) as base:
        [chunk] = await chunks(over(base, time), limit=1)
    assert [(line.outcome, "1000 bytes" in line.detail) for line in lines([chunk])] == [("network", True)]


async def test_redirects_are_followed_a_little() -> None:
    time = Time()
    fake = FakeFeed(time)
    fake.add("a", NOW_MS - MINUTE)
    fake.trouble = [Trouble(301, {"Location": "/b"}), Trouble(302, {"Location": "/c"})]
    async with serving(fake) as base:
        taken = await chunks(over(base, time), limit=2)
        assert len(posts(taken)) == 1
        fake.trouble = [Trouble(301, {"Location": "/b"})] * 6
        [chunk] = await chunks(over(base, time), limit=1)
    assert "5 redirects" in lines([chunk])[0].detail


async def test_once_gives_up_after_some_tries() -> None:
    time = Time()
    fake = FakeFeed(time)
    fake.trouble = [Trouble(500)] * 9
    async with serving(fake) as base:
        with pytest.raises(SourceError, match=r"HTTP 500; try again later"):
            await chunks(over(base, time, once=True))
    assert len(fake.asked) == 5


@pytest.mark.parametrize(
    "spec",
    ["rss:", "rss:example.org", "rss:ftp://x.example", "rss:http://", "rss:http://a:b@x.example/", "rss:http://a b"],
)
def test_other_specs_are_refused_with_what_can_be_written(spec: str) -> None:
    with pytest.raises(SourceError, match="rss:"):
        source(spec)


def test_a_password_is_not_repeated_when_it_is_refused() -> None:
    with pytest.raises(SourceError) as caught:
        source("rss:https://me:secret@x.example/feed")
    assert "secret" not in str(caught.value)


async def test_a_foreign_cursor_is_refused_with_advice() -> None:
    with pytest.raises(SourceError, match="start a new store"):
        await chunks(over("http://127.0.0.1:9", Time()), "no cursor")


async def test_items_of_a_feed_become_documents(tmp_path: Path) -> None:
    time = Time()
    fake = FakeFeed(time)
    for n in range(3):
        fake.add(str(n), NOW_MS - n * MINUTE, title=f"&amp;lt;LOC/上海&amp;gt; {n}")
    async with serving(fake) as base:
        for _ in range(2):
            async with running(tmp_path, over(base, time, once=True), once=True) as live:
                await live.done
        documents = live.documents()
        kinds = [kind for (kind,) in live.rows("SELECT kind FROM notes")]
    assert [one.mentions[0].surface for one in documents] == ["上海"] * 3
    assert sorted(kinds) == ["coverage"] * 2 + ["observation"] * 3
