"""How the default model is pretrained and trained: what is made up, hidden and held out."""

from __future__ import annotations

import itertools
import random
from collections import Counter

import msgspec
import numpy as np
import pytest
import torch

from nlp.datasets import Example
from nlp.encode import CAPITAL, DIGIT, HAN, SHAPES, UNKNOWN, Encoder, raw_codes, shapes_of
from nlp.labels import bio_labels, chunks, may_follow
from nlp.lexicon import WIDTH, Lexicon, Word, step_of
from nlp.models.text import TextConfig
from nlp.towers import dictionary
from nlp.towers.examples import (
    NameDrawer,
    batches,
    held_out,
    hidden_places,
    surfaces,
    vocabulary_of,
    with_other_names,
)
from nlp.towers.pretraining import PretrainingModel, PretrainingTask, Writer, between, parts
from nlp.towers.settings import NetworkSettings, PretrainingSettings, TowersSettings
from nlp.towers.shift import SHIFTS, STEP, best_shift, shifted
from nlp.towers.task import TowersModel, inputs_of
from nlp.training.config import DataFile, DataSettings

FILES = (DataFile(path="posts.txt"),)
SETTINGS = TowersSettings(
    family="towers",
    data=DataSettings(train=FILES, dev=FILES),
    network=NetworkSettings(bigrams=64, ngrams=256, hidden=16, context=8),
)
WORDS = {
    "王菲": Word("nr", step_of(300)), "拉萨": Word("ns", step_of(900)), "清华大学": Word("nt", step_of(40)),
    "桌子": Word("n", step_of(700)), "看见": Word("v", step_of(800)), "的": Word("uj", step_of(300_000)),
}  # fmt: skip


def example(number: int, *parts: tuple[str, str]) -> Example:
    tokens: list[str] = []
    tags: list[str] = []
    for text, type_ in parts:
        tokens += text
        tags += ["O"] * len(text) if not type_ else [f"B-{type_}"] + [f"I-{type_}"] * (len(text) - 1)
    return Example(str(number), tuple(tokens), tuple(tags))


POSTS = [
    example(1, ("周杰伦", "PER"), ("在", ""), ("上海", "LOC"), ("唱歌", "")),
    example(2, ("上海", "LOC"), ("下雨了", "")),
    example(3, ("我见到", ""), ("周杰伦", "PER"), ("和", ""), ("周杰伦", "PER"), ("的", ""), ("华为", "ORG")),
]
LABELS = bio_labels(tag for post in POSTS for tag in post.tags)


DRAWER = NameDrawer(surfaces(POSTS), dictionary.names(WORDS, ("PER", "LOC")))


def small_model() -> tuple[TowersModel, Encoder]:
    encoder = Encoder(vocabulary_of(POSTS, LABELS, SETTINGS, ()), Lexicon(WORDS))
    sizes = SETTINGS.network
    config = TextConfig(
        chars=len(encoder.vocabulary.chars) + UNKNOWN + 1, bigrams=sizes.bigrams, ngrams=sizes.ngrams,
        names=encoder.name_features, words=WIDTH, shapes=SHAPES, labels=len(LABELS), hidden=16, context=8,
    )  # fmt: skip
    return TowersModel(config).eval(), encoder


def test_names_of_the_dictionary_by_type() -> None:
    names = dictionary.names(WORDS, ("PER", "LOC"))
    assert {type_: list(words) for type_, words in names.items()} == {"PER": ["王菲"], "LOC": ["拉萨"]}
    assert dictionary.names(WORDS, ("PER.NAM", "LOC"), {"PER": "PER.NAM"}).keys() == {"PER.NAM", "LOC"}


def test_the_dictionary_is_jiebas() -> None:
    words = dictionary.words()
    assert len(words) > 300_000
    assert words["上海"].tag == "ns"
    assert words["的"].step > words["周杰伦"].step


def test_other_names_stand_where_the_old_ones_stood_and_tags_fit() -> None:
    text, tags = with_other_names(POSTS[2], chunks(POSTS[2].char_tags()), DRAWER, random.Random(2))
    assert text == "我见到王菲和王菲的华为", "from the dictionary; from the posts where it has none of the type"
    found = [(text[c.start : c.end], c.type) for c in chunks(tags)]
    assert found == [("王菲", "PER"), ("王菲", "PER"), ("华为", "ORG")]
    assert len(text) == len(tags)


