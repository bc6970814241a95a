"""The forms of a trend: raw, by authors, by popularity, corrected."""

from __future__ import annotations

import math

import pytest

from stream.bias.audit import Audit, Cell
from stream.bias.forms import AUTHOR_MAX, Forming
from stream.bias.growth import Curve
from stream.bias.posts import Gathering, Posts
from stream.bias.strata import Stratum
from stream.contract.records import Counts
from stream.core.enrich import WEIGHT_UNIT, popularity_weight
from tests.bias.streams import HOUR, START, document, look


def columns() -> Posts:
    gathering = Gathering()
    gathering.add(
        [
            document(1, "PER/a", "PER/a", "LOC/b", author="u", likes=0),
            document(2, "PER/a", author="u", likes=500),
            document(3, "PER/a", author="v", likes=None, hour=1.5),
            document(4, "PER/a", hour=1.9, provenance="image", likes=50),
            *(document(10 + number, "PER/flood", author="w", likes=0) for number in range(100)),
            document(1, "PER/again"),
        ]
    )
    gathering.see([look(2, 0, 200, 5_000), look(999, 0, 1, 5), look(1, 0, 300, None)])
    return gathering.columns(28_800_000, Curve(()))


def forming(audit: Audit | None = None) -> Forming:
    return Forming(columns(), START, HOUR, 2, audit)


def test_sums_and_bins_are_those_of_the_definitions() -> None:
    posts = columns()
    found = forming().of(posts.names.index("PER/a"))
    assert (found.entity, found.type, found.mentions, found.corrected) == ("PER/a", "PER", 4, None)
    assert [one.mentions for one in found.series] == [2, 2]
    assert [one.start_ms for one in found.series] == [START, START + HOUR]
    assert found.series[0].authors == pytest.approx(1 + math.log(2)) and found.series[1].authors == 2
    weights = [popularity_weight(Counts(likes=likes)) / WEIGHT_UNIT for likes in (0, 500, 0, 50)]
    assert found.weighted == pytest.approx(sum(weights))
    assert found.series[0].weighted == pytest.approx(weights[0] + weights[1])


def test_a_flood_of_one_author_counts_little_by_authors() -> None:
    posts = columns()
    found = forming().of(posts.names.index("PER/flood"))
    assert (found.mentions, found.authors) == (100, AUTHOR_MAX)


def test_most_mentioned_first_and_by_type() -> None:
    posts = columns()
    made = forming()
    assert [posts.names[code] for code in made.most(9)] == ["PER/flood", "PER/a", "LOC/b"]
    assert [posts.names[code] for code in made.most(9, "LOC")] == ["LOC/b"]


def test_the_last_look_says_how_popular_a_post_is() -> None:
    posts = columns()
    assert posts.popularity[1] == 1_000 and posts.hour.tolist()[:4] == [0, 0, 1, 1]
    assert [posts.place(row).popularity for row in (0, 1, 2, 3)] == [0, 0, 1_000, None]
    assert posts.place(4).image_only and not posts.place(0).image_only
    assert not posts.young.any()


def test_counts_are_corrected_by_the_stratum_of_each_mention() -> None:
    strata = (Stratum("PER", "0"), Stratum("PER", "1+"), Stratum("PER", "unknown"), Stratum("PER", image="yes"))
    found, missed = (50_000, 90_000, 80_000, 60_000), (0, 10_000, 20_000, 5)
    cells = tuple(Cell(*row) for row in zip(strata, [100_000] * 4, found, missed, strict=True))
    posts = columns()
    made = forming(Audit(cells))
    flood = made.of(posts.names.index("PER/flood"))
    assert flood.corrected is not None and flood.corrected.value == pytest.approx(50, rel=0.01)
    assert flood.series[1].corrected is not None and flood.series[1].corrected.value == 0
    assert made.refusals == {"LOC": "the audit has no rows for LOC"}
    place = forming(Audit(cells)).of(posts.names.index("LOC/b"))
    assert place.corrected is not None and place.corrected.value is None and place.corrected.raw == 1
