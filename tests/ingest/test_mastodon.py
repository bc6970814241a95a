"""A timeline of Mastodon, read from an instance on loopback that behaves like one."""

from __future__ import annotations

import random
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ingest import mastodon
from ingest.clean import EdgeSettings
from ingest.mastodon import timeline
from ingest.mastodon_place import BACK_MS, BACK_POSTS, NOTHING, Place, Seen, arrived, id_at, id_ms, taken
from ingest.sources import parse_again
from stream.contract.ports import Chunk, Source, SourceError
from stream.contract.records import End, Observation, Post
from tests.ingest.corpus import NOW_MS, PSEUDONYM, check_reach, chunks, posts, records, rejects, source
from tests.ingest.feeds import MINUTE, FakeMastodon, Time, Trouble, lines, reaches, serving, stamp, status_of
from tests.runtime.live import running

SECOND = 1000


def over(base: str, time: Time, **options: Any) -> Source:
    return source(f"mastodon:{base}", now_ms=time, sleep=time.sleep, **options)


def own_ids(taken: Sequence[Chunk]) -> list[str]:
    return [post.id.removeprefix("home.example/") for post in posts(taken)]


async def test_the_first_poll_shows_the_newest_page_and_the_next_ones_what_came() -> None:
    time = Time()
    fake = FakeMastodon(time)
    ids = [fake.add(NOW_MS - (60 - n) * SECOND) for n in range(60)]
    later = [fake.add(NOW_MS + n * 400) for n in range(1, 131)]
    async with serving(fake) as base:
        taken_ = await chunks(over(base, time), limit=6)
    assert own_ids(taken_) == ids[-40:] + later
    check_reach(taken_)
    assert sum(line.fresh for line in lines(taken_)) == 170
    # Each line goes on where the one before ended, in spite of pages in between.
    for before, after in zip(lines(taken_), lines(taken_)[1:], strict=False):
        assert after.from_ms <= before.through_ms


async def test_a_status_becomes_a_post_with_its_author_counts_and_pictures() -> None:
    time = Time()
    fake = FakeMastodon(time)
    media = [
        {"id": "5", "type": "image", "url": "https://m.example/o.png", "preview_url": "https://m.example/s.png",
         "meta": {"original": {"width": 1200, "height": 800}, "small": {}}},
        {"id": "6", "type": "video", "url": "https://m.example/v.mp4", "preview_url": None, "meta": None},
        {"id": "8", "type": "audio", "url": "https://m.example/a.mp3", "preview_url": "https://m.example/a.png"},
    ]  # fmt: skip
    content = (
        '<p>今天在<a href="https://x.example/tags/上海" class="hashtag">#<span>上海</span></a>，雨&amp;风<br>大</p>'
        '<p><a href="https://n.example/long"><span class="invisible">https://</span><span class="ellipsis">n.example/lo'
        '</span><span class="invisible">ng</span></a></p>'
    )
    own = fake.add(
        NOW_MS - MINUTE, content=content, media_attachments=media, spoiler_text="天气",
        poll={"id": "1", "options": [{"title": "是", "votes_count": 3}, {"title": "否"}]},
    )  # fmt: skip
    async with serving(fake) as base:
        [post] = posts(await chunks(over(base, time), limit=1))
    assert post.id == f"home.example/{own}"
    assert post.text == "天气\n今天在#上海，雨&风\n大\n\nhttps://n.example/long\n是\n否"
    assert post.author == PSEUDONYM("mastodon:li@home.example")
    assert post.counts is not None
    assert (post.counts.reposts, post.counts.comments, post.counts.likes) == (2, 1, 3)
    assert [(one.id, one.url, one.width, one.height) for one in post.pictures] == [
        ("5", "https://m.example/s.png", 1200, 800)
    ]
    assert (post.created_ms, post.observed_ms) == (NOW_MS - MINUTE, NOW_MS)
    assert "li@" not in repr(post).replace(post.source, "")


