"""Streams into the embedded runtime: pressure, poison, what sources tell about event time, and their interleaving."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from stream.contract import codec
from stream.contract.ports import Chunk, TagInput
from stream.contract.records import Control, Document, Flip, Post, Span
from stream.core.rules import Rule, RuleSet
from stream.runtime.embedded import BATCHES_MAX
from stream.runtime.settings import WorkerSettings
from tests.runtime.live import WAIT_S, Live, Marks, Script, running

# --- pressure ----------------------------------------------------------------------------------------------------


class Firehose:
    """A source that always has another chunk at once; ``taken`` posts left its hands, ``emptied`` says all did."""

    def __init__(self, name: str, posts: int, chunk_posts: int) -> None:
        self.name = name
        self.taken = 0
        self.emptied = asyncio.Event()
        self._posts = posts
        self._chunk = chunk_posts
        self._script = Script(name)

    async def chunks(self, cursor: str | None) -> AsyncIterator[Chunk]:
        while self.taken < self._posts:
            numbers = range(self.taken, min(self.taken + self._chunk, self._posts))
            posts = tuple(self._script.post(f"{self.name}-{n}", n, "<LOC/上海>") for n in numbers)
            self.taken += len(posts)
            if self.taken == self._posts:
                self.emptied.set()
            yield Chunk(records=posts, cursor=str(self.taken))


class Turnstile(Marks):
    """A tagger that lets one batch pass for each permit."""

    def __init__(self) -> None:
        self.permits = threading.Semaphore(0)

    def infer(self, prepared: Sequence[str]) -> Sequence[str]:
        assert self.permits.acquire(timeout=WAIT_S), "nobody lets this batch pass"
        return prepared


async def chances(live: Live, count: int) -> None:
    """Let the sources have the writer ``count`` times; one that is not held back appends something each time."""
    for _ in range(count):
        await live.runtime.on_writer(lambda: None)


@pytest.mark.parametrize(("sources", "chunk"), [(1, 1), (1, 10), (3, 5)])
async def test_a_source_faster_than_the_tagger_is_held_back(tmp_path: Path, sources: int, chunk: int) -> None:
    hoses = [Firehose(f"h{n}", 240 // sources, chunk) for n in range(sources)]
    turnstile, worker = Turnstile(), WorkerSettings(lag_records_max=16, batch_posts_max=4)
    # The log holds lag_records_max and the chunk that went beyond, each source has a chunk in its hands, and the
    # rest is in the batches under way.
    allowed = worker.lag_records_max + 2 * sources * chunk + BATCHES_MAX * worker.batch_posts_max
    ahead: list[int] = []
    async with running(tmp_path, *hoses, tagger=turnstile, worker=worker) as live:
        try:
            await chances(live, 2000)
            while live.posts < 240:
                ahead.append(sum(hose.taken for hose in hoses) - live.posts)
                turnstile.permits.release()
                before = live.posts
                await live.until(lambda before=before: live.posts > before)  # type: ignore[misc]
                await chances(live, 20)
        finally:
            turnstile.permits.release(1000)
        assert max(ahead) <= allowed
        assert ahead[0] > worker.lag_records_max, "the sources did run ahead"
        assert len(live.documents()) == 240


async def test_it_is_the_setting_that_holds_a_source_back(tmp_path: Path) -> None:
    hose, turnstile = Firehose("h", 240, 1), Turnstile()
    worker = WorkerSettings(lag_records_max=1000, batch_posts_max=4)
    async with running(tmp_path, hose, tagger=turnstile, worker=worker) as live:
        try:
            await asyncio.wait_for(hose.emptied.wait(), WAIT_S)
            assert live.posts == 0
        finally:
            turnstile.permits.release(1000)
        await live.until(lambda: live.posts == 240)


# --- poison ------------------------------------------------------------------------------------------------------


class Poisoned(Marks):
    """A tagger that fails in ``step`` on every batch with 毒 in it."""

    def __init__(self, step: str) -> None:
        self._step = step

    def _swallow(self, step: str, texts: Sequence[str]) -> None:
        if step == self._step and any("毒" in text for text in texts):
            raise RuntimeError("毒")

    def prepare(self, posts: Sequence[TagInput]) -> Sequence[str]:
        self._swallow("prepare", [post.text for post in posts])
        return super().prepare(posts)

    def infer(self, prepared: Sequence[str]) -> Sequence[str]:
        self._swallow("infer", prepared)
        return super().infer(prepared)

    def decode(self, prepared: Sequence[str], scores: Sequence[str]) -> list[list[Span]]:
        self._swallow("decode", prepared)
        return super().decode(prepared, scores)


@pytest.mark.parametrize("step", ["prepare", "infer", "decode"])
@pytest.mark.parametrize("poison", [(0,), (17,), (31,), (16, 17, 40)])
async def test_a_post_that_the_tagger_fails_on_is_the_only_dead_letter(
    tmp_path: Path, step: str, poison: tuple[int, ...]
) -> None:
    source = Script("s")
    posts = [source.post(n, n, f"<LOC/上海>第{n}条{'毒' if n in poison else ''}") for n in range(64)]
    async with running(tmp_path, source, tagger=Poisoned(step)) as live:
        await source.give(*posts, source.reach(64))
        await live.settled()
        await source.give(source.post("after", 65, "<LOC/上海>"), source.reach(90))
        await live.settled()
        good = [post for number, post in enumerate(posts) if number not in poison]
        tagged = {document.post.id: document for document in live.documents()}
        assert set(tagged) == {post.id for post in good} | {"after"}
        assert all(tagged[post.id].post == post for post in good)
        assert all([mention.entity for mention in one.mentions] == ["LOC/上海"] for one in tagged.values())
        letters = live.rejects()
        assert [codec.decode(letter.raw) for letter in letters] == [posts[number] for number in poison]
        assert {(letter.reason, letter.source) for letter in letters} == {("tagger_failed", "s")}
        assert [letter.place for letter in letters] == [str(number) for number in poison]
        assert (live.runtime.totals.documents, live.runtime.totals.rejects) == (65 - len(poison), len(poison))
        assert sum(point[2] for point in live.points()) == 65 - len(poison)
        rejected = live.telemetry.registry.get_sample_value("weibowatch_rejects_total", {"reason": "tagger_failed"})
        assert rejected == len(poison)


# --- event time --------------------------------------------------------------------------------------------------


async def test_a_silent_source_closes_no_bin_and_what_it_says_at_last_is_not_late(tmp_path: Path) -> None:
    loud, silent = Script("loud"), Script("silent")
    async with running(tmp_path, loud, silent) as live:
        for minute in range(0, 120, 10):
            await loud.give(loud.post(f"l{minute}", minute, "<LOC/上海>"), loud.reach(minute + 10))
        await live.settled()
        assert live.committed[-1].watermark_ms == 0
        assert live.points() == []
        await silent.give(silent.post("s0", 1, "<LOC/上海>"), silent.reach(30))
        await live.settled()
        assert live.watermark_minute == 30
        assert live.points() == [("LOC/上海", 0, 2, 2, 0), ("LOC/上海", 10, 1, 1, 0), ("LOC/上海", 20, 1, 1, 0)]
        await silent.give(silent.end(30))
        await live.settled()
        assert live.watermark_minute == 120
        assert len(live.points()) == 12


async def test_a_source_that_is_idle_or_ends_in_silence_lets_the_others_go_on(tmp_path: Path) -> None:
    loud, idle, over = Script("loud"), Script("idle"), Script("over")
    async with running(tmp_path, loud, idle, over) as live:
        await loud.give(loud.post(1, 1, "<LOC/上海>"), loud.reach(60))
        await idle.give(idle.reach(-60, "idle"))
        await live.settled()
        assert live.points() == []
        await over.give(over.end(-1))
        await live.settled()
        assert live.watermark_minute == 60
        await idle.give(idle.post(2, 61, "<LOC/上海>"), idle.reach(62))
        await loud.give(loud.reach(240))
        await live.settled()
        assert live.watermark_minute == 62, "a source that speaks again holds it again"
        assert [point[-1] for point in live.points()] == [0]


async def test_the_watermark_follows_the_slower_of_two_sources(tmp_path: Path) -> None:
    fast, slow = Script("fast"), Script("slow")
    seen: list[float] = []
    async with running(tmp_path, fast, slow) as live:
        for step in range(1, 7):
            await fast.give(fast.post(f"f{step}", 60 * step - 1, "<LOC/上海>"), fast.reach(60 * step))
            await live.settled()
            await slow.give(slow.post(f"s{step}", 7 * step - 1, "<LOC/上海>"), slow.reach(7 * step))
            await live.settled()
            seen.append(live.watermark_minute)
            assert all(minute + 5 <= 7 * step for _, minute, *_ in live.points())
        assert seen == [7, 14, 21, 28, 35, 42]
        await slow.give(slow.end(42))
        await live.settled()
        assert live.watermark_minute == 360
        assert sum(point[2] for point in live.points()) == 12
        assert live.runtime.totals.late == 0
        assert all(point[-1] == 0 for point in live.points())


async def test_a_source_that_is_gone_in_the_next_run_holds_nothing(tmp_path: Path) -> None:
    here, gone = Script("here"), Script("gone")
    async with running(tmp_path, here, gone) as live:
        await here.give(here.post(1, 1, "<LOC/上海>"), here.post(2, 50, "<LOC/上海>"), here.reach(60))
        await gone.give(gone.post(3, 3, "<LOC/上海>"), gone.reach(4))
        await live.settled()
        assert (live.watermark_minute, live.points()) == (4, [])
    here = Script("here")
    async with running(tmp_path, here) as live:
        await live.settled()
        assert live.watermark_minute == 60
        assert here.cursors == ["1"]
        assert live.points() == [("LOC/上海", 0, 2, 2, 0), ("LOC/上海", 50, 1, 1, 0)]
        await here.give(here.post(4, 61, "<LOC/上海>"), here.reach(70))
        await live.settled()
        assert live.watermark_minute == 70


async def test_a_source_that_comes_back_or_comes_new_holds_the_watermark_from_the_start(tmp_path: Path) -> None:
    first = Script("first")
    async with running(tmp_path, first, once=True) as live:
        await first.give(first.post(1, 1, "<LOC/上海>"), first.reach(2), first.end(2))
        await asyncio.wait_for(live.done, WAIT_S)
        assert live.watermark_minute == 5, "all have left: the bin of the last post closes"
    first, new = Script("first"), Script("new")
    async with running(tmp_path, new, first) as live:
        await first.give(first.post(2, 31, "<LOC/上海>"), first.reach(60))
        await live.settled()
        assert live.watermark_minute == 5
        await new.give(new.post(3, 32, "<LOC/上海>"), new.reach(40))
        await live.settled()
        assert live.watermark_minute == 40
        assert live.points() == [("LOC/上海", 0, 1, 1, 0), ("LOC/上海", 30, 2, 2, 0)]


# --- interleaving ------------------------------------------------------------------------------------------------

NAMES = ("LOC/上海", "PER/周杰伦", "ORG/小米", "PER/张三", "MISC/电影")
RULES = RuleSet(rules=(Rule(id="many", kind="threshold", above=8, metric="mentions", windows_s=(3600,)),))


def stories(seed: int) -> list[tuple[int, float, str, str]]:
    """(number, minute, text, author) in event time: four loud hours, then eight quiet ones. Some share a minute."""
    chance = random.Random(seed)
    minutes = [chance.randrange(240) for _ in range(200)] + [chance.randrange(240, 720) for _ in range(50)]
    return [
        (n, minute, "".join(f"<{name}>" for name in chance.sample(NAMES, chance.randint(0, 3))) + f"第{n}条",
         f"author{chance.randrange(40)}")
        for n, minute in enumerate(sorted(minutes))
    ]  # fmt: skip


async def play(directory: Path, sources: int, seed: int, said: Sequence[tuple[int, float, str, str]]) -> Live:
    """Split ``said`` over ``sources`` by chance and give it in turns by chance, each source in its own order."""
    chance = random.Random(seed)
    scripts = [Script(f"s{n}") for n in range(sources)]
    left: list[list[tuple[int, float, str, str]]] = [[] for _ in scripts]
    for one in said:
        chance.choice(left).append(one)
    first = [Control(topic="rules", version=1, payload=RULES.to_payload())]
    worker = WorkerSettings(batch_posts_max=chance.choice((1, 7, 64)))
    async with running(directory, *scripts, once=True, first=first, worker=worker) as live:
        open_ = list(range(sources))
        while open_:
            number = chance.choice(open_)
            script, rest = scripts[number], left[number]
            given, left[number] = rest[: (size := chance.randint(1, 30))], rest[size:]
            posts = [script.post(*one) for one in given]
            if left[number]:
                await script.give(*posts, script.reach(left[number][0][1]))
            else:
                open_.remove(number)
                await script.give(*posts, script.end(rest[-1][1] if rest else -1))
        await asyncio.wait_for(live.done, WAIT_S)
    return live


def facts(live: Live) -> dict[str, Any]:
    """All that was found, but for where it came from."""
    columns = (
        "entity, bin_ms, width_ms, mentions, authors, weighted, engagement, image_only, late, score, window_ms,"
        " observed, expected"
    )
    return {
        "documents": [_anywhere(document) for document in live.documents()],
        "points": live.rows(f"SELECT {columns} FROM trend_points ORDER BY entity, bin_ms"),
        "entities": live.rows("SELECT * FROM entities ORDER BY id"),
        "flips": [_told(flip) for flip in live.flips()],
    }


def _anywhere(document: Document) -> tuple[Any, ...]:
    post: Post = document.post
    return post.id, post.author, post.created_ms, post.text, document.mentions


def _told(flip: Flip) -> tuple[Any, ...]:
    evidence = [(one.post_id, one.author, one.excerpt, one.weight) for one in flip.evidence]
    return flip.id, flip.state, flip.entity, flip.surface, flip.at_ms, flip.window, flip.total_posts, evidence


async def test_several_sources_are_as_good_as_one_in_whatever_order_they_speak(tmp_path: Path) -> None:
    said = stories(1)
    assert len({minute for _, minute, _, _ in said}) < len(said), "some are told apart by their ids alone"
    expected = facts(await play(tmp_path / "one", 1, 0, said))
    assert len(expected["documents"]) == len(said)
    assert len(expected["points"]) > 100
    assert {flip[1] for flip in expected["flips"]} >= {"firing", "resolved"}
    for seed, sources in ((1, 1), (2, 2), (3, 3), (4, 5), (5, 3)):
        found = facts(await play(tmp_path / f"{seed}", sources, seed, said))
        for kind, rows in expected.items():
            assert found[kind] == rows, f"{kind} of {sources} sources, seed {seed}"
