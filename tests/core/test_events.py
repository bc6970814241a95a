"""Events by samples of posts, against the posts themselves."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stream.core import sample
from stream.core.events import Event, Events, Fresh, gathered

hashes = st.integers(0, 2**64 - 1)


def of_bins(bins: list[set[int]]) -> bytes:
    packed = []
    for posts in bins:
        kept: list[int] = []
        for one in posts:
            sample.add(kept, one)
        packed.append(sample.pack(kept))
    return sample.joined(packed)


@given(st.lists(hashes, max_size=200, unique=True), st.randoms())
def test_a_bin_keeps_the_least_in_whatever_order(posts: list[int], chance: object) -> None:
    kept: list[int] = []
    for one in posts:
        sample.add(kept, one)
    assert kept == sorted(posts)[: sample.PER_BIN]


def test_what_two_names_share_is_found_in_their_samples() -> None:
    draw = np.random.default_rng(3)
    for of_one, of_other, both in ((40, 60, 0), (300, 300, 200), (5000, 1500, 1400), (30, 60, 30), (9, 9, 9)):
        every = draw.integers(0, 2**64, of_one + of_other - both, dtype=np.uint64).tolist()
        one, other = every[:of_one], every[of_one - both :]
        parts = [of_bins([set(part) for part in np.array_split(np.array(posts, dtype=np.uint64), 3)])
                 for posts in (one, other)]  # fmt: skip
        common, least = sample.shared(*parts)
        assert abs(common / max(least, 1) - both / min(of_one, of_other)) < 0.35
        assert (common == 0) == (both == 0)
    assert sample.shared(b"", of_bins([{1, 2}])) == (0, 0)


def posts(first: int, count: int) -> bytes:
    return sample.pack(sorted(range(first, first + count)))


def fresh(entity: str, part: bytes, lift: float = 2.0) -> Fresh:
    return Fresh(entity, f"i-{entity}", part, (lift, 5000))


def test_who_stands_out_most_leads_and_the_order_does_not_matter() -> None:
    given = [fresh("a", posts(0, 10)), fresh("b", posts(5, 10), 3.0), fresh("c", posts(11, 10)), fresh("d", b"")]
    after, placed = gathered(Events(), given)
    assert gathered(Events(), given[::-1]) == (after, placed)
    assert placed == {"a": "i-b", "b": "i-b", "c": "i-b", "d": "i-d"}
    assert list(after.events[0].members) == ["b", "a", "c"], "c has no post with a, but both have some with b"


def test_a_few_common_posts_are_no_event() -> None:
    _, placed = gathered(Events(), [fresh("a", posts(0, 20)), fresh("b", posts(16, 20)), fresh("c", posts(18, 2))])
    assert len(set(placed.values())) == 3


def test_posts_that_mention_everybody_link_everybody_in_time() -> None:
    names = [f"n{number:04}" for number in range(3000)]
    _, placed = gathered(Events(), [fresh(name, posts(0, 20)) for name in names])
    assert set(placed.values()) == {"i-n0000"}, "nine million pairs would take minutes"


def test_an_event_ends_with_its_members() -> None:
    before = Events((Event("e", {"a": posts(0, 9)}), Event("f", {"b": posts(50, 9)})))
    assert before.still({"b"}, {"b": posts(60, 9)}) == Events((Event("f", {"b": posts(60, 9)}),))
    after, placed = gathered(before.still({"a", "b"}, {}), [fresh("c", posts(3, 9))])
    assert placed == {"c": "e"} and list(after.events[0].members) == ["a", "c"]
    assert [event.id for event in after.events] == ["e", "f"]
    assert list(after.still({"c"}, {}).events[0].members) == ["c"], "who stopped is in it no more"
