"""Sources of Weibo over simulated days: nothing lost, nothing twice, nothing asked while blocked."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest

from index.notes import by_hour
from ingest.clean import EdgeSettings
from ingest.sources import parse_again
from ingest.weibo_fake.faults import KINDS, Fault, Kind
from ingest.weibo_fake.flavours import mobile
from ingest.weibo_fake.search_html import search_page
from ingest.weibo_fake.server import FakeOptions
from ingest.weibo_fake.world import HOUR_MS, World, WorldSettings
from stream.contract.ports import SourceError
from stream.contract.records import Coverage, End, Picture, Post, Reach, Reject
from tests.ingest.weibo_sim import Sim

SMALL: Final = World(WorldSettings(users=12, hours=12))
DAY: Final = World(WorldSettings(users=200, hours=24))
TIMEOUT_S: Final = 1.0
"""A busy machine must not take longer by itself: what the server has sent and nobody has got counts as shown."""


def users(world: World, count: int = 1 << 30) -> list[str]:
    return [f"weibo:user:{user.uid}" for user in world.users[:count]]


def shares(share: float) -> FakeOptions:
    """``share`` of each kind, and a tenth of it slow: each of these takes real time, ``TIMEOUT_S``."""
    shares = {kind: share / 10 if kind == "slow" else share for kind in KINDS}
    return FakeOptions(faults=tuple(Fault(kind=kind, share=shares[kind]) for kind in KINDS), slow_s=2 * TIMEOUT_S)


def run(sim: Sim, specs: list[str], hours: float) -> None:
    async def work() -> None:
        async with sim:
            await sim.run(specs, hours)

    asyncio.run(work())


@pytest.mark.parametrize("share", [0.0, 0.05 / len(KINDS), 0.05], ids=["calm", "one in twenty", "each one in twenty"])
def test_a_day_of_two_hundred_sources(share: float) -> None:
    sim = Sim(DAY, shares(share), timeout_s=TIMEOUT_S)
    sim.person(600)
    run(sim, [*users(DAY, 197), "weibo:hot", "weibo:search:海棠咖啡", "weibo:topic:城市夜行"], 24)
    assert len(sim.fake.shown) > 1_000
    assert not sim.lost()
    assert not sim.doubled()
    assert not sim.wrong()
    assert not sim.log.rejects
    assert sim.fake.asked(while_blocked=True) == 0
    assert sim.fake.asked() <= sim.settings.per_day
    states = Counter(flip.state for flip in sim.log.flips)
    assert 0 <= states["firing"] - states["resolved"] <= 1 and bool(states) == bool(share)
    assert {line.outcome for line in sim.log.coverage} >= ({"ok", "captcha", "blocked"} if share else {"ok", "empty"})


def test_reaches_are_true() -> None:
    """Once a source was seen through T, it gives nothing older that it had been shown before it said so."""
    sim = Sim(DAY, shares(0.05 / len(KINDS)), timeout_s=TIMEOUT_S)
    sim.person(600)
    run(sim, users(DAY, 60), 24)
    reached: dict[str, int] = {}
    told: set[str] = set()
    said, late = 0, []
    for record in sim.log.records:
        if isinstance(record, Reach) and record.state == "live":
            assert record.through_ms >= reached.get(record.source, 0)
            reached[record.source] = record.through_ms
            said += 1
        elif isinstance(record, Post) and record.id not in told:
            told.add(record.id)
            own = f"weibo:user:{DAY.posts[record.id].uid}" == record.source
            # Pins, and originals that somebody else wrote, are older than what is read.
            if own and not DAY.posts[record.id].pinned and record.created_ms < reached.get(record.source, 0):
                late.append((record.id, reached[record.source]))
    assert said > 300
    # What an answer had left out may come later.
    for mid, reach_ms in late:
        assert sim.fake.shown[mid] > reach_ms


def test_killed_anywhere_it_tells_everything_that_was_shown(tmp_path: Path) -> None:
    chance = random.Random(5)
    end_ms = SMALL.settings.start_ms + 10 * HOUR_MS
    cursors: dict[str, str] = {}
    told, shown, clock_ms, kills = set[str](), set[str](), float(SMALL.settings.start_ms), 0
    versions: Counter[tuple[str, int, int]] = Counter()
    while clock_ms < end_ms and kills < 500:
        sim = Sim(SMALL, directory=tmp_path, start_ms=int(clock_ms))
        sim.log.cursors = cursors
        sim.log.stop_after = chance.randrange(1, 12)
        run(sim, [*users(SMALL), "weibo:hot"], (end_ms - clock_ms) / HOUR_MS)
        told |= {post.id for post in sim.log.posts}
        versions.update((post.id, post.edit_version, len(post.text)) for post in sim.log.posts)
        shown |= sim.fake.shown.keys()
        clock_ms = sim.clock.now_ms
        kills += 1
    assert clock_ms >= end_ms and kills >= 20
    assert told >= shown and len(told) > 60
    # Who was killed after the log had a chunk tells it once more, and never a third time without being killed again.
    assert sum(count - 1 for count in versions.values()) <= 10 * kills


def test_a_block_stops_all_sources_until_a_person_acts() -> None:
    for acts in (False, True):
        sim = Sim(SMALL, FakeOptions(faults=(Fault(kind="432", from_s=3600, until_s=4 * 3600),)), poll_s_max=1800.0)
        if acts:
            sim.person(1800)
        run(sim, users(SMALL), 8)
        assert sim.fake.asked(while_blocked=True) == 0
        first = next(line for line in sim.log.coverage if line.outcome == "blocked")
        later = [line for line in sim.log.coverage if line.observed_ms > first.observed_ms + 4 * HOUR_MS]
        assert bool([line for line in later if line.outcome == "ok"]) == acts
        states = [flip.state for flip in sim.log.flips]
        assert states[:2] == (["firing", "resolved"] if acts else ["firing"])
        assert sim.log.flips[0].rule_kind == "data_quality" and "resume" in sim.log.flips[0].reason
        idle = {mark.source for mark in sim.log.reaches if mark.state == "idle"}
        assert idle >= set(users(SMALL)), "nobody's bins wait for sources that may not ask"


def test_after_half_a_day_one_request_tries_again() -> None:
    sim = Sim(SMALL, FakeOptions(faults=(Fault(kind="captcha", until_s=3600 * 20),)))
    run(sim, users(SMALL), 20)
    assert sim.fake.asked() == 2
    sim = Sim(SMALL, FakeOptions(faults=(Fault(kind="captcha", until_s=3600),)))
    run(sim, users(SMALL), 16)
    assert "ok" in {
        line.outcome for line in sim.log.coverage if line.observed_ms > SMALL.settings.start_ms + 12 * HOUR_MS
    }
    assert [flip.state for flip in sim.log.flips] == ["firing", "resolved"]


def test_a_dead_cookie_is_announced_and_a_new_one_goes_on(tmp_path: Path) -> None:
    dies_ms = SMALL.settings.start_ms + 2 * HOUR_MS
    file = tmp_path / "cookie.txt"
    file.write_text("SUB=old")
    sim = Sim(
        SMALL, FakeOptions(sessions={"old": dies_ms, "new": 0}), cookie="", cookie_file=str(file), poll_s_max=1800.0
    )  # fmt: skip

    def look() -> None:
        if sim.desk and sim.desk.stopped and sim.clock.now_ms > dies_ms + 2 * HOUR_MS:
            file.write_text("SUB=new; SUBP=x")

    sim.clock.watch = look
    run(sim, users(SMALL), 8)
    assert "login_required" in [line.outcome for line in sim.log.coverage]
    assert [flip.state for flip in sim.log.flips] == ["firing", "resolved"]
    assert sim.log.flips[0].labels == {"outcome": "login_required"}
    assert max(line.observed_ms for line in sim.log.coverage if line.outcome == "ok") > dies_ms + 3 * HOUR_MS
    assert not [record for record in sim.log.records if "SUB=" in repr(record)]


def test_no_hour_has_more_requests_than_its_budget() -> None:
    sim = Sim(DAY, per_hour=30, per_day=500)
    run(sim, users(DAY, 80), 24)
    sent = sim.desk.state.sent if sim.desk else ()
    assert 400 < len(sent) <= 500
    for first, last in zip(sent, sent[30:], strict=False):
        assert last - first >= 3600


def test_every_source_gets_its_turn_and_busy_ones_more() -> None:
    sim = Sim(DAY)
    run(sim, users(DAY, 40), 24)
    polls = Counter(
        line.source for line in sim.log.coverage if line.endpoint == "user" and line.outcome in ("ok", "empty")
    )
    assert len(polls) == 40 and min(polls.values()) >= 4
    posts = {f"weibo:user:{user.uid}": len(DAY.timeline(user.uid, sim.clock.now())) for user in DAY.users[:40]}
    busy = sorted(posts, key=lambda name: posts[name])
    assert sum(polls[name] for name in busy[-10:]) > 1.5 * sum(polls[name] for name in busy[:10])


def test_edits_counts_and_ends_are_observed() -> None:
    sim = Sim(SMALL, poll_s_max=1800.0)
    run(sim, users(SMALL), 12)
    by_post: dict[str, list[object]] = {}
    for one in sim.log.observations:
        by_post.setdefault(one.post_id, []).append(one)
        true = SMALL.posts[one.post_id]
        if one.gone:
            assert 0 < true.deleted_ms <= one.observed_ms, "it had really gone"
        else:
            assert one.edit_version == true.edits(one.observed_ms)
            if one.counts and not one.counts.approximate:
                assert (one.counts.reposts, one.counts.comments, one.counts.likes) == true.counts(one.observed_ms)
    assert sum(len(seen) > 2 for seen in by_post.values()) > 20, "counts over time come for free"
    assert any(one.edit_version and one.text for one in sim.log.observations)
    gone = [one.post_id for one in sim.log.observations if one.gone]
    assert gone and len(gone) == len(set(gone))


def test_one_post_by_itself() -> None:
    post = max(
        SMALL.posts.values(),
        key=lambda one: (
            bool(one.versions[1:]) and not one.deleted_ms,
            one.created_ms < SMALL.settings.start_ms + 2 * HOUR_MS,
        ),
    )
    for name in (
        post.mid,
        post.bid,
        f"https://weibo.com/{post.uid}/{post.bid}",
        f"https://m.weibo.cn/detail/{post.mid}",
    ):
        sim = Sim(SMALL, start_ms=post.created_ms + 1000)
        run(sim, [f"weibo:post:{name}"], 6)
        assert next(one.id for one in sim.log.posts) == post.mid
        assert len({one.source for one in sim.log.posts}) == 1
        assert not sim.wrong() and len(sim.log.observations) > 5


def test_the_hot_list_by_time() -> None:
    sim = Sim(SMALL)
    run(sim, ["weibo:hot"], 3)
    assert 15 <= len(sim.log.hot) <= 19
    for found in sim.log.hot[1:]:
        expected = SMALL.hot(found.observed_ms)
        assert [(item.word, item.heat) for item in found.items] == expected
        assert [item.rank for item in found.items] == list(range(1, len(expected) + 1))


def test_hot_lists_that_were_not_seen_stay_unseen() -> None:
    start_ms = SMALL.settings.start_ms
    sim = Sim(SMALL, FakeOptions(faults=(Fault(kind="captcha", from_s=3600, until_s=7200),)))
    sim.person(2 * 3600)
    run(sim, ["weibo:hot"], 6)
    hours = [start_ms + hour * HOUR_MS for hour in range(6)]
    seen = [row["covered"] for row in by_hour(sim.log.coverage, hours)]
    assert all(share is not None and share < 0.3 for share in seen[1:3]) and seen[4] == 1.0, seen


def test_searching_the_past_splits_what_shows_too_many_pages() -> None:
    busy = World(WorldSettings(users=60, hours=4, posts_per_day=1500))
    start, word = busy.settings.start_ms, "海棠咖啡"
    end_ms = start + 4 * HOUR_MS
    sim = Sim(busy, start_ms=end_ms, per_hour=5_000, per_day=100_000, pause_s_min=1.0, pause_s_max=1.0, details=False)
    spec = f"weibo:search:{word}?since=2022-03-01T08:00:00+08:00&until=2022-03-01T12:00:00+08:00"
    run(sim, [spec], 50)
    expected = {post.mid for post in busy.search(word, end_ms, start, end_ms)}
    assert len(expected) > 800, "more than fifty pages"
    assert {post.id for post in sim.log.posts} == expected
    assert any("split" in line.detail for line in sim.log.coverage)
    assert "capped" not in {line.outcome for line in sim.log.coverage}
    assert spec in sim.log.ended and isinstance(sim.log.records[-1], End)
    assert not sim.doubled()
    told = [problem for problem in sim.wrong() if " region: " not in problem and " edit_version: " not in problem]
    assert not told, "this page tells neither region nor edits"


def test_an_hour_with_more_than_the_site_shows_is_said_to_be_capped() -> None:
    busy = World(WorldSettings(users=60, hours=1, posts_per_day=9_000))
    end_ms = busy.settings.start_ms + HOUR_MS
    sim = Sim(busy, start_ms=end_ms, per_hour=5_000, per_day=100_000, pause_s_min=1.0, pause_s_max=1.0, details=False)
    run(sim, ["weibo:search:今天?since=2022-03-01T08:00:00+08:00&until=2022-03-01T09:00:00+08:00"], 50)
    [line] = [line for line in sim.log.coverage if line.outcome == "capped"]
    assert (line.from_ms, line.through_ms) == (busy.settings.start_ms, end_ms)


def test_a_users_past_is_walked_down_to_since() -> None:
    user = max(DAY.users, key=lambda one: len(DAY.timeline(one.uid, DAY.settings.start_ms + 24 * HOUR_MS)))
    sim = Sim(DAY, start_ms=DAY.settings.start_ms + 24 * HOUR_MS)
    spec = f"weibo:user:{user.uid}?since=2022-03-01T12:00:00+08:00&until=2022-03-02T00:00:00+08:00"
    run(sim, [spec], 50)
    since, until = DAY.settings.start_ms + 4 * HOUR_MS, DAY.settings.start_ms + 16 * HOUR_MS
    expected = {post.mid for post in DAY.timeline(user.uid, sim.clock.now()) if since <= post.created_ms < until}
    own = {post.id for post in sim.log.posts if DAY.posts[post.id].uid == user.uid}
    assert own == expected and len(expected) > 15
    assert spec in sim.log.ended


def test_a_list_longer_than_its_pages_is_said_to_be_capped() -> None:
    user = max(DAY.users, key=lambda one: len(DAY.timeline(one.uid, DAY.settings.start_ms + 24 * HOUR_MS)))
    sim = Sim(DAY, start_ms=DAY.settings.start_ms + 24 * HOUR_MS, pages_max=2)
    run(sim, [f"weibo:user:{user.uid}?since=2022-03-01&until=2022-03-02"], 50)
    assert [line.outcome for line in sim.log.coverage if isinstance(line, Coverage)].count("capped") == 1


def test_a_dead_letter_is_read_again_as_what_it_was() -> None:
    user = SMALL.users[0]
    post = next(one for one in SMALL.timeline(user.uid, SMALL.settings.start_ms + 12 * HOUR_MS) if not one.pinned)
    now_ms = post.created_ms + HOUR_MS

    def again(raw: bytes) -> Post | Reject:
        letter = Reject(source=f"weibo:user:{user.uid}", reason="bad_field", detail="", raw=raw, observed_ms=now_ms)
        return parse_again(letter, edge=EdgeSettings(), pseudonym=str, now_ms=lambda: now_ms + HOUR_MS)

    row = mobile(SMALL, post, now_ms)
    found = again(json.dumps(row).encode())
    assert isinstance(found, Post) and (found.id, found.created_ms) == (post.mid, post.created_ms)
    page = search_page(SMALL, [post], now_ms, 1)
    card = again(page[page.index("<div class=\"card-wrap") :].encode())
    assert isinstance(card, Post) and card.id == post.mid
    for raw in (b'{"mid":"5"}', json.dumps({**row, "created_at": "never"}).encode(), b"<p>nothing</p>", b"\xff"):
        refused = again(raw)
        assert isinstance(refused, Reject) and refused.raw == raw and refused.observed_ms == now_ms


@pytest.mark.parametrize("kind", ["captcha", "432", "418"])
def test_once_ends_with_advice_where_nothing_may_be_asked(kind: Kind) -> None:
    sim = Sim(SMALL, FakeOptions(faults=(Fault(kind=kind),)))
    sim.once = True
    with pytest.raises(SourceError, match=r"resume|try again later"):
        run(sim, users(SMALL, 2), 30)
    assert sim.clock.now_ms < SMALL.settings.start_ms + 3 * HOUR_MS
    assert sim.log.coverage and sim.fake.asked(while_blocked=True) == 0


def test_pictures_that_cannot_be_fetched_for_a_defect_are_no_secret() -> None:
    async def defect(pictures: Sequence[Picture], referer: str) -> tuple[Picture, ...]:
        raise RuntimeError("a defect")

    sim = Sim(SMALL)
    sim.pictures = defect
    with pytest.raises(RuntimeError, match="a defect"):
        run(sim, users(SMALL), 12)
