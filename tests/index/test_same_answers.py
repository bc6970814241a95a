"""Random posts and random questions: SQLite and Elasticsearch give the same answers, to the last field."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any, Final, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deploy.services.elastic import ElasticNode
from index.incidents import incident
from index.query import Filters, QueryError
from index.reading import Order, Reader
from stream.contract.records import Document, Flip, replace
from tests.index.corpus import HOUR, MARCH, document, flip, picture, point
from tests.index.elastic_store import ElasticStore
from tests.index.serving import ledger
from tests.index.test_sqlite import SqliteStore

WORDS: Final = (
    "上海", "海上", "北京", "演唱会", "周杰伦", "iPhone 13", "ＩＰＨＯＮＥ", "13", "🎤", "“你好”", "café", "ß",
    "臺灣", "台湾", "-", "a_b", "C++", "http://t.cn/A6x", "@某人", "#话题#", "x" * 60, "١٢٣", "한국", "\u200b零",
    "e\u0301", "。", "OR", "NOT",
)  # fmt: skip
ENTITIES: Final = (
    "LOC/上海", "LOC/北京", "PER/周杰伦", "PER/上海", "ORG/café", "MISC/iphone 13", "WORK/三体", "LOC/臺灣",
)  # fmt: skip
TIMES: Final = (MARCH - 1, MARCH, MARCH + 1, MARCH + HOUR, MARCH + 31 * 24 * HOUR, 0, 1_640_995_200_000)
POSTS: Final = 120


def corpus(draw: random.Random) -> list[Document]:
    """Posts of words from ``WORDS``, some of them edited, some of the same millisecond."""
    made = []
    for number in range(POSTS):
        words = draw.choices(WORDS, k=draw.randint(0, 8))
        names = draw.sample(ENTITIES, draw.randint(0, 3))
        text = draw.choice(["", " "]).join([*words, *(name.partition("/")[2] for name in names)])
        changes: dict[str, Any] = {"pictures": (picture(),)} if draw.random() < 0.2 else {}
        made.append(
            document(
                f"p{number % 100}", text, *names, at_ms=draw.choice(TIMES), author=draw.choice(["a1", "a2", "甲"]),
                source=draw.choice(["demo", "weibo:user:1", "Ｄemo"]), edit_version=number // 100, **changes,
            )
        )  # fmt: skip
    return made


def shown(incident_id: str, *posts: Document, at_ms: int) -> Flip:
    """An alert that shows ``posts``."""
    told = flip(incident_id, 0, "firing", at_ms=at_ms)
    evidence = (replace(told.evidence[0], post_id=one.post.id, created_ms=one.post.created_ms) for one in posts)
    made: Flip = replace(told, evidence=tuple(evidence))
    return made


SEEDS: Final = [7, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(100, 106))]


@pytest.fixture(scope="module", params=SEEDS)
def both(
    request: pytest.FixtureRequest, elastic: ElasticNode, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Reader, Reader]]:
    """(SQLite, Elasticsearch) with the same records, written in different orders and batches."""
    draw = random.Random(request.param)
    posts = corpus(draw)
    points = [point(name, at) for name in ENTITIES for at in TIMES]
    flips = [shown(f"i{number}", *draw.sample(posts, 4), at_ms=at) for number, at in enumerate(TIMES)]
    one, other = SqliteStore(tmp_path_factory.mktemp("same") / "index.db"), ElasticStore(elastic)
    for store in (one, other):
        shuffled = draw.sample(posts, len(posts))
        for start in range(0, len(shuffled), 50):
            store.writer.documents(shuffled[start : start + 50])
        store.writer.points(points)
        store.writer.notes(ledger())
        store.writer.flips(flips)
        store.settle()
    yield one.reader, other.reader
    one.close()
    other.close()


FIELDS: Final = ("entity:", "type:", "source:", "has:", "since:", "until:", "ENTITY：", "")
VALUES: Final = (
    *WORDS, *ENTITIES, "PER", "per", "LOC", "work", "demo", "Ｄemo", "image", "2022-03-01", "2022-03-01T08:00+08:00",
    "1646092800000", '"周杰伦 上海"', '"13 iPhone"', "“上海 海上”",
)  # fmt: skip
SIGNS: Final = ("", "", "", "-")
USUAL: Final = (
    "上海", "北京", "演唱会", "周杰伦", "13", "iphone", "cafe\u0301", "台湾", "“你好”", "entity:上海",
    "entity:LOC/北京", "entity:周杰伦", "type:LOC", "type:per", "source:demo", "has:image", "since:2022-03-01",
    "until:2022-03-01T08:00",
)  # fmt: skip
ODD: Final = st.builds("{}{}".format, st.sampled_from(FIELDS), st.sampled_from(VALUES))
"""Of fields and values that mostly do not belong together."""
TERM: Final = st.builds("{}{}".format, st.sampled_from(SIGNS), st.sampled_from(USUAL) | st.sampled_from(USUAL) | ODD)
QUERIES: Final = st.one_of(
    st.lists(TERM, max_size=4).map(" ".join),
    st.lists(TERM, min_size=2, max_size=3).map(" OR ".join),
    st.text("上海北京 :-\"“”OR*?~^()[]{}/\\'", max_size=12),
)
NEAR: Final = st.builds(lambda at, by: max(0, at + by), st.sampled_from(TIMES), st.integers(-2, 2))
MOMENTS: Final = st.none() | NEAR
FILTERS: Final = st.builds(
    Filters, type=st.none() | st.sampled_from(["PER", "loc", "X"]), entity=st.none() | st.sampled_from(ENTITIES),
    since_ms=MOMENTS, until_ms=MOMENTS, source=st.none() | st.sampled_from(["demo", "Ｄemo"]),
    has_image=st.none() | st.booleans(),
)  # fmt: skip
OFTEN: Final = settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def told(reader: Reader, query: str, filters: Filters, limit: int, cursor: str | None) -> Any:
    """The answer, or what is wrong with the question."""
    try:
        return reader.search(query, filters, limit, cursor)
    except QueryError as error:
        return error.message, error.position


@given(query=QUERIES, filters=st.just(Filters()) | FILTERS, limit=st.sampled_from([1, 3, 7, 50]))
@OFTEN
def test_searches_page_by_page(both: tuple[Reader, Reader], query: str, filters: Filters, limit: int) -> None:
    """Hits, totals, facets, highlights, and the cursors themselves."""
    cursor: str | None = None
    for _ in range(4):
        one, other = (told(reader, query, filters, limit, cursor) for reader in both)
        assert one == other
        cursor = one["next"] if isinstance(one, dict) else None
        if cursor is None:
            return


@given(key=st.sampled_from([*ENTITIES, *WORDS]), since_ms=MOMENTS, until_ms=MOMENTS)
@OFTEN
def test_profiles(both: tuple[Reader, Reader], key: str, since_ms: int | None, until_ms: int | None) -> None:
    one, other = (reader.entity(key, since_ms, until_ms) for reader in both)
    assert one == other


@given(
    since_ms=MOMENTS, until_ms=MOMENTS, type=st.none() | st.sampled_from(["PER", "LOC", "WORK"]),
    limit=st.sampled_from([1, 5, 20]), order=st.sampled_from(get_args(Order)),
)  # fmt: skip
@OFTEN
def test_trends(both: tuple[Reader, Reader], **asked: Any) -> None:
    one, other = (reader.trends(**asked) for reader in both)
    assert one == other


@given(since_ms=MOMENTS, until_ms=MOMENTS, state=st.none() | st.sampled_from(["firing", "resolved"]))
@OFTEN
def test_alerts(both: tuple[Reader, Reader], **asked: Any) -> None:
    one, other = (reader.alerts(**asked) for reader in both)
    assert one == other


@pytest.mark.parametrize("name", [*(f"i{number}" for number in range(len(TIMES))), "i1-0", "none"])
def test_incidents(both: tuple[Reader, Reader], name: str) -> None:
    one, other = (incident(reader, name) for reader in both)
    assert one == other
    assert (one is None) == (name == "none")


@given(entity=st.sampled_from([*ENTITIES, "LOC/无"]), since_ms=NEAR, length=st.integers(0, 40 * 24 * HOUR),
       count_max=st.sampled_from([1, 3, 50]))  # fmt: skip
@OFTEN
def test_the_first_posts_and_the_points_of_an_entity(
    both: tuple[Reader, Reader], entity: str, since_ms: int, length: int, count_max: int
) -> None:
    span = (entity, since_ms, since_ms + length)
    one, other = ((reader.first_documents(*span, count_max), reader.points_of(*span)) for reader in both)
    assert one == other