async def test_one_post_and_one_author_on_whatever_instance_they_are_seen() -> None:
    time = Time()
    home, away = FakeMastodon(time), FakeMastodon(time)
    home.add(NOW_MS - MINUTE, own="111411223592960001", account={"acct": "Li"})
    uri = "https://127.0.0.1/users/li/statuses/111411223592960001"
    home.put("111411223592960001", msgspec.json.encode(status_of("111411223592960001", NOW_MS, uri=uri) | {
        "account": {"acct": "Li"}}))  # fmt: skip
    away.add(NOW_MS - MINUTE, own="111411223592969999", uri=uri, account={"acct": "li@127.0.0.1"})
    async with serving(home) as base, serving(away) as other:
        [here] = posts(await chunks(over(base, time), limit=1))
        [there] = posts(await chunks(over(other, time), limit=1))
    assert here.id == there.id == "127.0.0.1/111411223592960001"
    assert here.author == there.author


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("https://A.example/users/x/statuses/12/activity", "a.example/12"),
        ("https://a.example/ap/users/1/statuses/12", "a.example/12"),
        ("https://gts.example/users/x/statuses/01HQZ8Y", "gts.example/01HQZ8Y"),
        ("https://m.example/notes/9abcdefgh1", "m.example/9abcdefgh1"),
        ("https://p.example/objects/0f4e-22aa-11bb", "p.example/0f4e-22aa-11bb"),
        ("https://blog.example/@someone/a-title", "blog.example/"),
        ("tag:x,2020:someone", "127.0.0.1/"),
        (None, "127.0.0.1/111411223592960001"),
    ],
)
async def test_ids_name_the_instance_and_never_the_author(uri: str | None, expected: str) -> None:
    time = Time()
    fake = FakeMastodon(time)
    fake.add(NOW_MS - MINUTE, own="111411223592960001", uri=uri)
    async with serving(fake) as base:
        [post] = posts(await chunks(over(base, time), limit=1))
    assert post.id.startswith(expected)
    assert "someone" not in post.id


async def test_a_boost_is_a_repost_and_its_original_is_told_once_before_it() -> None:
    time = Time()
    fake = FakeMastodon(time)
    original = status_of("111000000000000000", NOW_MS - 600 * MINUTE, content="<p>原文</p>")
    for n in range(3):
        fake.add(NOW_MS - (9 - n) * SECOND, reblog=original, content="<p>原文</p>")
    fake.add(NOW_MS + 10 * SECOND, reblog=original)
    shown = fake.add(NOW_MS + 11 * SECOND, content="<p>新</p>")
    again = msgspec.json.decode(fake.statuses[shown][1])
    fake.add(NOW_MS + 12 * SECOND, reblog=again)
    async with serving(fake) as base:
        given = posts(await chunks(over(base, time), limit=4))
    assert [(post.text, post.repost_of != "") for post in given] == [
        ("原文", False), ("", True), ("", True), ("", True), ("", True), ("新", False), ("", True),
    ]  # fmt: skip
    assert {post.root_id for post in given[:5]} == {given[0].id}


async def test_edits_come_again_and_counts_as_observations() -> None:
    time = Time()
    fake = FakeMastodon(time)
    created_ms = NOW_MS - MINUTE
    fake.add(created_ms - MINUTE)
    own = fake.add(created_ms)
    async with serving(fake) as base:
        first = await chunks(over(base, time), limit=1)
        later = status_of(own, created_ms, favourites_count=9)
        fake.put(own, msgspec.json.encode(later))
        second = await chunks(over(base, time), first[-1].cursor, limit=2)
        edited = later | {"edited_at": stamp(created_ms + 90 * SECOND), "content": "<p>改了</p>"}
        fake.put(own, msgspec.json.encode(edited))
        third = await chunks(over(base, time), second[-1].cursor, limit=2)
    [seen] = [one for one in records(second) if isinstance(one, Observation)]
    assert (seen.post_id, seen.text) == (f"home.example/{own}", "")
    assert seen.counts is not None
    assert seen.counts.likes == 9
    assert [(post.id, post.text, post.edit_version) for post in posts(third)] == [(seen.post_id, "改了", 90)]
    assert not posts(second)


