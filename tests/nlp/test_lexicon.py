"""The dictionary as a hash table: nothing is missed, little is made up, padding is never part of a word."""

from __future__ import annotations

import gzip
import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nlp.encode import codes_of
from nlp.lexicon import CUT_WIDTH, KINDS, LENGTH_MAX, POSITIONS, STEPS, WIDTH, Lexicon, Word, pack, step_of

WORDS = {
    "上海": Word("ns", step_of(5000)), "周杰伦": Word("nr", step_of(50)), "演唱会": Word("n", step_of(300)),
    "人民代表大会": Word("nt", step_of(80)), "唱": Word("v", step_of(900)),
}  # fmt: skip
NOUN = Word("n", step_of(100))
TAGS = {"nr": ["person"], "nrfg": ["person"], "ns": ["place"], "v": ["verb"], "n": ["noun"], "x": [], "nrx": [], "": []}
CUT_KINDS = ("first", "inner", "last", "alone")


def looked_up(lexicon: Lexicon, texts: list[str]) -> NDArray[np.float32]:
    """(B, T, W), zeros behind each text."""
    lengths = np.array([len(text) for text in texts], dtype=np.int64)
    every = lexicon.features(codes_of("".join(texts)).astype(np.uint64), lengths)
    found = np.zeros((len(texts), int(lengths.max()), WIDTH), dtype=np.float32)
    for row, part in enumerate(np.split(every, np.cumsum(lengths)[:-1])):
        found[row, : len(part)] = part
    return found


def kinds_at(found: NDArray[np.float32], row: int, place: int) -> set[str]:
    hits = np.flatnonzero(found[row, place, :-CUT_WIDTH])
    return {f"{KINDS[column // POSITIONS]}{'<->'[column % POSITIONS]}" for column in hits}


def cut_of(lexicon: Lexicon, text: str) -> list[str]:
    """The words of the likeliest cut, read from the features."""
    marks = looked_up(lexicon, [text])[0, :, -CUT_WIDTH : -CUT_WIDTH + len(CUT_KINDS)]
    assert (marks.sum(axis=1) == 1).all(), "each character has one part in one word"
    cut: list[str] = []
    for char, mark in zip(text, marks.argmax(axis=1), strict=True):
        if CUT_KINDS[mark] in ("first", "alone"):
            cut.append("")
        cut[-1] += char
    return cut


def likeliest(words: dict[str, Word], text: str) -> float:
    """Log probability, to a constant, of the best cut, by trying all of them."""
    total = math.log(sum(math.exp((word.step - 1) / STEPS) for word in words.values()))

    def share(part: str) -> float:
        if part in words:
            return (words[part].step - 1) / STEPS - total
        return -total if len(part) == 1 else -math.inf

    best = [0.0]
    for end in range(1, len(text) + 1):
        best.append(max(best[start] + share(text[start:end]) for start in range(max(0, end - LENGTH_MAX), end)))
    return best[-1]


def test_words_are_found_where_they_stand_with_their_kinds() -> None:
    found = looked_up(Lexicon.read(pack(WORDS)), ["周杰伦上海演唱会", "人民代表大会"])
    assert found.shape == (2, 8, WIDTH)
    assert kinds_at(found, 0, 0) == {"word3<", "person<"}
    assert kinds_at(found, 0, 1) == {"word3-", "person-"}
    assert kinds_at(found, 0, 2) == {"word3>", "person>"}
    assert kinds_at(found, 0, 3) == {"word2<", "place<"}
    assert kinds_at(found, 0, 6) == {"word3-", "noun-"}
    assert kinds_at(found, 1, 5) == {"word4>", "organisation>"}


def test_a_packed_dictionary_is_the_same_whatever_the_order() -> None:
    assert pack(WORDS) == pack(dict(reversed(WORDS.items())))


@pytest.mark.parametrize(
    "lines",
    [
        "周杰伦\tnr\n", "周杰伦\tnr\t1\t2\n", "\t\n", "上海\tns\n唱\tv\t1\t2\n", "上海\tns\t1",
        "上海\tns\t1x\n", "上海\tns\t\n", "上海\tns\t0\n", "上海\tns\t256\n", "上海\tns\t1000\n", "上海\tns\t-1\n",
    ],
)  # fmt: skip
def test_what_is_no_dictionary_is_refused(lines: str) -> None:
    with pytest.raises(ValueError, match="a word, a tag and a step"):
        Lexicon.read(gzip.compress(lines.encode()))


