"""Attacks do to a text what they say, and the gold stays on what its characters have become."""

from __future__ import annotations

import random
import re
from collections import Counter

import opencc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pypinyin import Style, lazy_pinyin

from nlp.experiments import characters
from nlp.experiments.pinyin import common_homophones
from nlp.experiments.text_attacks import (
    EMOJI,
    EVERYWHERE,
    GROUPS,
    INSIDE,
    OUTSIDE,
    Attack,
    attacked,
    attacks,
    changes_of,
)
from nlp.labels import Chunk

ATTACKS = {
    one.name: one
    for one in attacks(opencc.OpenCC("s2t").convert, opencc.OpenCC("t2s").convert, common_homophones())
}
SIGNS = "北京大学好明说你情打红林吃城胖眼王路都 aB１，！的東1lO😂"
RATES = st.sampled_from([0.0, 0.1, 0.5, 1.0])


@st.composite
def tagged(draw: st.DrawFn) -> tuple[str, list[Chunk]]:
    """A text with entities that do not overlap."""
    text = draw(st.text(st.sampled_from(SIGNS), max_size=20))
    cuts = sorted(draw(st.sets(st.integers(0, len(text)), max_size=8)))
    return text, [Chunk(*pair, "PER") for pair in zip(cuts[::2], cuts[1::2], strict=False)]


def pieces(text: str, chunks: list[Chunk]) -> tuple[list[str], list[str]]:
    """What the entities are, and what stands before, between and behind them."""
    ends = [0, *(chunk.end for chunk in chunks)]
    starts = [*(chunk.start for chunk in chunks), len(text)]
    between = [text[end:start] for end, start in zip(ends, starts, strict=True)]
    return [text[chunk.start : chunk.end] for chunk in chunks], between


def simplified(text: str) -> str:
    return str(opencc.OpenCC("t2s").convert(text))


def sounds(text: str) -> list[str]:
    return [lazy_pinyin(one, style=Style.NORMAL)[0] for one in text]


def without(signs: tuple[str, ...], text: str) -> str:
    return re.sub("|".join(map(re.escape, signs)), "", text)


def came_from(name: str, old: str, new: str) -> bool:
    """Whether an attack may make ``new`` of ``old``, told by undoing it or by what it keeps."""
    match name:
        case "homophone":
            return sounds(old) == sounds(new)
        case "lookalike":
            return all(a == b or b in characters.alike()[a] for a, b in zip(old, new, strict=True))
        case "split":
            back = {parts: one for one, parts in characters.split().items()}
            joined, place = "", 0
            while place < len(new):
                step = 2 if new[place : place + 2] in back and old[len(joined)] == back[new[place : place + 2]] else 1
                joined += back[new[place : place + 2]] if step == 2 else new[place]
                place += step
            return joined == old
        case "traditional" | "simplified":
            return simplified(old) == simplified(new)
        case "emoji":
            return without(EMOJI, new) == without(EMOJI, old)
        case "space":
            return new.replace(" ", "") == old.replace(" ", "")
        case "width":
            return [characters.other_width(a) if a != b else a for a, b in zip(new, old, strict=True)] == list(old)
        case "swap":
            return Counter(old) == Counter(new)
        case "drop":
            left = iter(old)
            return all(one in left for one in new)
        case _:
            return re.sub(r"(.)\1+", r"\1", new) == re.sub(r"(.)\1+", r"\1", old)


@pytest.mark.parametrize("name", ATTACKS)
@given(made=tagged(), rate=RATES, where=st.sampled_from([EVERYWHERE, INSIDE, OUTSIDE]), seed=st.integers(0, 9))
def test_the_gold_covers_what_its_characters_became(
    name: str, made: tuple[str, list[Chunk]], rate: float, where: str, seed: int
) -> None:
    text, chunks = made
    after, moved = attacked(ATTACKS[name], text, chunks, random.Random(seed), rate, where)
    assert [chunk.type for chunk in moved] == [chunk.type for chunk in chunks]
    assert all(chunk.start < chunk.end for chunk in moved)
    (names, between), (new_names, new_between) = pieces(text, chunks), pieces(after, moved)
    if rate == 0 or where == OUTSIDE:
        assert new_names == names
    if rate == 0 or where == INSIDE:
        assert new_between == between
    for old, new in zip([*names, *between], [*new_names, *new_between], strict=True):
        assert came_from(name, old, new)


