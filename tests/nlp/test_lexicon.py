"""The dictionary as a hash table: nothing is missed, little is made up, padding is never part of a word."""

from __future__ import annotations

import random

import numpy as np
from numpy.typing import NDArray

from nlp.encode import codes_of
from nlp.lexicon import KINDS, LENGTH_MAX, POSITIONS, WIDTH, Lexicon, pack, unpack

WORDS = {"上海": "ns", "周杰伦": "nr", "演唱会": "n", "人民代表大会": "nt", "唱": "v"}
PAD = 0x110000


def looked_up(lexicon: Lexicon, texts: list[str]) -> NDArray[np.float32]:
    size = max(map(len, texts))
    codes = np.full((len(texts), size), PAD, dtype=np.uint64)
    for row, text in enumerate(texts):
        codes[row, : len(text)] = codes_of(text)
    return lexicon.features(codes, np.array([len(text) for text in texts], dtype=np.int64))


def kinds_at(found: NDArray[np.float32], row: int, place: int) -> set[str]:
    return {f"{KINDS[column // POSITIONS]}{'<->'[column % POSITIONS]}" for column in np.flatnonzero(found[row, place])}


def test_words_are_found_where_they_stand_with_their_kinds() -> None:
    found = looked_up(Lexicon(unpack(pack(WORDS))), ["周杰伦上海演唱会", "人民代表大会"])
    assert found.shape == (2, 8, WIDTH)
    assert kinds_at(found, 0, 0) == {"word3<", "person<"}
    assert kinds_at(found, 0, 1) == {"word3-", "person-"}
    assert kinds_at(found, 0, 2) == {"word3>", "person>"}
    assert kinds_at(found, 0, 3) == {"word2<", "place<"}
    assert kinds_at(found, 0, 6) == {"word3-", "noun-"}
    assert kinds_at(found, 1, 5) == {"word4>", "organisation>"}
    assert not found[1, 6:].any()


def test_a_packed_dictionary_is_the_same_whatever_the_order() -> None:
    assert pack(WORDS) == pack(dict(reversed(WORDS.items())))
    assert dict(unpack(pack(WORDS))) == {word: tag for word, tag in WORDS.items() if len(word) > 1}


def test_no_word_is_missed_and_few_are_made_up() -> None:
    chance = random.Random(5)

    def word() -> str:
        return "".join(chr(0x4E00 + chance.randrange(6000)) for _ in range(chance.randint(2, LENGTH_MAX)))

    words = {word(): "n" for _ in range(300_000)}
    lexicon = Lexicon(words.items())
    known = chance.sample(sorted(words), 2000)
    assert all(looked_up(lexicon, [text])[0, 0].any() for text in known)
    strange = [text for text in (word() for _ in range(3000)) if text not in words]
    made_up = sum(
        bool(lexicon.features(codes_of(text).astype(np.uint64)[None], np.array([len(text)]))[0, 0].any())
        for text in strange
    )
    assert made_up / len(strange) < 0.1, "up to six lengths are tried at a place"


def test_padding_is_never_part_of_a_word() -> None:
    texts = ["".join(chr(0x4E00 + (7 * row + place) % 5000) for place in range(12)) for row in range(300)]
    lexicon = Lexicon({text[place : place + 2]: "n" for text in texts for place in (0, 5)}.items())
    together = looked_up(lexicon, [*texts, "长" * 60])
    for row, text in enumerate(texts):
        np.testing.assert_array_equal(together[row, : len(text)], looked_up(lexicon, [text])[0])
        assert not together[row, len(text) :].any()
