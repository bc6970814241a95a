"""Slices and what is said of them, on posts whose answer is known."""

from __future__ import annotations

import io
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFilter

from nlp.datasets import Example
from nlp.experiments import features, measures, slices, sparse, worst_slice
from nlp.experiments.features import NO_LEVEL, EntityFeature, Feature, PostFacts, by_quartile, by_value
from nlp.experiments.measures import Sums
from nlp.experiments.picture_quality import Quality, jpeg_quality, quality_of, quality_of_post
from nlp.experiments.slice_results import SliceSettings, post_features, results_of
from nlp.experiments.slices import within
from nlp.experiments.slices_report import report
from nlp.labels import Chunk
from nlp.pictures import PictureError, jpeg_tables
from nlp.scoring import scores
from stream.contract.records import Span
from stream.report.pages import markdown, page


def drawn(posts: int, right: float, seed: int) -> Sums:
    """Posts with some entities each; a post is easy or hard as a whole."""
    rng = np.random.default_rng(seed)
    gold = rng.integers(1, 6, posts)
    ease = np.clip(rng.normal(right, 0.15, posts), 0, 1)
    hits = rng.binomial(gold, ease)
    return np.stack([hits, hits + rng.binomial(gold - hits, 0.7), gold], axis=1)


# --- features ------------------------------------------------------------------------------------------------------


@given(st.lists(st.one_of(st.none(), st.integers(0, 9).map(float)), max_size=40))
def test_quartiles_part_no_equal_values_and_keep_their_order(values: list[float | None]) -> None:
    made = by_quartile("x", values)
    assert len(made.levels) <= 4
    known = [(value, level) for value, level in zip(values, made.of_post, strict=True) if value is not None]
    assert all((value is None) == (level == NO_LEVEL) for value, level in zip(values, made.of_post, strict=True))
    assert {level for _, level in known} == set(range(len(made.levels)))
    assert all(one[1] <= other[1] for one in known for other in known if one[0] <= other[0])


def test_levels_are_told_by_what_is_in_them() -> None:
    assert by_quartile("x", [1, 2, 3, 4, 5, 6, 7, 8]).levels == ["1–2", "3–4", "5–6", "7–8"]
    assert by_quartile("x", [1, 1, 1, 9]).levels == ["1", "9"]
    assert by_value("x", ["b", None, "a"]).of_post == [1, NO_LEVEL, 0]


def test_months_with_few_posts_are_no_level() -> None:
    january, june = 1_641_000_000_000, 1_655_000_000_000
    assert features.month_feature([january] * 10 + [june] * 9 + [None]).levels == ["2022-01"]


def test_the_proxy_is_how_many_posts_mention_a_posts_names() -> None:
    texts = ["甲乙甲", "甲", "丙"]
    gold = [[Chunk(0, 1, "PER"), Chunk(1, 2, "PER"), Chunk(2, 3, "PER")], [Chunk(0, 1, "PER")], []]
    counts = features.posts_with_names(texts, gold)
    assert counts == {"甲": 2, "乙": 1}
    made = features.mention_feature(texts, gold, counts)
    assert made.of_post == [0, 1, NO_LEVEL] and made.levels == ["1.5", "2"] and "proxy" in made.name


def test_what_is_not_known_of_a_set_is_said() -> None:
    example = Example("1", tuple("上海"), ("B-LOC", "I-LOC"))
    found, missing = post_features([example], PostFacts(), {"上海": 1})
    assert [one.what.split()[-1] for one in missing] == ["month", "engagement", "quality"]
    facts = PostFacts([0], [5], [Quality(1.0, 4.0, 0.0, 90.0)])
    known, missing = post_features([example], facts, {})
    assert {"图片数 pictures", "热度 engagement"} <= {one.name for one in known} - {one.name for one in found}
    assert [one.what.split()[-1] for one in missing] == ["OCR"]


# --- slices --------------------------------------------------------------------------------------------------------


def test_seen_names_and_types_are_scored_as_the_evaluation_does() -> None:
    texts = ["马云在杭州", "杭州的马云和阿里"]
    gold = [[Chunk(0, 2, "PER"), Chunk(3, 5, "LOC")], [Chunk(0, 2, "LOC"), Chunk(3, 5, "PER"), Chunk(6, 8, "ORG")]]
    found = [[Chunk(0, 2, "PER"), Chunk(3, 5, "ORG")], [Chunk(0, 2, "LOC"), Chunk(3, 8, "PER")]]
    names = [("马云", "PER"), ("杭州", "ORG")]
    expected = scores(gold, found, texts, names)
    own = features.entity_features(texts, ["LOC", "ORG", "PER"], names)
    made = slices.figures_of(gold, found, [], own, 1)
    by_level = {one.level: one for one in made.slices}
    for level, row in (("见过 seen", expected["seen"]), ("未见 unseen", expected["unseen"]),
                       *((type_, expected["per_type"][type_]) for type_ in ("LOC", "ORG", "PER"))):  # fmt: skip
        for measure in ("f1", "precision", "recall"):
            assert by_level[level].scores[measure].value == pytest.approx(row[measure])
    assert made.overall["f1"].value == pytest.approx(expected["micro"]["f1"])
    assert made.seen_gap["recall"].value == pytest.approx(expected["seen"]["recall"] - expected["unseen"]["recall"])
    for feature in own:
        parts = np.stack(slices.parted(gold, found, feature))
        assert (parts.sum(axis=0) == measures.sums_of(gold, found)).all()