async def test_a_bad_status_is_a_dead_letter_once_and_the_rest_goes_on() -> None:
    time = Time()
    fake = FakeMastodon(time)
    good = [fake.add(NOW_MS - (30 - n) * SECOND) for n in range(3)]
    at = [str((NOW_MS - (29 - n) * SECOND << 16) + 9) for n in range(3)]
    fake.put(at[0], msgspec.json.encode(status_of(at[0], NOW_MS) | {"created_at": "gestern"}))
    fake.put(at[1], msgspec.json.encode({"id": at[1], "created_at": stamp(NOW_MS)}))
    fake.put(at[2], b'{"account":7}')
    async with serving(fake) as base:
        taken_ = await chunks(over(base, time), limit=4)
        resumed = await chunks(over(base, time), taken_[-1].cursor, limit=3)
    assert own_ids(taken_) == good
    letters = rejects(taken_)
    nameless = f"status #{zlib.crc32(fake.statuses[at[2]][1]):08x}"
    assert sorted(letter.place for letter in letters) == sorted([f"status {at[0]}", f"status {at[1]}", nameless])
    assert all(letter.reason == "bad_field" and letter.raw.startswith(b"{") for letter in letters)
    assert not rejects(resumed)
    mended = msgspec.structs.replace(letters[-1], raw=fake.statuses[good[0]][1])
    options: Any = {"edge": EdgeSettings(), "pseudonym": PSEUDONYM, "now_ms": time}
    again = parse_again(mended, **options)
    assert isinstance(again, Post)
    assert again.id == f"home.example/{good[0]}"
    assert parse_again(letters[-1], **options) == msgspec.structs.replace(letters[-1], observed_ms=time.now_ms)


async def test_it_waits_as_long_as_it_is_told_to() -> None:
    time = Time()
    fake = FakeMastodon(time)
    fake.add(NOW_MS - MINUTE)
    fake.trouble = [
        Trouble(429, {"Retry-After": "90"}),
        Trouble(429, {"X-RateLimit-Reset": stamp(NOW_MS + 290 * SECOND)}),
        Trouble(503), Trouble(500), Trouble(401), Trouble(200, body=b'{"error":"x"}'), Trouble(200, body=b"[{"),
    ]  # fmt: skip
    async with serving(fake) as base:
        taken_ = await chunks(over(base, time), limit=8)
    assert time.slept == [90, 200, 120, 240, 480, 960, 1920]
    assert [line.outcome for line in lines(taken_)] == [
        "throttled", "throttled", "network", "network", "login_required", "parse_error", "parse_error", "ok",
    ]  # fmt: skip
    # Others wait for it no longer as soon as the next look is ten minutes from the last good one.
    assert [mark.state for mark in reaches(taken_)] == ["idle"] * 4 + ["live"]
    assert all(NOW_MS <= line.from_ms <= line.through_ms for line in lines(taken_)[:-1])


async def test_a_tag_that_nobody_has_used_is_empty_and_a_closed_instance_is_told() -> None:
    time = Time()
    fake = FakeMastodon(time)
    fake.trouble = [Trouble(404, body=b'{"error":"Record not found"}'), Trouble(401, body=b'{"error":"no"}')]
    async with serving(fake) as base:
        tag = await chunks(over(f"{base}/上海", time), limit=1)
        closed = await chunks(over(base, time), limit=1)
    assert [(line.outcome, line.endpoint) for line in lines([*tag, *closed])] == [
        ("empty", "tag"), ("login_required", "public"),
    ]  # fmt: skip
    assert "?local" in lines(closed)[0].detail


async def test_a_spent_budget_is_left_to_recover() -> None:
    time = Time()
    fake = FakeMastodon(time)
    fake.add(NOW_MS - MINUTE)
    fake.left = 0
    async with serving(fake) as base:
        await chunks(over(base, time), limit=3)
    assert time.slept == [120, 120]


