"""Batches told anew: as with these names from the beginning, as far as the posts are stored."""

from __future__ import annotations

from collections.abc import Sequence

from stream.backtest.replay import Replay
from stream.backtest.retold import Found, Retelling, as_stored, kept, seen_of
from stream.contract.ports import TagInput
from stream.contract.records import Batch, Control, Document, Picture, replace
from stream.core.entities import Aliases
from tests.backtest.test_replay import LOG, encoded, live, replayed
from tests.core.harness import QUICK, t2s, tag

MERGED = Aliases(version=3, names={"PER/名1": "PER/张三", "PER/名2": "PER/张三"})


def retelling(aliases: Aliases) -> Retelling:
    return Retelling(aliases, as_stored, t2s=t2s, settings=QUICK)


def aliases_control(aliases: Aliases) -> Control:
    return Control(topic="aliases", version=aliases.version, payload=aliases.to_payload())


def test_told_anew_with_the_same_names_nothing_changes() -> None:
    runtime, expected = live(LOG)
    told = retelling(Aliases())
    again = told.told(runtime.batches[0], runtime.out.documents)
    assert again == runtime.batches[0]
    assert encoded(replayed(Replay(QUICK), [again])) == expected
    assert told.counts["gone"] == told.counts["pictures_gone"] == 0


def test_other_aliases_give_what_a_live_run_with_them_had_given() -> None:
    """Both ways: names that come together, and names that part again."""
    apart, _ = live(LOG)
    together, expected = live([aliases_control(MERGED), *LOG])
    found = retelling(MERGED).told(apart.batches[0], apart.out.documents)
    assert [one.entity for batch in found for one in batch.sightings] == [
        one.entity for batch in together.batches[0] for one in batch.sightings
    ]
    assert states(replayed(Replay(QUICK), [found])) == states(together.out.flips.values())
    assert expected
    back = retelling(Aliases()).told(together.batches[0], together.out.documents)
    assert states(replayed(Replay(QUICK), [back])) == states(apart.out.flips.values())


def states(flips: object) -> list[tuple[str, str, str, int]]:
    return sorted((one.rule_id, one.entity, one.state, one.at_ms) for one in flips)  # type: ignore[attr-defined]


def test_another_model_finds_other_names() -> None:
    runtime, _ = live(LOG)

    def blind(documents: Sequence[Document]) -> Found:
        return Found([[one for one in tag(each.post.text) or [] if each.post.id[0] == "b"] for each in documents], "m2")

    told = Retelling(Aliases(), blind, t2s=t2s, settings=QUICK).told(runtime.batches[0], runtime.out.documents)
    assert {one.post_id[0] for batch in told for one in batch.sightings} == {"b"}
    assert [batch.posts for batch in told] == [batch.posts for batch in runtime.batches[0]]
    assert [batch.heard for batch in told] == [batch.heard for batch in runtime.batches[0]]
    assert {batch.model_version for batch in told} == {"m2"}, "also where a batch has no posts"


def test_posts_that_are_gone_count_as_posts_and_mention_nothing() -> None:
    runtime, _ = live(LOG)
    stored = {name: one for name, one in runtime.out.documents.items() if name != "b3"}
    told = retelling(Aliases())
    found = told.told(runtime.batches[0], stored)
    assert told.counts["gone"] == 1
    assert sightings(found) == [one for one in sightings(runtime.batches[0]) if one[1] != "b3"]
    assert sum(len(batch.posts) for batch in found) == sum(len(batch.posts) for batch in runtime.batches[0])


def sightings(batches: Sequence[Batch]) -> list[tuple[str, str]]:
    return [(one.entity, one.post_id) for batch in batches for one in batch.sightings]


def test_a_tagger_sees_the_pictures_that_are_kept_and_the_others_are_counted() -> None:
    runtime, _ = live(LOG)
    document = runtime.out.documents["b3"]
    there, away = Picture(id="1", sha256="a", jpeg=b"jpeg"), Picture(id="2", sha256="b")
    both = replace(document, post=replace(document.post, pictures=(there, away)))
    assert seen_of(both) == TagInput(document.post.text, (there,))
    none = replace(document, post=replace(document.post, pictures=(away,)))
    other = replace(both, post=replace(both.post, id="b4"))
    stored = {**runtime.out.documents, "b3": none, "b4": other}
    read = Retelling(Aliases(), lambda documents: Found([[] for _ in documents], "m2"), t2s=t2s, settings=QUICK)
    read.told(runtime.batches[0], stored)
    assert read.counts["pictures_gone"] == 1
    named = retelling(Aliases())
    named.told(runtime.batches[0], stored)
    assert named.counts["pictures_gone"] == 0, "nothing is read again for names"


def test_kept_batches_lose_what_deleted_posts_mentioned() -> None:
    runtime, _ = live(LOG)
    ids = {post_id for _, post_id in sightings(runtime.batches[0])}
    found = [kept(batch, ids - {"b3", "b4"}) for batch in runtime.batches[0]]
    assert set().union(*(gone for _, gone in found)) == {"b3", "b4"}
    assert sightings([batch for batch, _ in found]) == [
        one for one in sightings(runtime.batches[0]) if one[1] not in ("b3", "b4")
    ]
    same = [kept(batch, ids)[0] for batch in runtime.batches[0]]
    assert all(one is other for one, other in zip(same, runtime.batches[0], strict=True))
