"""A deletion in both indexes: posts, authors, what alerts show, dead letters; and what it says there was."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from deploy.services.elastic import ElasticNode
from stream.contract.deletion import Deletion
from stream.contract.ports import Erased
from stream.contract.records import Flip, Observation, Reject, replace
from tests.index.corpus import MARCH, document, flip, picture
from tests.index.elastic_store import ElasticStore
from tests.index.test_sqlite import SqliteStore

MARKED: Final = "zqzq"
Store = SqliteStore | ElasticStore


@pytest.fixture(params=["sqlite", "elastic"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "sqlite":
        yield SqliteStore(tmp_path / "index.db")
        return
    node: ElasticNode = request.getfixturevalue("elastic")
    made = ElasticStore(node)
    yield made
    made.close()


def shown(incident: str, **posts: str) -> Flip:
    """An alert that shows posts, id → author."""
    told = flip(incident, 0, "firing", at_ms=MARCH)
    evidence = tuple(
        replace(told.evidence[0], post_id=post, author=author, excerpt=MARKED) for post, author in posts.items()
    )
    made: Flip = replace(told, evidence=evidence)
    return made


def letter(raw: bytes, **changes: Any) -> Reject:
    return Reject(**{"source": "s", "reason": "bad_json", "detail": "d", "raw": raw, "place": "line 1", **changes})


def fill(store: Store) -> None:
    store.writer.documents(
        [
            document("mine1", f"{MARKED} 上海", "LOC/上海", author="u:me", pictures=(picture(),)),
            document("mine2", f"{MARKED} 上海", at_ms=MARCH + 40 * 86_400_000, author="u:me"),
            document("yours", "上海", "LOC/上海", author="u:you"),
        ]
    )
    store.writer.flips([shown("i1", mine1="u:me", yours="u:you"), shown("i2", expired="u:me"), shown("i3", yours="u")])
    store.writer.rejects([letter(b'{"uid": 1669879400}'), letter(b'{"id": "mine2"}'), letter(b"{}")])
    store.writer.notes([Observation(source="s", post_id=one, observed_ms=MARCH) for one in ("mine2", "yours")])
    store.settle()


def evidence(store: Store, incident: str) -> list[tuple[str, str, str]]:
    return [(one.post_id, one.author, one.excerpt) for one in store.reader.flips_of(incident)[0].evidence]


def test_an_author_goes_from_everywhere(store: Store) -> None:
    fill(store)
    wanted = Deletion(authors=frozenset({"u:me"}), words=frozenset({"1669879400"}))
    expected = Erased(2, 2, 2, 1, frozenset({"mine1", "mine2", "expired"}))
    assert counted(store, wanted) == expected
    assert store.writer.erase(wanted) == expected
    store.settle()
    assert store.reader.search(MARKED)["total"] == 0 and store.reader.search("")["total"] == 1
    assert store.reader.picture(picture().sha256) is None
    assert evidence(store, "i1") == [("", "", ""), ("yours", "u:you", MARKED)]
    assert evidence(store, "i2") == [("", "", "")]
    assert evidence(store, "i3") == [("yours", "u", MARKED)]
    assert [one.raw for part in store.reader.rejects_for_replay() for one in part] == [b"{}"]
    assert [one.post_id for one in store.reader.notes("observation") if isinstance(one, Observation)] == ["yours"]
    assert store.writer.erase(wanted) == Erased(), "it may be made again"


def test_of_a_post_nothing_else_goes(store: Store) -> None:
    fill(store)
    wanted = Deletion(posts=frozenset({"mine1", "never"}))
    assert store.writer.erase(wanted) == Erased(1, 1, 0, 0, wanted.posts)
    store.settle()
    assert store.reader.search(MARKED)["total"] == 1
    assert evidence(store, "i1")[0] == ("", "", "") and evidence(store, "i2") == [("expired", "u:me", MARKED)]


def counted(store: Store, wanted: Deletion) -> Erased:
    if isinstance(store, ElasticStore):
        return store.writer.trace(wanted)
    from index.sqlite_erasure import traces

    return traces(store.connection, wanted)


def test_what_is_deleted_leaves_no_word_in_the_full_text_index(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "index.db")
    fill(store)

    def words() -> set[str]:
        store.connection.execute("CREATE VIRTUAL TABLE temp.words USING fts5vocab('main', 'posts_text', 'row')")
        found = {term for (term,) in store.connection.execute("SELECT term FROM temp.words")}
        store.connection.execute("DROP TABLE temp.words")
        return found

    assert MARKED in words()
    store.writer.erase(Deletion(authors=frozenset({"u:me"})))
    assert MARKED not in words() and any("上" in word for word in words())