def test_a_tagger_whose_training_is_not_known_has_no_seen_names() -> None:
    assert features.SEEN not in {one.name for one in features.entity_features(["甲"], ["PER"], [])}


def test_slices_of_posts_are_held_against_the_others_and_adjusted_together() -> None:
    gold = [[Chunk(0, 1, "PER")]] * 60
    found = [[Chunk(0, 1, "PER")]] * 30 + [[]] * 30
    known = by_value("half", ["a"] * 30 + ["b"] * 29 + [None])
    [first, second] = slices.figures_of(gold, found, [known, by_value("all", ["x"] * 60)], [], 1).slices
    assert (first.scores["recall"].value, second.scores["recall"].value, second.posts) == (1, 0, 29)
    assert first.against.value == -second.against.value == 1
    assert first.p == pytest.approx(2 * first.against.p) and first.p < 0.001


def test_entities_of_one_post_compared_with_each_other_by_chance_are_seldom_called_different() -> None:
    p_values, covered = [], 0
    for seed in range(300):
        found = within(drawn(150, 0.7, seed), drawn(150, 0.7, seed + 10_000), "f1")
        p_values.append(found.p)
        covered += found.low <= 0 <= found.high
    assert sum(p < 0.05 for p in p_values) <= 27  # of 15, with a chance of about 0.001 for more
    assert covered >= 273
    assert 0.4 < np.mean(p_values) < 0.6
    assert within(drawn(150, 0.9, 1), drawn(150, 0.5, 2), "recall").p < 1e-6
    assert within(drawn(3, 0.9, 1), np.zeros((3, 3), np.int64), "f1").p == 1


def test_posts_without_such_entities_make_no_score_surer() -> None:
    few = np.array([[1, 1, 1]] * 3)
    many = np.concatenate([few, np.zeros((500, 3), np.int64)])
    assert sparse.estimate(many, "precision") == measures.estimate(few, "precision")
    rest = np.concatenate([np.array([[0, 1, 1]] * 3), np.array([[1, 1, 1]] * 500)])
    found = within(many, rest, "f1")
    assert found.high - found.low > 0.1


# --- the worst slice -----------------------------------------------------------------------------------------------


def some_features(posts: int, seed: int) -> list[Feature]:
    rng = random.Random(seed)
    return [by_value(name, [rng.choice("abcd") for _ in range(posts)]) for name in ("one", "two", "three", "four")]


def test_the_pair_that_is_bad_is_found_among_all() -> None:
    known = some_features(800, 1)
    bad = np.array([a == 2 and b == 0 for a, b in zip(known[0].of_post, known[2].of_post, strict=True)])
    sums = np.where(bad[:, None], drawn(800, 0.3, 1), drawn(800, 0.85, 2))
    found = worst_slice.find(known, sums, posts_min=20, seed=1, draws=199)
    assert found.worst is not None and found.worst.name == "one c × three a"
    assert found.worst.p == 1 / 200 and found.worst.inside.posts == bad.sum()
    assert found.ranked[0].name == "one c × three a"
    assert [one.name for one in found.held_out] == ["one c × three a"] * 2
    assert all(one.inside.high < one.outside.low for one in found.held_out)


def test_nothing_is_called_worst_by_chance_more_often_than_it_may() -> None:
    called = 0
    for seed in range(60):
        found = worst_slice.find(some_features(300, seed), drawn(300, 0.7, seed), posts_min=15, seed=seed, draws=79)
        assert found.candidates > 60
        called += found.worst is not None
    assert called <= 8  # of 3, with a chance of about 0.01 for more


def test_slices_that_are_too_small_or_twice_the_same_are_no_candidates() -> None:
    sums = np.tile(np.array([[1, 2, 2]]), (40, 1))
    known = [by_value("x", ["a"] * 3 + ["b"] * 37), by_value("y", ["c"] * 20 + ["d"] * 20),
             by_value("z", ["e"] * 20 + ["f"] * 20)]  # fmt: skip
    assert [one.name for one in worst_slice.candidates(known, sums, 10, 1)] == ["y c", "y d", "x b × y c"]
    assert [one.name for one in worst_slice.candidates(known, sums, 18, 1)] == ["y c", "y d"]
    assert worst_slice.find(known, sums, posts_min=50, seed=1, draws=9).ranked == []