def test_made_up_sentences_have_valid_tags_of_known_types() -> None:
    writer = Writer(POSTS, WORDS, DRAWER, PretrainingSettings(sentences=8, masked=2))
    sentences, texts = writer.work(random.Random(4))
    assert (len(sentences), len(texts)) == (8, 2)
    assert set(texts) <= {post.text for post in POSTS}
    types: Counter[str] = Counter()
    for text, tags in sentences:
        assert len(text) == len(tags)
        assert all(may_follow(before, after) for before, after in itertools.pairwise(["O", *tags]))
        types.update(chunk.type for chunk in chunks(tags))
    assert set(types) == {"PER", "LOC", "ORG"}
    assert writer.work(random.Random(4)) == (sentences, texts)


def test_pieces_between_entities() -> None:
    assert between(POSTS[2].text, chunks(POSTS[2].char_tags())) == ["我见到"]


def test_a_name_that_one_post_alone_tells_is_hidden_from_it() -> None:
    vocabulary = vocabulary_of(POSTS, LABELS, SETTINGS, ["王"])
    assert "王" in vocabulary.chars
    assert "唱" not in vocabulary.chars, "it is there only once"
    encoder = Encoder(vocabulary, Lexicon(WORDS))
    first, second, third = held_out(POSTS, encoder, LABELS)
    assert first.names[:3].any() and first.names[4:6].any(), "both names stand in other posts, too"
    assert second.names[:2].any()
    assert not third.names[-2:].any(), "no other post tells that 华为 is a name"
    assert encoder.encode([POSTS[2].text]).names[0, -2:].any(), "but the gazetteer knows it"


def test_hidden_names_are_hidden_whole() -> None:
    tags = np.array([[1, 2, 2, 0, 3, 4, 0, 0]] * 400)
    hidden = hidden_places(tags, 0.0, 0.5, np.random.default_rng(1))
    assert (hidden[:, 0] == hidden[:, 1]).all() and (hidden[:, 1] == hidden[:, 2]).all()
    assert not hidden[:, [3, 6, 7]].any()
    assert hidden[:, 0].mean() == pytest.approx(0.5, abs=0.1)
    assert (hidden[:, 0] != hidden[:, 4]).any()


def test_every_post_is_in_one_batch() -> None:
    encoder = Encoder(vocabulary_of(POSTS, LABELS, SETTINGS, ()), Lexicon({}))
    held = held_out(POSTS, encoder, LABELS) * 20
    found = batches(held, 8, random.Random(1))
    assert sorted(one.text for batch in found for one in batch) == sorted(one.text for one in held)
    assert max(map(len, found)) == 8


def test_shapes_tell_what_folding_hides() -> None:
    found = shapes_of(raw_codes("看iPhone１３的"))
    assert found.shape == (10, SHAPES)
    assert np.flatnonzero(found[:, HAN]).tolist() == [0, 9]
    assert np.flatnonzero(found[:, CAPITAL]).tolist() == [2]
    assert found[7:9, DIGIT].all(), "full-width digits are digits"
    assert np.flatnonzero(found[:, 7]).tolist() == [1]
    assert np.flatnonzero(found[:, 8]).tolist() == [8]
    assert shapes_of(raw_codes("")).shape == (0, SHAPES)


def test_the_best_shift_is_in_the_middle_of_good_ones() -> None:
    lucky = 2.0

    def scores_at(shift: float) -> dict[str, dict[str, float]]:
        return {"micro": {"f1": 0.9 if shift == lucky else 0.8 - (shift - 0.6) ** 2}}

    shift, scores = best_shift(scores_at)
    assert shift == 0.6, "not the single value that sticks out"
    assert scores == scores_at(0.6)
    edge, _ = best_shift(lambda shift: {"micro": {"f1": shift}})
    assert edge == pytest.approx(SHIFTS[-1] - STEP), "the last one has one neighbour only"


