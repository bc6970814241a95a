"""The fake Weibo: the same world for the same seed, and both flavours are read back to exactly what is true."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any, Final

import pytest

from ingest.clean import Edge, EdgeSettings, clean
from ingest.ids import created_ms_from_mid
from ingest.weibo.payload import Shown, statuses
from ingest.weibo_fake.flavours import LIST_PICTURES_MAX, LONG_CHARS, card, desktop, mobile, picture_url
from ingest.weibo_fake.world import HOUR_MS, FakePost, World, WorldSettings

WORLD: Final = World(WorldSettings(users=30))
NOW: Final = WORLD.settings.start_ms + 23 * HOUR_MS
EDGE: Final = Edge(
    source="weibo:user:1", settings=EdgeSettings(), pseudonym=lambda author: author, draw=lambda pictures: (),
    as_of_ms=NOW,
)  # fmt: skip
Show = Callable[..., dict[str, Any]]


def living() -> list[FakePost]:
    return [post for post in WORLD.posts.values() if post.exists(NOW)]


def about(count: int) -> tuple[int, int]:
    """The least and the most that a shown count may mean."""
    return (1_000_000, 1_000_000) if count > 1_000_000 else (min(count, count // 1000 * 1000), count)


def test_the_same_seed_makes_the_same_world() -> None:
    assert World(WorldSettings(users=30)).posts == WORLD.posts
    assert World(WorldSettings(users=30, seed=8)).posts.keys() != WORLD.posts.keys()


def test_the_world_has_everything_that_a_crawler_stumbles_over() -> None:
    posts = living()
    assert len(posts) > 500
    for having in (
        lambda post: post.pinned and post.created_ms < WORLD.settings.start_ms,
        lambda post: post.edits(NOW) == 2,
        lambda post: len(post.pictures) > LIST_PICTURES_MAX,
        lambda post: any(picture.kind == "gif" for picture in post.pictures),
        lambda post: len(post.text(NOW)) > LONG_CHARS,
        lambda post: post.counts(NOW)[2] > 1_000_000,
        lambda post: post.repost_of and not WORLD.posts[post.repost_of].exists(NOW),
        lambda post: post.repost_of and WORLD.posts[post.repost_of].exists(NOW),
        lambda post: not post.region,
    ):
        assert any(map(having, posts))
    assert any(not post.exists(NOW) for post in WORLD.posts.values() if post.created_ms < NOW)


def test_ids_hold_their_times() -> None:
    assert all(created_ms_from_mid(post.mid) == post.created_ms for post in WORLD.posts.values())


def test_counts_only_grow() -> None:
    for post in living()[:50]:
        told = [post.counts(post.created_ms + hours * HOUR_MS) for hours in range(0, 200, 10)]
        assert told[0] == (0, 0, 0) and told == sorted(told)
        for one, most in zip(told[-1], post.final, strict=True):
            assert math.isclose(one, most, rel_tol=0.01, abs_tol=2)


@pytest.mark.parametrize("show", [mobile, desktop])
@pytest.mark.parametrize("whole", [True, False])
def test_what_a_flavour_shows_is_read_back_to_what_is_true(show: Show, whole: bool) -> None:
    for post in living():
        reply = json.dumps([show(WORLD, post, NOW, whole=whole)], ensure_ascii=False).encode()
        found = list(statuses(reply, NOW))
        assert all(isinstance(one, Shown) for one in found)
        shown = found[-1]
        assert isinstance(shown, Shown)
        read, text = clean(shown.raw, EDGE), post.text(NOW)
        cut = not whole and len(text) > LONG_CHARS
        assert (read.mid, read.bid, read.created_ms) == (post.mid, post.bid, post.created_ms)
        assert read.author == str(post.uid)
        assert read.text == text if not cut else (read.text.startswith(text[:LONG_CHARS].strip()) and not shown.whole)
        assert (shown.pinned, read.edit_version, read.region) == (post.pinned, post.edits(NOW), post.region)
        assert read.repost_of == post.repost_of
        assert read.counts is not None
        told = read.counts.reposts, read.counts.comments, read.counts.likes
        for one, count in zip(told, post.counts(NOW), strict=True):
            least, most = about(count)
            assert least <= one <= most
        limit = LIST_PICTURES_MAX if show is mobile and not whole else 99
        pictures = [(picture.url, picture.width) for picture in shown.raw.pictures]
        assert pictures == [(picture_url(one, "large"), one.width) for one in post.pictures[:limit]]


def test_originals_come_once_before_their_reposts_and_vanished_ones_not_at_all() -> None:
    posts = [post for post in living() if post.repost_of][:40]
    cards = [card(WORLD, post, NOW, "1076031") for post in posts]
    reply = json.dumps({"ok": 1, "data": {"cards": cards}}).encode()
    mids = [one.raw.mid for one in statuses(reply, NOW) if isinstance(one, Shown)]
    assert len(mids) == len(set(mids))
    originals = {post.repost_of for post in posts}
    assert set(mids) == {post.mid for post in posts} | {mid for mid in originals if WORLD.posts[mid].exists(NOW)}
    for post in posts:
        if post.repost_of in mids:
            assert mids.index(post.repost_of) < mids.index(post.mid)


def test_a_timeline_has_its_pins_first_and_then_the_newest() -> None:
    for user in WORLD.users:
        posts = WORLD.timeline(user.uid, NOW)
        pins = [post.pinned for post in posts]
        assert pins == sorted(pins, reverse=True)
        times = [post.created_ms for post in posts if not post.pinned]
        assert times == sorted(times, reverse=True)


def test_a_search_finds_what_holds_the_words() -> None:
    expected = [post.mid for post in living() if "上海" in post.text(NOW)]
    assert sorted(post.mid for post in WORLD.search("上海", NOW)) == sorted(expected) and len(expected) > 20
    words = WORLD.hot(NOW)
    assert len(words) > 5 and [heat for _, heat in words] == sorted((heat for _, heat in words), reverse=True)
