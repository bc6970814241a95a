"""Records without what was deleted: what is said and by whom goes, what was counted stays."""

from __future__ import annotations

from typing import Any

import pytest

from stream.contract import codec, deletion
from stream.contract.deletion import Deletion
from stream.contract.records import Batch, Control, Heard, Observation, Post, Reach, Reject, Seen, Sighting, replace
from tests.notify.alerts import alert

GONE = Deletion(posts=frozenset({"p1"}), authors=frozenset({"u:a"}))


def post(**changes: Any) -> Post:
    fields = {
        "id": "p9", "source": "s", "author": "u:z", "created_ms": 1, "observed_ms": 1, "text": "t", "root_id": "p9"
    }  # fmt: skip
    return Post(**{**fields, **changes})


def sighting(post_id: str, author: str) -> Sighting:
    return Sighting(
        offset=1, entity="LOC/上海", type="LOC", surface="上海", post_id=post_id, root_id=post_id, author=author,
        author_known=True, created_ms=1, source="s", simhash=7, confidence=0.9, engagement=1, weight=65_536,
        via_repost=False, image_only=False, excerpt="words", together=(),
    )  # fmt: skip


def test_an_order_travels_without_the_words_of_dead_letters() -> None:
    order = deletion.control(replace(GONE, words=frozenset({"1669879400"})), 5)
    assert deletion.orders(order) and order.version == 5 and "1669879400" not in order.payload
    assert deletion.ordered(order) == GONE
    assert not deletion.orders(Control(topic="rules", version=1, payload=""))
    for broken in ("", "[]", '{"posts": 3}', "\ud800"):
        with pytest.raises(ValueError, match="no deletion"):
            deletion.ordered(Control(topic=deletion.TOPIC, version=1, payload=broken))


def test_a_batch_keeps_its_counts() -> None:
    order = Heard(3, deletion.control(GONE, 1))
    reach = Heard(2, Reach(source="s", through_ms=1))
    batch = Batch(
        generation="g", origin=0, first=0, last=3, posts=(Seen(1, 1, "s", "p1"),), heard=(reach, order),
        sightings=(sighting("p1", "u:z"), sighting("p2", "u:a"), sighting("p3", "u:z")),
    )  # fmt: skip
    left = deletion.batch_without(batch, GONE)
    assert left.posts == batch.posts and left.heard == (reach,)
    assert [(one.post_id, one.author, one.author_known, one.excerpt, one.simhash) for one in left.sightings] == [
        ("p1", "post:p1", False, "", 0),
        ("p2", "post:p2", False, "", 0),
        ("p3", "u:z", True, "words", 7),
    ]
    assert [one.weight for one in left.sightings] == [65_536] * 3
    assert deletion.batch_without(left, GONE) is left


def test_an_alert_is_blank_where_it_is_kept_and_shorter_where_it_is_told() -> None:
    shown = alert().evidence[0]
    flip = alert(evidence=tuple(replace(shown, post_id=f"p{n}", author=f"u:{n}") for n in range(3)))
    blank = deletion.blanked(flip, GONE)
    assert [(one.post_id, one.author, one.excerpt) for one in blank.evidence][1] == ("", "", "")
    assert len(blank.evidence) == 3 and blank.evidence[1].weight == shown.weight
    told = deletion.message_without(flip, GONE)
    assert [one.post_id for one in told.evidence] == ["p0", "p2"]
    others = Deletion(posts=frozenset({"p7"}))
    assert deletion.blanked(flip, others) is flip and deletion.message_without(flip, others) is flip


def test_a_quick_look_never_says_no_where_a_slow_one_says_yes() -> None:
    few = Deletion(posts=frozenset({"p1"}), authors=frozenset({"u:a"}))
    assert few.may_be_in(b"..p1..") and few.may_be_in(b"u:a") and not few.may_be_in(b"p2")
    many = Deletion(posts=frozenset(f"p{n}" for n in range(deletion.NAMES_LOOKED_FOR_MAX + 1)))
    assert many.may_be_in(b"p7") and many.may_be_in(b"another")


def test_records_of_the_log_are_known() -> None:
    assert deletion.concerns(post(id="p1"), GONE) and deletion.concerns(post(author="u:a"), GONE)
    assert deletion.concerns(Observation(source="s", post_id="p1", observed_ms=1), GONE)
    assert not deletion.concerns(post(), GONE) and not deletion.concerns(Reach(source="p1", through_ms=1), GONE)


@pytest.mark.parametrize(
    ("raw", "found"),
    [
        (b'{"id": "p1", "text": ', True),
        (b'{"id": "p12", "text": ', False),
        (b'{"uid": 1669879400}', True),
        (b'{"uid": 16698794001}', False),
        (codec.encode(post(id="p1")), True),
        (codec.encode(post(author="u:a")), True),
        (codec.encode(post()), False),
        (b"\xb1\x00u:a", True),
        (b"", False),
    ],
)
def test_dead_letters_are_looked_through(raw: bytes, found: bool) -> None:
    wanted = replace(GONE, words=frozenset({"1669879400"}))
    letter = Reject(source="s", reason="bad_json", detail="", raw=raw, place="line 3")
    assert deletion.letter_concerns(letter, wanted) is found
    assert deletion.letter_concerns(replace(letter, raw=b"", place="p1"), wanted)
    assert deletion.letter_concerns(replace(letter, raw=b"", detail="the tagger failed on post p1"), wanted)
