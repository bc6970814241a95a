"""Raw keys, entity ids, aliases at their place in the log, near-duplicates, excerpts."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.contract import codec
from stream.contract.records import Control, Counts, Document, Envelope, Position, Post, replace
from stream.core import stages
from stream.core.dedupe import hamming, hash64, near_duplicates, simhash, simhashes
from stream.core.enrich import excerpt, popularity_weight
from stream.core.entities import AliasError, Aliases, merged, raw_key
from stream.core.settings import CoreSettings
from tests.core.harness import ending, post, run, t2s, tag

HASH_OF_ZHANGSAN = 0xA587772F57E1A78


@pytest.mark.parametrize(
    ("surface", "key"),
    [
        ("#冬奥会#", "冬奥会"),
        ("《長津湖》", "長津湖"),
        ("@央视新闻", "央视新闻"),
        ("ＩＰＨＯＮＥ　１３", "iphone 13"),
        ("“張東華”", "张东华"),
        ("New \n York", "new york"),
        ("C#语言", "c#语言"),
        ("##", "##"),
        ("zero\u200bwidth", "zerowidth"),
    ],
)
def test_raw_keys(surface: str, key: str) -> None:
    assert raw_key(surface, t2s=t2s) == key


@given(st.text(max_size=30))
def test_a_raw_key_is_its_own_key_and_never_empty(surface: str) -> None:
    key = raw_key(surface, t2s=t2s)
    assert raw_key(key, t2s=t2s) == key
    assert bool(key) == bool(surface)


def test_aliases_go_by_type_first_and_need_no_chains() -> None:
    aliases = merged({"LOC/上海": ["LOC/沪", "ORG/魔都", "*/上海市", "*/沪"], "ORG/沪": ["ORG/沪"]}, 3)
    assert aliases.canonical("LOC", "沪") == "LOC/上海"
    assert aliases.canonical("ORG", "魔都") == "LOC/上海"
    assert aliases.canonical("PER", "魔都") == "PER/魔都"
    assert aliases.canonical("MISC", "上海市") == "LOC/上海"
    assert Aliases.from_payload(aliases.to_payload()) == aliases
    with pytest.raises(AliasError):
        Aliases(1, {"LOC/a": "LOC/b", "LOC/b": "LOC/c"}).check()
    with pytest.raises(AliasError):
        Aliases.from_payload("[]")


def test_aliases_take_effect_at_their_place_in_the_log() -> None:
    def control(version: int, groups: dict[str, list[str]]) -> Control:
        return Control(topic="aliases", version=version, payload=merged(groups, version).to_payload())

    records = [
        post(1, 0, ["LOC/沪"]),
        control(1, {"LOC/上海": ["LOC/沪"]}),
        post(2, 1, ["LOC/沪", "LOC/上海"]),
        control(2, {}),
        post(3, 2, ["LOC/沪"]),
        ending(3),
    ]
    outcome = run(records)
    entities = {key: [one.entity for one in document.mentions] for key, document in outcome.documents.items()}
    assert entities == {"1": ["LOC/沪"], "2": ["LOC/上海", "LOC/上海"], "3": ["LOC/沪"]}
    assert [outcome.documents[key].mentions[0].alias_version for key in "123"] == [0, 1, 2]
    mentions = {entity: point.mentions for (entity, _), point in outcome.points.items()}
    assert mentions == {"LOC/沪": 2, "LOC/上海": 1}
    for seed in range(3):
        assert run(records, batch_max=2, seed=seed).facts() == outcome.facts()


def test_controls_that_nobody_can_read_become_rejects_and_change_nothing() -> None:
    broken = [Control(topic=topic, version=1, payload="{") for topic in ("rules", "aliases", "model")]
    outcome = run([*broken, post(1, 0, ["甲"]), ending(1)])
    assert [reject.reason for reject in outcome.rejects] == ["bad_record"] * 3
    assert len(outcome.points) == 1


def test_a_record_that_does_not_belong_into_the_log_is_a_dead_letter() -> None:
    strange = Document(post=post(7, 0, []), mentions=(), model_version="m", model_epoch=0)
    outcome = run([strange, post(1, 0, ["甲"]), ending(1)])
    assert [(reject.reason, codec.decode(reject.raw)) for reject in outcome.rejects] == [("bad_record", strange)]
    assert list(outcome.documents) == ["1"]


def test_a_model_switch_makes_newer_documents() -> None:
    switch = Control(topic="model", version=1, payload='{"epoch": 4}')
    outcome = run([post(1, 0, []), switch, post(2, 0, []), ending(1)])
    assert [outcome.documents[key].model_epoch for key in "12"] == [0, 4]


def test_a_mention_has_the_version_of_the_model_that_found_it() -> None:
    envelopes = [Envelope(Position("g", 0, 1), post(1, 0, ["甲", "乙"]))]
    first, second = tag(post(1, 0, ["甲", "乙"]).text) or []
    enriched = stages.enrich(
        envelopes, [[first, replace(second, model_version="english-1")]], stages.EnrichState(),
        model_version="m", partitions=1, t2s=t2s, settings=CoreSettings(),
    )  # fmt: skip
    assert [mention.model_version for mention in enriched.documents[0].mentions] == ["m", "english-1"]
    assert enriched.documents[0].model_version == "m"


def test_a_post_that_the_tagger_fails_on_is_kept_whole() -> None:
    outcome = run([post(1, 0, ["甲"], text="<甲> !!"), post(2, 1, ["甲"]), ending(2)])
    assert [reject.reason for reject in outcome.rejects] == ["tagger_failed"]
    assert outcome.rejects[0].raw
    assert list(outcome.documents) == ["2"]


def test_a_micro_batch_is_of_one_source_partition() -> None:
    mixed = [Envelope(Position("g", number, 1), post(number, 0, [])) for number in (0, 1)]
    with pytest.raises(ValueError, match="one source partition"):
        stages.plan(mixed, stages.EnrichState(), CoreSettings())


def test_every_partition_gets_a_batch_with_all_posts_and_each_sighting_goes_to_one() -> None:
    envelopes = [Envelope(Position("g", 0, n), post(n, n, [f"名{n}", "甲", "甲"])) for n in range(20)]
    planned = stages.plan(envelopes, stages.EnrichState(), CoreSettings())
    spans = [tag(post.text) for post in planned.inputs]
    enriched = stages.finish(planned, spans, model_version="m", partitions=4, t2s=t2s)
    assert [len(batch.posts) for batch in enriched.batches] == [20] * 4
    assert sum(len(batch.sightings) for batch in enriched.batches) == 40
    for number, batch in enumerate(enriched.batches):
        assert {stages.partition_of(one.entity, 4) for one in batch.sightings} <= {number}


# --- texts -------------------------------------------------------------------------------------------------------


def test_hashes_are_fixed() -> None:
    assert hash64("PER/张三") == HASH_OF_ZHANGSAN
    assert hash64("a", "b") != hash64("ab")
    assert simhash("") == simhash("！？ …") == 0
    assert simhashes(["上海", "", "周杰伦今天在上海开演唱会！", "ＡＢＣ，㈱①…＜\u0338", "上海" * 700]) == [
        -7776850088067675493, 0, -6914854724030048128, 6736319152017077830, -3293256913351868152,
    ]  # fmt: skip


@given(st.lists(st.text(max_size=40) | st.sampled_from(["上海" * 300, "", "＝\u0338"]), max_size=300))
def test_texts_hashed_together_do_not_touch_each_other(texts: list[str]) -> None:
    assert simhashes(texts) == [simhash(text) for text in texts]


@given(st.text(alphabet=string.printable + "中文微博热搜", max_size=300))
def test_simhashes_are_signed_64_bit_and_blind_to_case_and_marks(text: str) -> None:
    value = simhash(text)
    assert -(2**63) <= value < 2**63
    assert simhash(f" {text.upper()}！") == simhash(text.upper())
    assert hamming(value, ~value) == 64


def test_copies_are_near_and_others_are_far() -> None:
    text = "今天下午在上海体育馆举行的演唱会吸引了上万名歌迷，现场气氛十分热烈，歌手连唱三小时。" * 2
    other = "国家统计局公布了十月份居民消费价格指数，同比上涨百分之一点五，环比下降百分之零点一。" * 2
    assert near_duplicates(simhash(text), simhash(text + "！转发"))
    assert hamming(simhash(text), simhash(other)) > 12
    assert not near_duplicates(0, 0)


@given(st.text(max_size=300), st.integers(0, 300), st.integers(0, 12), st.integers(20, 100))
def test_an_excerpt_is_short_and_on_one_line(text: str, start: int, length: int, chars_max: int) -> None:
    start = min(start, len(text))
    found = excerpt(text, start, min(start + length, len(text)), chars_max)
    assert len(found) <= chars_max
    assert "\n" not in found


def test_an_excerpt_holds_the_mention() -> None:
    text = "前" * 200 + "张三" + "后" * 200
    assert "张三" in excerpt(text, 200, 202, 40)


def test_weights_saturate() -> None:
    assert popularity_weight(Counts()) == 65_536
    assert popularity_weight(Counts(reposts=10**9, likes=10**9)) == 2 * 65_536
    assert popularity_weight(Counts(likes=3)) < popularity_weight(Counts(reposts=3))


def test_posts_may_be_empty() -> None:
    empty = Post(id="1", source="s", author="a", created_ms=1_700_000_000_000, observed_ms=1, text="", root_id="1")
    assert run([empty, ending(0)]).documents["1"].mentions == ()
