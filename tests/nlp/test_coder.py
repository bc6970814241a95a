"""Tokens of any text, their places, windows, labels and back to entities."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlp.labels import Chunk
from nlp.training.coder import (
    BEGIN,
    END,
    FIRST,
    REST,
    PieceCoder,
    PieceCoding,
    Split,
    TokenCoder,
    TokenCoding,
    TokenVocabulary,
    cut,
    forms_of,
    labels_of,
    load_coder,
    vocabulary_of,
    windows,
)
from nlp.training.decode import Decoder, Post

TEXTS = st.text(
    alphabet=st.one_of(st.characters(codec=None), st.sampled_from("上海北京Ab1 @#'’😀\ud800\u200d")), max_size=60
)
SPLITS = st.sampled_from(("char", "space", "word"))
BIO = ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")
UMT = ("PAD", "O", "B-LOC", "I-LOC", "B-PER", "I-PER", "X", "[CLS]", "[SEP]")


class Halves:
    """A tokenizer that cuts words in pieces of two characters, as WordPiece does; it has no characters of control."""

    cls_token_id, sep_token_id, unk_token_id = 101, 102, 100

    def tokenize(self, text: str) -> list[str]:
        kept = "".join(char for char in text if char.isprintable() and not char.isspace())
        kept.encode()  # as a tokenizer in Rust: no lone surrogates
        return [kept[start : start + 2] for start in range(0, len(kept), 2)]

    def convert_tokens_to_ids(self, tokens: list[str]) -> list[int]:
        return [200 + sum(map(ord, token)) % 1000 for token in tokens]

    def save_pretrained(self, folder: str) -> Any:
        Path(folder).mkdir()

    def __len__(self) -> int:
        return 1200


def piece_coder(split: Split = "word") -> PieceCoder:
    return PieceCoder(PieceCoding(split=split, tokens_max=16), Halves())


@given(TEXTS, SPLITS)
def test_tokens_are_in_order_apart_and_cover_all_but_white_space(text: str, split: Split) -> None:
    places = cut(text, split)
    ends = [0, *(end for _, end in places)]
    assert all(start >= before and start < end for before, (start, end) in zip(ends, places, strict=False))
    covered = {place for start, end in places for place in range(start, end)}
    left = {place for place in range(len(text)) if place not in covered}
    assert left == (set() if split == "char" else {place for place, char in enumerate(text) if char.isspace()})


@given(TEXTS, SPLITS)
def test_every_text_is_coded_by_both_coders(text: str, split: Split) -> None:
    coding = TokenCoding(split=split, chars=3)
    coder = TokenCoder(coding, vocabulary_of([text], coding))
    coded = coder.code(text)
    assert coded.chars is not None
    assert coded.chars.shape == (len(coded), 3)
    assert coded.ids.max(initial=0) < coder.sizes[0]
    assert coded.chars.max(initial=0) < coder.sizes[1]
    pieces = piece_coder(split).code(text)
    assert (pieces.roles[0], pieces.roles[-1]) == (BEGIN, END)
    firsts = pieces.roles == FIRST
    assert pieces.starts[firsts].tolist() == coded.starts.tolist(), "each word has one first piece"
    assert pieces.ends[firsts].tolist() == coded.ends.tolist()


@pytest.mark.parametrize("text", ["", " ", "😀👨‍👩‍👧‍👦周杰伦", "\ud800上海\udfff", "a" * 9000, "上" * 9000, "\x00"])
def test_hostile_texts(text: str) -> None:
    coding = TokenCoding(split="char")
    coder = TokenCoder(coding, vocabulary_of([text], coding))
    assert len(coder.code(text)) == len(text)
    assert not re.search("[\ud800-\udfff]", "".join(coder.vocabulary.tokens)), "a file cannot keep them"
    assert piece_coder("char").code(text).ends.max(initial=0) == len(text)


def test_words_of_tweets() -> None:
    text = "RT @JustinBieber: I'm in New-York, 5.5% 上海 https://t.co/x?y=1 :)"
    words = [text[start:end] for start, end in cut(text, "word")]
    assert words == [
        "RT", "@JustinBieber", ":", "I'm", "in", "New-York", ",", "5.5", "%", "上", "海",
        "https://t.co/x?y=1", ":", ")",
    ]  # fmt: skip


def test_forms() -> None:
    text = "5,5% www.X.com #Tag @ Ab"
    assert forms_of(text, cut(text, "space"), "aca") == [
        "<number>", "<url>", "tag", "@", "ab",
    ]  # fmt: skip
    assert forms_of("ﷺ Ａb", [(2, 4)], "fold") == ["ab"]


def test_a_vocabulary_is_ordered_by_frequency_and_grows_at_its_end() -> None:
    coding = TokenCoding(split="space", count_min=2, chars=4)
    found = vocabulary_of(["b b a a a c", "É"], coding)
    assert found == TokenVocabulary(("a", "b"), ("a", "b"))
    assert found.with_more(["z", "a"]) == TokenVocabulary(("a", "b", "z"), ("a", "b"))
    assert vocabulary_of(["a a y y"], coding, found.with_more(["z"])).tokens == ("a", "b", "z", "y")


@given(st.integers(0, 80), st.integers(8, 24), st.integers(0, 8), st.booleans())
def test_the_own_parts_of_windows_are_the_text(size: int, tokens_max: int, overlap: int, pieces: bool) -> None:
    text = " ".join("abcdef"[: 1 + place % 5] for place in range(size))
    coder = piece_coder("word") if pieces else TokenCoder(TokenCoding(split="word"), TokenVocabulary(()))
    coded = coder.code(text)
    found = list(windows(coded, tokens_max, overlap))
    assert all(len(window.places) <= tokens_max for window in found)
    own = np.concatenate([window.places[window.left : window.right] for window in found])
    assert own.tolist() == list(range(len(coded)))
    for window in found[1:]:
        assert coded.roles[window.places[window.left]] != REST
    if pieces and len(found) > 1:
        assert {(coded.roles[w.places[0]], coded.roles[w.places[-1]]) for w in found} == {(BEGIN, END)}


def emissions(labels: tuple[str, ...], ids: np.ndarray[Any, np.dtype[np.int64]]) -> np.ndarray[Any, Any]:
    """What says these labels."""
    found: np.ndarray[Any, Any] = np.eye(len(labels), dtype=np.float32)[ids] * 5
    return found


def free(labels: tuple[str, ...]) -> tuple[Any, Any, Any]:
    """CRF scores that say nothing."""
    size = len(labels)
    return np.zeros(size, np.float32), np.zeros((size, size), np.float32), np.zeros(size, np.float32)


@st.composite
def texts_with_entities(draw: st.DrawFn) -> tuple[str, list[Chunk]]:
    """Words, some of them in entities, which may touch one another."""
    words = draw(st.lists(st.sampled_from(["Paris", "is", "x", "metropolitan", "上"]), min_size=1, max_size=12))
    text, entities, place = " ".join(words), [], 0
    word = 0
    while word < len(words):
        length = min(draw(st.integers(1, 3)), len(words) - word)
        end = place + len(" ".join(words[word : word + length]))
        if draw(st.booleans()):
            entities.append(Chunk(place, end, draw(st.sampled_from(["LOC", "PER"]))))
        place, word = end + 1, word + length
    return text, entities


@given(texts_with_entities(), st.sampled_from([BIO, UMT]), st.booleans())
@settings(max_examples=60)
def test_entities_survive_labels_and_decoding(
    case: tuple[str, list[Chunk]], labels: tuple[str, ...], pieces: bool
) -> None:
    text, entities = case
    coder = piece_coder() if pieces else TokenCoder(TokenCoding(split="word"), TokenVocabulary(()))
    coded = coder.code(text)
    decoder = Decoder(labels, free(labels), pieces=pieces, temperature=2.0)
    post = Post(coded, emissions(labels, labels_of(coded, entities, labels)))
    assert decoder.chunks([post, post]) == [entities, entities]
    spans = decoder.spans([post])[0]
    assert [(span.start, span.end, span.type) for span in spans] == [tuple(entity) for entity in entities]
    assert all(0 < span.confidence <= 1 for span in spans)


@given(TEXTS, st.randoms(use_true_random=False))
@settings(max_examples=60)
def test_any_emissions_give_whole_words_and_no_special_label(text: str, chance: Any) -> None:
    coder = piece_coder()
    coded = coder.code(text)
    random = np.random.default_rng(chance.randrange(1 << 30))
    scores = tuple(random.normal(size=part.shape).astype(np.float32) for part in free(UMT))
    decoder = Decoder(UMT, (scores[0], scores[1], scores[2]), pieces=True)
    chosen = random.normal(size=(len(coded), len(UMT))).astype(np.float32)
    chosen[:, [0, 6, 7, 8]] += 9  # specials everywhere
    words = set(cut(text, "word"))
    found = decoder.spans([Post(coded, chosen)])[0]
    assert {span.type for span in found} <= {"LOC", "PER"}
    for span in found:
        assert any(start == span.start for start, _ in words)
        assert any(end == span.end for _, end in words)


def test_a_temperature_softens_and_moves_no_entity() -> None:
    coder = TokenCoder(TokenCoding(split="char"), TokenVocabulary(()))
    post = Post(coder.code("上海好"), emissions(BIO, np.array([1, 2, 0])))
    cold, warm = (Decoder(BIO, free(BIO), pieces=False, temperature=t).spans([post])[0][0] for t in (1.0, 4.0))
    assert (cold.start, cold.end) == (warm.start, warm.end) == (0, 2)
    assert cold.confidence > warm.confidence


def test_an_entity_inside_a_word_takes_the_word_and_the_next_keeps_its_own() -> None:
    coder = TokenCoder(TokenCoding(split="space"), TokenVocabulary(()))
    coded = coder.code("上海北京 天津")
    ids = labels_of(coded, [Chunk(0, 2, "LOC"), Chunk(2, 7, "PER")], BIO)
    assert [BIO[number] for number in ids] == ["B-LOC", "B-PER"]


def test_coders_are_saved_and_loaded(tmp_path: Path) -> None:
    coding = TokenCoding(split="word", chars=4, normal="aca")
    coder = TokenCoder(coding, vocabulary_of(["Paris 5 上"], coding))
    kept = coder.save(tmp_path)
    assert kept["kind"] == "tokens"
    loaded = load_coder(tmp_path, coding, lambda folder: Halves())
    assert loaded.code("Paris 5").ids.tolist() == coder.code("Paris 5").ids.tolist()
    pieces = piece_coder()
    assert pieces.save(tmp_path)["kind"] == "pieces"
    assert load_coder(tmp_path, pieces.coding, lambda folder: Halves()).code("Pa ris").ids.tolist() == (
        pieces.code("Pa ris").ids.tolist()
    )