async def test_an_instance_that_cannot_be_reached_is_tried_again_and_with_once_given_up() -> None:
    time = Time()
    fake = FakeMastodon(time)
    async with serving(fake) as base:
        pass
    taken_ = await chunks(over(base, time), limit=2)
    assert [line.outcome for line in lines(taken_)] == ["network"] * 2
    with pytest.raises(SourceError, match="network, 5 times in a row"):
        await chunks(over(base, time, once=True))


async def test_once_ends_at_the_top() -> None:
    time = Time()
    fake = FakeMastodon(time)
    ids = [fake.add(NOW_MS - (60 - n) * SECOND) for n in range(60)]
    async with serving(fake) as base:
        first = await chunks(over(base, time, once=True))
        for n in range(95):
            ids.append(fake.add(NOW_MS + n * 10))
        time.now_ms += MINUTE
        second = await chunks(over(base, time, once=True), first[-1].cursor)
    assert own_ids(first) + own_ids(second) == ids[20:]
    for taken_ in (first, second):
        assert taken_[-1].end
        assert isinstance(taken_[-1].records[-1], End)
        check_reach(taken_)


class World:
    """Statuses from near and far: those of other instances arrive later, with ids of when they were written."""

    def __init__(self, seed: int, ids: str) -> None:
        self.draw = random.Random(seed)
        self.time = Time()
        self.fake = FakeMastodon(self.time)
        self.fake.page_max = self.draw.choice((10, 20, 40))
        for n in range(400):
            created_ms = NOW_MS + self.draw.randrange(-30 * MINUTE, 60 * MINUTE)
            delay_ms = self.draw.choice((0, 0, 0, 50 * SECOND, 4 * MINUTE))
            own = "" if ids == "times" else f"A{created_ms + delay_ms:015}{n:04}"
            self.fake.add(created_ms, created_ms + delay_ms, own)


@pytest.mark.parametrize("ids", ["times", "letters"])
@pytest.mark.parametrize("seed", range(6))
async def test_nothing_is_lost_or_told_twice_whatever_is_killed_when(seed: int, ids: str) -> None:
    world = World(seed, ids)
    cursor: str | None = None
    given: list[Chunk] = []
    async with serving(world.fake) as base:
        while world.time.now_ms < NOW_MS + 75 * MINUTE:
            if world.draw.random() < 0.2:
                world.fake.trouble.append(world.draw.choice((Trouble(500), Trouble(429, {"Retry-After": "7"}))))
            some = await chunks(over(base, world.time), cursor, limit=world.draw.randrange(1, 8))
            given += some
            # A kill before the log has the last chunk.
            if len(some) > 1 and world.draw.random() < 0.5:
                del given[-1]
            cursor = given[-1].cursor
    told = [post.id.removeprefix("home.example/") for post in posts(given)]
    assert len(told) == len(set(told))
    first = min(told, key=lambda own: (len(own), own))
    assert set(told) == {own for own in world.fake.statuses if own >= first}
    if ids == "times":
        check_reach(given)
    assert max(mark.through_ms for mark in reaches(given)) > NOW_MS + 65 * MINUTE


async def test_what_is_known_stays_small_and_a_long_absence_is_made_up() -> None:
    time = Time()
    fake = FakeMastodon(time)
    fake.add(NOW_MS - MINUTE)
    async with serving(fake) as base:
        [first] = await chunks(over(base, time), limit=1)
        ids = [fake.add(NOW_MS + n * 2 * SECOND) for n in range(1, 1500)]
        time.now_ms += 60 * MINUTE
        taken_ = await chunks(over(base, time), first.cursor, limit=40)
    assert own_ids(taken_) == ids
    check_reach([first, *taken_])
    assert max(len(chunk.cursor) for chunk in taken_) < 50 * BACK_POSTS


