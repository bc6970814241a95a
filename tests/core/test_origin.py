"""Bursts that are no trend: one account, a ring that copies a text, one post passed on; and a real one beside them."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.contract.records import Flip, Post
from stream.core.dedupe import simhash
from stream.core.origin import Copies, added, cluster_sizes, copies, origin, pack
from stream.core.past import ClosedBin, TrendState
from stream.core.reports import window_score
from stream.core.rules import Resolve, Rule, RuleSet, Significance
from stream.core.settings import CoreSettings
from stream.core.tally import Tally
from stream.core.trends import Scored
from stream.core.volume import WindowFrame
from tests.core.harness import log_of, news, post, run

BUSY = Significance(alerts_per_day=5, min_count=5, min_authors=3)
RULES = RuleSet(
    rules=(
        Rule(id="burst", kind="burst", windows_s=(3600, 21_600), significance=BUSY, resolve=Resolve(for_s=3600)),
        Rule(id="many", kind="threshold", windows_s=(3600,), above=8, metric="mentions"),
        Rule(id="ring", kind="concentration", windows_s=(3600, 21_600), significance=BUSY),
    )
)
COPIED = "跟我一起买张三代言的这款产品吧真的非常好用强烈推荐大家快去看看"
AT = 1200.0


def flood(number: int) -> Post:
    """One account writes about 张三 again and again, always other words."""
    return post(f"x{number}", AT + number / 2, ["张三"], author="loud")


def ring(number: int) -> Post:
    """Twenty accounts that copy a text, with an end of their own."""
    text = f"<张三>{COPIED}{number % 3}"
    return post(f"x{number}", AT + number / 2, [], author=f"ring{number % 20}", text=text)


def ring_of_many_words(number: int) -> Post:
    """Twenty accounts that write five times each, always other words."""
    return post(f"x{number}", AT + number / 2, ["张三"], author=f"ring{number // 5}")


def viral(number: int) -> Post:
    """One post that everybody passes on."""
    return post(f"x{number}", AT + number / 2, ["张三"], root_id="root", repost_of="root")


def people(number: int) -> Post:
    """Everybody with own words."""
    return post(f"x{number}", AT + number / 2, ["张三"])


def flips(written: Callable[[int], Post], count: int = 100, **ways: Any) -> list[Flip]:
    posts = sorted([*news(600), *map(written, range(count))], key=lambda one: one.created_ms)
    # 张三 has a burst of its own in ``news``, which is left out.
    calm = [one for one in posts if not one.id.startswith("b")]
    found = run(log_of(calm, rules=RULES), **ways).flips.values()
    return [flip for flip in found if flip.entity == "PER/张三" and flip.state == "firing"]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (people, [("burst", "organic"), ("many", "organic")]),
        (flood, [("many", "single_source"), ("ring", "single_source")]),
        (ring, [("burst", "coordinated"), ("many", "coordinated"), ("ring", "coordinated")]),
        (ring_of_many_words, [("burst", "coordinated"), ("many", "coordinated"), ("ring", "coordinated")]),
        (viral, [("burst", "single_source"), ("many", "single_source"), ("ring", "single_source")]),
    ],
)
def test_a_burst_says_what_it_is_made_of(written: Callable[[int], Post], expected: list[tuple[str, str]]) -> None:
    found = flips(written)
    assert sorted((flip.rule_id, flip.window.origin) for flip in found if flip.window) == expected
    assert found == sorted(flips(written, partitions=4), key=found.index)


def test_what_is_usual_for_a_name_is_looked_at_where_it_is_reported() -> None:
    """A threshold reports windows in which nothing stands out, and of which the test did not ask for copies."""
    text = pack({simhash(COPIED): 9}, 1)
    state = TrendState(0, bins={0: ClosedBin(9, 0, 0, 0, 0, 0, {n: 1 for n in range(9)}, 9, 0, texts=text)})
    frame = WindowFrame(300_000, 0, 0, 1.0, 1.0, 50.0, 0.9, True)
    found = window_score(state, Scored(frame, 9, 0, 0, 9.0, 9.0, 0.3, tested=9), CoreSettings())
    assert (found.origin, found.copied) == ("coordinated", 9)


@pytest.mark.parametrize(("posts_before", "expected"), [(0, "organic"), (4, "coordinated")])
def test_five_minutes_are_looked_at_together_with_the_hour(posts_before: int, expected: str) -> None:
    """Five accounts with five texts; the same texts were posted before, if anything was."""
    texts = [simhash(f"{number}{random.Random(number).random()}今天说的是别的事情") for number in range(5)]
    width, own = 300_000, pack(dict.fromkeys(texts, 1), 5)

    def closed(count: int, place: int) -> ClosedBin:
        authors = {5 * place + number: 1 for number in range(count)}
        marks = own if count == 5 else pack({texts[place % 5]: count}, 1)
        return ClosedBin(count, 0, 0, 0, 0, 0, authors, count, 0, texts=marks)

    bins = {place * width: closed(posts_before, place) for place in range(11) if posts_before}
    state = TrendState(0, bins={**bins, 11 * width: closed(5, 11)})
    frame = WindowFrame(width, 11 * width, 0, 1.0, 1.0, 50.0, 0.9, True)
    found = window_score(state, Scored(frame, 5, 0, 0, 0.5, 0.5, 0.3, tested=5), CoreSettings())
    assert (found.origin, found.mentions, found.copied) == (expected, 5, 0)


def test_the_reason_gives_the_numbers() -> None:
    flip = next(flip for flip in flips(ring) if flip.rule_id == "ring")
    assert flip.window is not None
    assert flip.window.copied == flip.window.mentions
    assert flip.window.observed < 5 <= flip.window.authors, "ten copies count like three posts"
    assert flip.reason.endswith(f"reposts of one post, {flip.window.copied} copies")


def test_clusters_of_near_duplicates() -> None:
    texts = [simhash(f"{COPIED}{tail}") for tail in "一二三"] + [simhash("今天天气不错我们去爬山吧")]
    assert cluster_sizes([text % 2**64 for text in texts], [2, 2, 2, 1]) == [6, 1]
    assert cluster_sizes([], []) == []


def test_the_most_frequent_are_kept_and_a_late_one_is_added() -> None:
    assert pack({}, 5) == b""
    assert pack({7: 1, -1: 3, 9: 2}, 2) == pack({-1: 3, 9: 2}, 5)
    assert added(pack({-1: 3, 9: 2}, 5), -1) == pack({-1: 4, 9: 2}, 5)
    assert added(b"", 4) == pack({4: 1}, 1)


@given(st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1), st.integers(1, 9)), max_size=30), st.randoms())
def test_copies_do_not_depend_on_order_and_support_is_at_most_all(
    parts: list[tuple[int, int]], chance: random.Random
) -> None:
    tally = Tally()
    tally.mentions = sum(count for _, count in parts) + 3
    every = [pack({text: count}, 1) for text, count in parts]
    found = copies(every, every, tally.snapshot())
    chance.shuffle(every)
    assert copies(every, every, tally.snapshot()) == found
    assert found.support <= tally.mentions
    assert found.copied <= tally.mentions


def test_little_coverage_is_told_first() -> None:
    tally = Tally()
    tally.add({1: 10}, 0, 1)
    tally.mentions = 10
    assert origin(tally.snapshot(), Copies(10, 0, 0), 0.5, 0.9) == "coverage"
    assert origin(tally.snapshot(), Copies(10, 0, 0), 1.0, 0.9) == "single_source"