@given(st.dictionaries(st.text("人民代表大会周京", min_size=1, max_size=9), st.sampled_from(sorted(TAGS)), max_size=50))
@settings(max_examples=60, deadline=None)
def test_every_word_of_a_packed_dictionary_has_its_kinds(tags: dict[str, str]) -> None:
    lexicon = Lexicon.read(pack({word: Word(tag, 1) for word, tag in tags.items()}))
    for word in tags:
        if len(word) <= LENGTH_MAX:
            inside = [part for part in tags if len(part) > 1 and word.startswith(part)]
            expected = {f"{kind}<" for part in inside for kind in (f"word{min(len(part), 4)}", *TAGS[tags[part]])}
            found = {kind for kind in kinds_at(looked_up(lexicon, [word]), 0, 0) if kind.endswith("<")}
            assert found == expected, "in so few words none is taken for another"


def test_no_word_is_missed_and_few_are_made_up() -> None:
    chance = random.Random(5)

    def word() -> str:
        return "".join(chr(0x4E00 + chance.randrange(6000)) for _ in range(chance.randint(2, LENGTH_MAX)))

    words = {word(): NOUN for _ in range(300_000)}
    lexicon = Lexicon(words)
    known = chance.sample(sorted(words), 2000)
    assert all(looked_up(lexicon, [text])[0, 0, :-CUT_WIDTH].any() for text in known)
    strange = [text for text in (word() for _ in range(3000)) if text not in words]
    made_up = sum(bool(looked_up(lexicon, [text])[0, 0, :-CUT_WIDTH].any()) for text in strange)
    assert made_up / len(strange) < 0.1, "up to six lengths are tried at a place"


def test_no_word_reaches_into_the_next_text() -> None:
    texts = ["".join(chr(0x4E00 + (7 * row + place) % 5000) for place in range(12)) for row in range(300)]
    lexicon = Lexicon({text[place : place + 2]: NOUN for text in texts for place in (0, 5)})
    together = looked_up(lexicon, [*texts, "长" * 60])
    for row, text in enumerate(texts):
        np.testing.assert_array_equal(together[row, : len(text)], looked_up(lexicon, [text])[0])


def test_the_likeliest_cut_is_taken() -> None:
    words = {
        **WORDS, "研究": Word("v", step_of(9000)), "研究生": Word("n", step_of(1300)), "生命": Word("n", step_of(6000)),
        "命": Word("n", step_of(3000)), "起源": Word("n", step_of(2000)),
    }  # fmt: skip
    lexicon = Lexicon(words)
    assert cut_of(lexicon, "研究生命起源") == ["研究", "生命", "起源"]
    assert cut_of(lexicon, "周杰伦唱上海") == ["周杰伦", "唱", "上海"]
    assert cut_of(lexicon, "ㄅ上ㄆ") == ["ㄅ", "上", "ㄆ"]
    found = looked_up(lexicon, ["周杰伦唱上海"])[0]
    rarity = found[:, -3:]
    assert rarity.argmax(axis=1).tolist() == [1, 1, 1, 1, 2, 2], "usual, usual, common"


@given(st.text(alphabet="甲乙丙", min_size=1, max_size=9), st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_the_cut_is_as_likely_as_the_best_of_all_cuts(text: str, seed: int) -> None:
    chance = random.Random(seed)
    words = {
        "".join(chance.choices("甲乙丙", k=chance.randint(1, 4))): Word("n", step_of(10 ** chance.randint(0, 9)))
        for _ in range(12)
    }
    cut = cut_of(Lexicon(words), text)
    assert "".join(cut) == text
    total = math.log(sum(math.exp((word.step - 1) / STEPS) for word in words.values()))
    shares = [(words[part].step - 1) / STEPS - total if part in words else -total for part in cut]
    assert abs(sum(shares) - likeliest(words, text)) < 1e-3
