"""Pictures are changed as said, and those of other posts are of the posts that they should be of."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from index.charts import FONT
from nlp.datasets import Example
from nlp.experiments import picture_attacks
from nlp.experiments.picture_attacks import GREY, Donor, PictureAttack, donors, shown
from nlp.labels import Chunk
from nlp.pictures import decode

ATTACKS = {one.name: one for one in picture_attacks.attacks(FONT)}


def picture(side: int = 60) -> Image.Image:
    """A wide picture with sharp edges and no grey."""
    values = np.random.default_rng(1).integers(0, 2, (side, 2 * side, 3)) * 255
    return Image.fromarray(values.astype(np.uint8)).resize((4 * side, 2 * side), Image.Resampling.NEAREST)


def distance(one: Image.Image, other: Image.Image) -> float:
    return float(np.abs(np.asarray(one, np.float64) - np.asarray(other, np.float64)).mean())


@pytest.mark.parametrize("name", [name for name, one in ATTACKS.items() if one.tamper])
def test_tampering_keeps_the_size_is_repeatable_and_grows_with_the_strength(name: str) -> None:
    attack, original = ATTACKS[name], picture()
    assert attack.tamper
    apart = []
    for strength in attack.strengths:
        one, again = (attack.tamper(original, random.Random(7), strength, "北京") for _ in range(2))
        assert one.size == original.size and one.tobytes() == again.tobytes()
        apart.append(distance(one, original))
    assert apart == sorted(apart) and apart[0] > 0
    assert original.tobytes() == picture().tobytes()


def test_noise_has_its_deviation_and_a_box_its_area() -> None:
    grey = Image.new("RGB", (200, 200), (120, 120, 120))
    made = np.asarray(picture_attacks.noise(grey, random.Random(1), 0.05, ""), np.float64)
    assert made.std() == pytest.approx(255 * 0.05, rel=0.02)
    red = Image.new("RGB", (200, 100), "red")
    for seed in range(5):
        covered = np.asarray(picture_attacks.occlusion(red, random.Random(seed), 0.25, ""))
        assert (covered == GREY).all(axis=2).mean() == pytest.approx(0.25)


def test_writing_is_in_the_picture_and_needs_a_font_for_chinese() -> None:
    black = Image.new("RGB", (200, 100))
    white = [
        (np.asarray(picture_attacks.written(black, random.Random(1), 0.2, word, FONT)) == 255).all(axis=2).mean()
        for word in ("", "北京", "北京大学")
    ]
    assert white[0] == 0 < white[1] < white[2]
    plain = picture_attacks.written(black, random.Random(1), 0.2, "ABC", None)
    assert distance(plain, black) > 0
    tiny = picture_attacks.written(Image.new("RGB", (8, 8)), random.Random(1), 0.2, "一个很长的名字", FONT)
    assert tiny.size == (8, 8)


def test_misleading_pictures_are_of_posts_with_other_types_only(tmp_path: Path) -> None:
    types = [("PER",), ("LOC",), ("PER", "LOC"), ("ORG",), (), ("PER",)]
    gold = [[Chunk(0, 1, type_) for type_ in own] for own in types]
    examples = [Example(str(number), ("名",), ("O",), (tmp_path / f"{number}.jpg",)) for number in range(5)]
    examples.append(Example("5", ("名",), ("O",)))
    taken = Counter[tuple[int, str]]()
    for seed in range(30):
        for number, donor in enumerate(donors(examples, gold, "other type", seed)):
            assert donor is not None
            taken[number, donor.pictures[0].stem] += 1
        for number, donor in enumerate(donors(examples, gold, "any", seed)):
            assert donor is not None and donor.pictures != examples[number].pictures
    assert {who for number, who in taken if number == 0} == {"1", "3"}
    assert {who for number, who in taken if number == 2} == {"3"}
    assert donors(examples[:1], gold[:1], "any", 1) == donors(examples[2:3], gold[2:3], "other type", 1) == [None]


def test_what_a_tagger_is_shown(tmp_path: Path) -> None:
    picture().save(tmp_path / "own.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    Image.new("RGB", (40, 40), "red").save(tmp_path / "other.png")
    own = Example("1", ("京",), ("B-LOC",), (tmp_path / "own.png", tmp_path / "broken.png"))
    donor = Donor((tmp_path / "other.png",), "王明")

    def seen(attack: PictureAttack, given: Donor | None = donor) -> tuple[list[Image.Image], Counter[str]]:
        left_out = Counter[str]()
        post = shown(own, attack, attack.strengths[-1], given, "1", left_out)
        assert post.text == "京"
        return [decode(one.jpeg) for one in post.pictures], left_out

    assert seen(ATTACKS["missing"]) == ([], Counter())
    [swapped], _ = seen(ATTACKS["swapped"])
    assert swapped.getpixel((0, 0)) == (255, 0, 0)
    # A post without a donor keeps its own; that one of them is broken is found where it is read.
    kept = shown(own, ATTACKS["swapped"], 1.0, None, "1", Counter())
    assert [one.id for one in kept.pictures] == ["own.png", "broken.png"]
    [blank], left_out = seen(ATTACKS["blank"])
    assert blank.getpixel((5, 5)) == GREY and sum(left_out.values()) == 1
    [written], _ = seen(ATTACKS["text"])
    assert 0 < distance(written, decode(tmp_path / "own.png")) < 255