# --- pictures ------------------------------------------------------------------------------------------------------


def saved(image: Image.Image, form: str = "PNG", **options: int) -> bytes:
    held = io.BytesIO()
    image.save(held, form, **options)
    return held.getvalue()


def noise() -> Image.Image:
    return Image.fromarray(np.random.default_rng(1).integers(0, 255, (300, 400, 3), dtype=np.uint8).astype(np.uint8))


def writing() -> Image.Image:
    image = Image.new("RGB", (400, 300), "white")
    for line in range(12):
        ImageDraw.Draw(image).text((5, 5 + 24 * line), "The quick brown fox jumps over " * 3, "black")
    return image


def test_a_blurred_picture_is_less_sharp_and_its_size_is_that_of_the_file() -> None:
    sharp, blurred = quality_of(saved(noise())), quality_of(saved(noise().filter(ImageFilter.GaussianBlur(3))))
    assert sharp.sharpness > 20 * blurred.sharpness > 0
    assert sharp.pixels == 300 * 400 and sharp.jpeg is None
    assert quality_of(saved(Image.new("RGB", (2, 2)))) == Quality(0.0, 4.0, 0.0, None)


def test_writing_looks_like_text_and_soft_colours_do_not() -> None:
    soft = Image.linear_gradient("L").resize((400, 300)).convert("RGB")
    assert quality_of(saved(writing())).text > 0.3
    assert quality_of(saved(soft)).text == 0


@pytest.mark.parametrize("quality", [30, 50, 75, 85, 95])
def test_the_quality_of_a_jpeg_is_read_from_its_tables(quality: int) -> None:
    data = saved(noise(), "JPEG", quality=quality)
    tables = jpeg_tables(data)
    assert tables is not None and abs(jpeg_quality(tables[0]) - quality) <= 1
    assert quality_of(data).jpeg == jpeg_quality(tables[0])
    assert quality_of(saved(noise(), "JPEG", quality=8)).jpeg in range(8, 20)


def test_a_post_has_the_mean_of_its_readable_pictures(tmp_path: Path) -> None:
    paths = tmp_path / "a.jpg", tmp_path / "b.png", tmp_path / "c.jpg"
    paths[0].write_bytes(saved(noise(), "JPEG", quality=50))
    paths[1].write_bytes(saved(Image.new("RGB", (10, 10))))
    paths[2].write_bytes(b"nothing")
    found = quality_of_post(paths)
    assert found is not None and (found.pixels, found.jpeg) == ((120_000 + 100) / 2, 50)
    assert quality_of_post(paths[2:]) is None and quality_of_post([]) is None
    with pytest.raises(PictureError):
        quality_of(paths[2])


# --- together ------------------------------------------------------------------------------------------------------


def test_a_report_of_a_set_where_everything_is_known() -> None:
    rng = random.Random(1)
    examples, found = [], []
    for number in range(120):
        text = rng.choice(["马云<b>在", "李四 2022在"]) + "好" * rng.randint(0, 9)
        examples.append(Example(str(number), tuple(text), ("B-PER", "I-PER", *["O"] * (len(text) - 2))))
        right = rng.random() < 0.7
        found.append([Span(start=0, end=2 if right else 1, type="PER", confidence=0.9)])
    facts = PostFacts(
        [1_641_000_000_000 + 86_400_000 * number for number in range(120)],
        list(range(120)),
        [Quality(number, 100.0 + number, 0.1, 90.0) for number in range(120)],
    )
    made = results_of(examples, found, [("马云", "PER")], facts, {}, SliceSettings(posts_min=10, draws=19))
    names = {one.feature for one in made.figures.slices}
    assert {"月份 month", "热度 engagement", "清晰度 sharpness", features.SEEN, "实体长度 entity length"} <= names
    assert all(0 <= one.against.p <= one.p <= 1 for one in made.figures.slices)
    told = report(made, {"weibowatch": "1", "model": "m", "data": "d"})
    assert "Ready, not run" in page(told) and "最差切片" in markdown(told)
    for one in made.figures.slices:
        assert f"{one.feature} {one.level}" in page(told)


def test_levels_of_entities_are_all_of_the_feature() -> None:
    [type_, seen, length] = features.entity_features(["甲" * 9], ["PER"], [("甲", "PER")])
    assert isinstance(length, EntityFeature)
    assert [length.levels[length.level(0, Chunk(0, size, "PER"))] for size in (1, 2, 3, 4, 5, 6, 7, 9)] == [
        "1", "2", "3", "4", "5–6", "5–6", "7+", "7+",
    ]  # fmt: skip
    assert [seen.levels[seen.level(0, Chunk(0, size, "PER"))] for size in (1, 2)] == ["见过 seen", "未见 unseen"]
    assert type_.levels[type_.level(0, Chunk(0, 1, "PER"))] == "PER"