def test_the_floor_keeps_behind_the_newest_by_time_and_by_number() -> None:
    def seen(n: int) -> Seen:
        return Seen(str((NOW_MS + n * SECOND << 16) + 1), NOW_MS + n * SECOND)

    place = taken(Place(), [seen(n) for n in range(40)], [])
    assert place.floor == seen(0).id
    place = taken(place, [seen(n) for n in range(40, 900)], [])
    assert len(place.seen) == BACK_POSTS
    assert place.floor == seen(699).id
    assert place.through_ms <= NOW_MS + 699 * SECOND
    assert arrived(place, NOW_MS + 900 * SECOND).floor == place.floor, "it never goes back"
    after = arrived(place, NOW_MS + 2000 * SECOND)
    assert id_ms(after.floor) == NOW_MS + 2000 * SECOND - BACK_MS
    assert after.seen == ()


def test_an_empty_timeline_is_read_from_its_beginning() -> None:
    place = arrived(Place(), NOW_MS)
    assert (place.floor, place.through_ms) == (NOTHING, NOW_MS - BACK_MS)
    assert id_ms(id_at(NOW_MS)) == NOW_MS
    assert id_ms("9abcdefgh1") == id_ms("12345") == id_ms("9" * 30) == 0


@pytest.mark.parametrize(
    ("spec", "url"),
    [
        ("mastodon:Mastodon.social", "https://mastodon.social/api/v1/timelines/public?limit=40"),
        ("mastodon:m.example/上海", "https://m.example/api/v1/timelines/tag/%E4%B8%8A%E6%B5%B7?limit=40"),
        ("mastodon:https://m.example:8443/tags/a/", "https://m.example:8443/api/v1/timelines/tag/a?limit=40"),
        ("mastodon:m.example/a?local", "https://m.example/api/v1/timelines/tag/a?limit=40&local=true"),
        ("mastodon:m.example?local", "https://m.example/api/v1/timelines/public?limit=40&local=true"),
        ("mastodon:http://127.0.0.1:8000/#a", "http://127.0.0.1:8000/api/v1/timelines/tag/a?limit=40"),
    ],
)
def test_specs_name_timelines(spec: str, url: str) -> None:
    assert timeline(spec).url("") == url
    assert timeline(spec).url("7") == f"{url}&min_id=7"
    assert source(spec).name == spec


@pytest.mark.parametrize(
    "spec", ["mastodon:", "mastodon:a b", "mastodon:x@m.example", "mastodon:m.example/a/b", "mastodon:m.example/a?b"]
)
def test_other_specs_are_refused_with_what_can_be_written(spec: str) -> None:
    with pytest.raises(SourceError, match="mastodon:"):
        source(spec)


async def test_the_link_says_only_an_id_and_a_foreign_cursor_is_refused() -> None:
    time = Time()
    fake = FakeMastodon(time)
    for n in range(90):
        fake.add(NOW_MS + n)
    fake.add(NOW_MS - MINUTE)
    async with serving(fake) as base:  # its Link names another host
        taken_ = await chunks(over(base, time), limit=5)
        with pytest.raises(SourceError, match="start a new store"):
            await chunks(over(base, time), "no cursor")
    assert len(own_ids(taken_)) == 91
    assert mastodon.PAUSE_S in time.slept


async def test_posts_of_a_timeline_become_documents(tmp_path: Path) -> None:
    time = Time()
    fake = FakeMastodon(time)
    for n in range(3):
        fake.add(NOW_MS - n * SECOND, content=f"<p>&lt;LOC/上海&gt; {n}</p>")
    async with serving(fake) as base:
        async with running(tmp_path, over(base, time, once=True), once=True) as live:
            await live.done
        async with running(tmp_path, over(base, time, once=True), once=True) as live:
            await live.done
        documents = live.documents()
        kinds = [kind for (kind,) in live.rows("SELECT kind FROM notes")]
    assert len(documents) == 3
    assert all(one.mentions[0].surface == "上海" for one in documents)
    assert kinds.count("observation") == 3
    assert kinds.count("coverage") == 3, "the second run sees that nothing lies above what it knows"
