"""Shown counts by the rows of an audit: from posts, and from trend points where posts are gone."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from stream.bias.audit import Audit, Cell
from stream.bias.correction import Corrections
from stream.bias.counted import Counted, Shown
from stream.bias.forms import Forming
from stream.bias.growth import Curve
from stream.bias.posts import Gathering, Posts
from stream.bias.strata import Stratum
from stream.contract.records import Document, TrendPoint
from tests.bias.streams import HOUR, START, document, look

UTC_OFFSET_MS = 28_800_000
EARLY, LATE = Cell(Stratum("PER", time="0-1"), 100, 90, 10), Cell(Stratum("PER", time="1-24"), 100, 60, 40)
PICTURE = Cell(Stratum("PER", image="yes"), 60, 30, 20)
POPULAR, OTHERS = Cell(Stratum("PER", "10+"), 90, 80, 9), Cell(Stratum("PER"), 100, 80, 20)
UNSHOWN = Cell(Stratum("PER", "unknown"), 60, 55, 5)


def columns(*documents: Document) -> Posts:
    gathering = Gathering()
    gathering.add(documents)
    gathering.see([look(7, 0, 1, 5_000)])
    return gathering.columns(UTC_OFFSET_MS, Curve(()))


def counted(*cells: Cell, posts: Posts | None = None, points: tuple[TrendPoint, ...] = ()) -> Counted:
    return Counted("PER/a", Corrections(Audit(cells)), posts or columns(), points, UTC_OFFSET_MS)


def point(bin_: int, mentions: int, image_only: int = 0) -> TrendPoint:
    return TrendPoint(
        entity="PER/a", type="PER", bin_ms=START + bin_ * 300_000, width_ms=300_000, mentions=mentions, authors=1,
        weighted=1.0, engagement=0, image_only=image_only,
    )  # fmt: skip


def test_posts_tell_their_own_strata() -> None:
    posts = columns(
        document(1, "PER/a", "LOC/b"), document(2, "PER/a", hour=1.5), document(3, "PER/other"),
        document(7, "PER/a", likes=0),
    )  # fmt: skip
    whole = Shown(START, START + 2 * HOUR, 3)
    assert counted(EARLY, LATE, posts=posts).cells(whole) == {EARLY: 2, LATE: 1}
    assert counted(POPULAR, OTHERS, posts=posts).cells(whole) == {POPULAR: 1, OTHERS: 2}
    assert counted(EARLY, LATE, posts=posts).cells(Shown(START + HOUR, START + 2 * HOUR, 1)) == {LATE: 1}


def test_points_tell_time_and_pictures_of_posts_that_are_gone() -> None:
    points = (point(0, 4, image_only=1), point(12, 5))
    whole = Shown(START, START + 2 * HOUR, 9)
    assert counted(EARLY, LATE, points=points).cells(whole) == {EARLY: 4, LATE: 5}
    assert counted(PICTURE, OTHERS, points=points).cells(whole) == {PICTURE: 1, OTHERS: 8}
    # Whether a post that is gone was popular, nobody knows; one of which counts were never shown is another thing.
    assert counted(POPULAR, UNSHOWN, points=points).cells(whole) == {None: 9}


def test_what_posts_tell_of_is_not_taken_from_points_again() -> None:
    posts = columns(document(1, "PER/a", hour=0.01, provenance="image"), document(2, "PER/a", hour=0.02))
    found = counted(PICTURE, OTHERS, posts=posts, points=(point(0, 5, image_only=2),))
    assert found.cells(Shown(START, START + HOUR, 5)) == {PICTURE: 2, OTHERS: 3}
    assert found.cells(Shown(START, START + HOUR, 1)) == {PICTURE: 1}


def test_of_a_mention_of_which_nothing_is_known_only_the_type_is() -> None:
    assert counted(EARLY, PICTURE).cells(Shown(START, START + HOUR, 7)) == {None: 7}
    assert counted(EARLY, OTHERS).cells(Shown(START, START + HOUR, 7)) == {OTHERS: 7}
    no = Cell(Stratum("PER", image="no"), 60, 30, 20)
    assert counted(no).cells(Shown(START, START + HOUR, 7)) == {None: 7}


def test_a_count_is_corrected_as_the_report_does() -> None:
    documents = [document(number, "PER/a", hour=number / 40, likes=number) for number in range(80)]
    posts, audit = columns(*documents), Audit((EARLY, LATE, POPULAR))
    report = Forming(posts, START, 2 * HOUR, 1, audit).of(posts.names.index("PER/a"))
    live = Counted("PER/a", Corrections(audit), posts, (), UTC_OFFSET_MS)
    assert report.corrected == live.corrected(Shown(START, START + 2 * HOUR, 80))
    assert report.corrected is not None and report.corrected.value is not None


@given(
    st.lists(st.integers(0, 120), max_size=20), st.lists(st.integers(0, 6), min_size=24, max_size=24),
    st.integers(0, 80), st.integers(0, 60), st.integers(1, 60),
)  # fmt: skip
def test_there_are_always_as_many_as_are_shown(
    minutes: list[int], counts: list[int], shown: int, first: int, length: int
) -> None:
    posts = columns(*(document(place, "PER/a", hour=minute / 60) for place, minute in enumerate(minutes)))
    points = tuple(point(place, count, count // 2) for place, count in enumerate(counts) if count)
    found = counted(EARLY, PICTURE, POPULAR, posts=posts, points=points)
    start_ms = START + first * 60_000
    cells: Counter[Cell | None] = found.cells(Shown(start_ms, start_ms + length * 60_000, shown))
    assert cells.total() == shown and min(cells.values(), default=0) >= 0