def test_of_equal_shifts_none_is_taken() -> None:
    assert best_shift(lambda shift: {"micro": {"f1": 1.0}})[0] == 0.0


@pytest.mark.parametrize(
    ("part", "problem"),
    [
        ({"batch": 0}, "batch"),
        ({"seed": -1}, "seed"),
        ({"rate": -1.0}, "rate"),
        ({"name_hidden": 1.0}, "name_hidden"),
        ({"network": {"hidden": 0}}, "hidden"),
        ({"pretraining": {"steps": -5}}, "steps"),
        ({"pretraining": {"types": {"PERSON": "PER"}}}, "not PERSON"),
    ],
)
def test_settings_out_of_range_are_refused(part: dict[str, object], problem: str) -> None:
    plain = {"family": "towers", "data": {"train": [{"path": "a"}], "dev": [{"path": "b"}]}}
    assert msgspec.convert(plain, TowersSettings).batch == 16
    with pytest.raises(msgspec.ValidationError, match=problem):
        msgspec.convert({**plain, **part}, TowersSettings)


@pytest.mark.parametrize(("steps", "sizes"), [(6, [6]), (500, [500]), (750, [500, 250]), (3100, [500] * 6 + [100])])
def test_pretraining_takes_as_many_steps_as_asked(steps: int, sizes: list[int]) -> None:
    plan = PretrainingSettings(steps=steps, sentences=1, masked=0)
    model, encoder = small_model()
    writer = Writer(POSTS, WORDS, DRAWER, plan)
    task = PretrainingTask(PretrainingModel(model), encoder, writer, plan, LABELS, 1, lambda weights: {})
    assert [len(task.batches(epoch)) for epoch in range(1, parts(plan) + 1)] == sizes


def test_a_tag_that_continues_nothing_is_not_learned() -> None:
    orphan = Example("4", ("上", "海", "人"), ("I-LOC", "B-PER", "I-PER"))
    encoder = Encoder(vocabulary_of([*POSTS, orphan], LABELS, SETTINGS, ()), Lexicon({}))
    (held,) = held_out([orphan], encoder, LABELS)
    assert [LABELS[number] for number in held.labels] == ["O", "B-PER", "I-PER"]


def test_a_shift_is_taken_off_the_emissions_of_o_alone() -> None:
    torch.manual_seed(1)
    model, encoder = small_model()
    ngrams, seen = inputs_of(encoder.encode([post.text for post in POSTS]))
    with torch.no_grad():
        before = model.eval().network(ngrams=ngrams, **seen._asdict())
        weights = model.state_dict()
        kept = {name: value.clone() for name, value in weights.items()}
        changed = shifted(weights, 0.5)
        assert all(torch.equal(weights[name], value) for name, value in kept.items()), "the given ones stay"
        model.load_state_dict(changed)
        after = model.network(ngrams=ngrams, **seen._asdict())
    torch.testing.assert_close(before[..., 0] - after[..., 0], torch.full(before.shape[:2], 0.5))
    assert torch.equal(before[..., 1:], after[..., 1:])


def test_context_reaches_every_place_and_padding_none() -> None:
    torch.manual_seed(1)
    model, encoder = small_model()

    def emissions(*texts: str) -> torch.Tensor:
        ngrams, seen = inputs_of(encoder.encode(texts))
        with torch.no_grad():
            return torch.stack(model.network.each(ngrams, seen))

    far = "上海" + "。" * 60
    assert not torch.equal(emissions(far + "周杰伦")[:, 0, 0], emissions(far + "下雨了")[:, 0, 0])
    alone, beside = emissions("上海下雨了"), emissions("上海下雨了", far)
    torch.testing.assert_close(alone[:, 0], beside[:, 0, :5], atol=1e-6, rtol=0)


def test_a_loop_that_is_given_in_part_keeps_the_rest() -> None:
    plain = msgspec.to_builtins(SETTINGS)
    loop = msgspec.convert({**plain, "loop": {"average": 0.5}}, TowersSettings).loop
    usual = msgspec.convert({name: value for name, value in plain.items() if name != "loop"}, TowersSettings).loop
    assert (loop.average, loop.epochs) == (0.5, usual.epochs) and usual.average != 0.5