@pytest.mark.parametrize("name", ATTACKS)
def test_every_attack_changes_something_and_more_at_a_higher_rate(name: str) -> None:
    attack, text = ATTACKS[name], "你在北京說王明好，東1请" * 40
    made = [changes_of(attack, text, [], random.Random(3), rate) for rate in (0.05, 0.2, 1.0)]
    assert 0 < len(made[0]) < len(made[1]) < len(made[2])
    if name != "swap":  # of which one may stand in the way of another
        assert made[0].items() <= made[1].items() <= made[2].items()
        possible = len(made[2])
        assert 0.1 < len(made[1]) / possible < 0.3


def test_links_stay_and_of_an_entity_something_stays() -> None:
    text = "看https://a.cn/x吧"
    for attack in ATTACKS.values():
        assert "https://a.cn/x" in attacked(attack, text, [], random.Random(1), 1.0)[0]
    dropped = attacked(ATTACKS["drop"], "在京。", [Chunk(1, 2, "LOC")], random.Random(1), 1.0)
    assert dropped == ("京", [Chunk(0, 1, "LOC")])


def test_by_hand() -> None:
    def done(name: str, where: str = EVERYWHERE) -> tuple[str, list[Chunk]]:
        return attacked(ATTACKS[name], "去北京好a", [Chunk(1, 3, "LOC")], random.Random(1), 1.0, where)

    assert done("space") == ("去 北 京 好 a", [Chunk(2, 5, "LOC")])
    assert done("space", INSIDE) == ("去北 京好a", [Chunk(1, 4, "LOC")])
    assert done("space", OUTSIDE) == ("去 北京 好 a", [Chunk(2, 4, "LOC")])
    assert done("split") == ("去北京女子a", [Chunk(1, 3, "LOC")])
    assert done("double") == ("去去北北京京好好aa", [Chunk(2, 6, "LOC")])
    assert done("swap") == ("去京北a好", [Chunk(1, 3, "LOC")])
    assert done("width") == ("去北京好ａ", [Chunk(1, 3, "LOC")])
    assert attacked(ATTACKS["traditional"], "头发", [], random.Random(1), 1.0)[0] == "頭髮"


def test_a_conversion_that_changes_the_number_of_characters_is_made_one_by_one() -> None:
    def convert(text: str) -> str:
        return text.replace("ab", "c").replace("b", "x")

    [attack] = [one for one in attacks(convert, convert, None) if one.name == "traditional"]
    assert attacked(attack, "abb", [Chunk(0, 2, "PER")], random.Random(1), 1.0) == ("axx", [Chunk(0, 2, "PER")])


def test_groups_have_every_attack_once_and_homophones_need_their_table() -> None:
    assert sorted(name for own in GROUPS.values() for name in own) == sorted(ATTACKS)
    bare = attacks(str, str, None)
    assert {one.name for one in bare} == set(ATTACKS) - {"homophone"}
    assert all(isinstance(one, Attack) and re.search(r"[\u4e00-\u9fff].*[a-z]", one.title) for one in bare)


def test_tables() -> None:
    split = characters.split()
    assert len(split) > 300 and all(len(one) == 1 and len(parts) == 2 for one, parts in split.items())
    assert split["好"] == "女子" and split["明"] == "日月"
    alike = characters.alike()
    assert all(one in alike[other] and one != other for one, others in alike.items() for other in others)
    common = characters.common()
    assert len(common) == len(set(common)) == 3755
    assert "京" in characters.homophones(lambda one: "jing" if one in "京惊" else "", "京惊去")["惊"]
    table = common_homophones()
    assert len(table) > 3700
    assert all(sounds(one)[0] == sounds(other)[0] for one in "京绿和" for other in table[one])
    assert characters.other_width("a") == "ａ" and characters.other_width("！") == "!"
    assert characters.other_width("好") == characters.other_width(" ") == ""
