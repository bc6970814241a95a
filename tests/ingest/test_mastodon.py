"""A timeline of Mastodon, read from an instance on loopback that behaves like one."""

from __future__ import annotations

import random
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
from stream.contract.records import Coverage, End, Observation, Post, Reach, Record
from tests.ingest.corpus import NOW_MS, PSEUDONYM, check_reach, chunks, posts, records, rejects, source
from tests.ingest.feeds import MINUTE, FakeMastodon, Time, Trouble, serving, stamp, status_of
from tests.runtime.live import running

SECOND = 1000


def over(base: str, time: Time, **options: Any) -> Source:
    return source(f"mastodon:{base}", now_ms=time, sleep=time.sleep, **options)


def lines(taken: Sequence[Chunk]) -> list[Coverage]:
    return [record for record in records(taken) if isinstance(record, Coverage)]


def reaches(taken: Sequence[Chunk]) -> list[Reach]:
    return [record for record in records(taken) if isinstance(record, Reach)]


def own_ids(taken: Sequence[Chunk]) -> list[str]:
    return [post.id.removeprefix("home.example/") for post in posts(taken)]


def queries(fake: FakeMastodon) -> list[str]:
    return [str(request.rel_url.query.get("min_id", "")) for request in fake.asked if hasattr(request, "rel_url")]


async def test_the_first_poll_shows_the_newest_page_and_the_next_ones_what_came() -> None:
    time = Time()
    fake = FakeMastodon(time)
    ids = [fake.add(NOW_MS - (60 - n) * SECOND) for n in range(60)]
    later = [fake.add(NOW_MS + n * 400) for n in range(1, 131)]
    async with serving(fake) as base:
        taken_ = await chunks(over(base, time), limit=6)
    assert own_ids(taken_) == ids[-40:] + later
    check_reach(taken_)
    assert [line.fresh for line in lines(taken_)][:5] == [40, 1, 40, 40, 40] or sum(
        line.fresh for line in lines(taken_)
    ) == 170


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
        '<p>今天在<a href="https://x.example/tags/上海" class="mention hashtag">#<span>上海</span></a>，雨&amp;风<br>大</p>'
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
