"""Classes of errors add up; curves are those of simple loops; marked posts hold their text, whatever it is."""

from __future__ import annotations

import re
from collections import Counter
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from nlp.datasets import Example
from nlp.experiments import error_posts, errors
from nlp.experiments.error_curves import curve_of, graded, reliability_of
from nlp.experiments.error_posts import WorstPost
from nlp.experiments.error_results import results_of
from nlp.experiments.errors import KINDS, NONE, Wrong, chunk_of, wrongs_of
from nlp.experiments.errors_shown import Texted, free_of, marked_html, marked_markdown, why
from nlp.experiments.measures import sums_of, value_of
from nlp.labels import Chunk
from stream.contract.records import Span

TYPES = ("LOC", "ORG", "PER")


def span(start: int, end: int, type_: str, confidence: float = 0.9) -> Span:
    return Span(start=start, end=end, type=type_, confidence=confidence)


@st.composite
def entities(draw: st.DrawFn, length: int = 24) -> list[Chunk]:
    """Entities that do not overlap, as BIO tags give them."""
    cuts = sorted(draw(st.sets(st.integers(0, length), max_size=10)))
    types = draw(st.lists(st.sampled_from(TYPES), min_size=len(cuts), max_size=len(cuts)))
    return [Chunk(*pair) for pair in zip(cuts[::2], cuts[1::2], types, strict=False)]


@st.composite
def posts(draw: st.DrawFn) -> tuple[list[list[Chunk]], list[list[Span]]]:
    """Gold and found entities of some posts; a part of the gold is found."""
    gold, found = [], []
    for _ in range(draw(st.integers(1, 6))):
        own = draw(entities())
        kept = {chunk for chunk in own if draw(st.booleans())}
        others = [one for one in draw(entities()) if not any(one.start < k.end and one.end > k.start for k in kept)]
        gold.append(own)
        sure = st.sampled_from([0.2, 0.5, 0.8, 0.9, 1.0])
        found.append([span(*one, confidence=draw(sure)) for one in sorted({*kept, *others})])
    return gold, found


@pytest.mark.parametrize(
    ("found", "kinds"),
    [
        ([span(2, 6, "ORG")], []),
        ([span(2, 4, "ORG")], ["boundary"]),
        ([span(2, 6, "LOC")], ["type"]),
        ([span(5, 9, "LOC")], ["both"]),
        ([], ["missed"]),
        ([span(6, 9, "ORG")], ["missed", "spurious"]),
        # The longer overlap is the partner; where they are alike, the same type is.
        ([span(2, 3, "ORG"), span(3, 6, "PER")], ["both", "spurious"]),
        ([span(2, 4, "PER"), span(4, 6, "ORG")], ["boundary", "spurious"]),
        ([span(2, 4, "ORG"), span(4, 6, "ORG")], ["boundary", "spurious"]),
    ],
)
def test_each_class_of_errors_by_hand(found: list[Span], kinds: list[str]) -> None:
    assert sorted(wrong.kind for wrong in wrongs_of([Chunk(2, 6, "ORG")], found)) == sorted(kinds)


def test_of_two_like_partners_the_left_one_is_taken() -> None:
    [wrong, other] = wrongs_of([Chunk(2, 6, "ORG")], [span(4, 6, "ORG"), span(2, 4, "ORG")])
    assert wrong.found == span(2, 4, "ORG") and other.kind == "spurious" and other.found == span(4, 6, "ORG")


@given(posts())
def test_every_wrong_thing_is_in_one_class_and_they_add_up(made: tuple[list[list[Chunk]], list[list[Span]]]) -> None:
    gold, found = made
    wrongs = [wrongs_of(wanted, spans) for wanted, spans in zip(gold, found, strict=True)]
    figures = errors.figures_of(gold, gold, found, wrongs, 1)
    right, all_found, all_gold = sums_of(gold, [[chunk_of(one) for one in spans] for spans in found]).sum(axis=0)
    assert figures.false_positives == all_found - right
    assert figures.false_negatives == all_gold - right
    for wanted, spans, post in zip(gold, found, wrongs, strict=True):
        missing = [one for one in wanted if one not in {chunk_of(one) for one in spans}]
        extra = [one for one in spans if chunk_of(one) not in wanted]
        assert sorted(wrong.gold for wrong in post if wrong.gold) == sorted(missing)
        assert Counter(chunk_of(wrong.found) for wrong in post if wrong.found) == Counter(map(chunk_of, extra))
        assert post == wrongs_of(wanted[::-1], spans[::-1])
    for wrong in (wrong for post in wrongs for wrong in post):
        assert wrong.kind == as_defined(wrong)
    assert sum(own.count for own in figures.kinds.values()) == sum(map(len, wrongs))
    assert sum(sum(row) for row in figures.confusion) == right + sum(map(len, wrongs))
    assert figures.confusion[-1][:-1] == [
        sum(w.kind == "spurious" and w.type == type_ for post in wrongs for w in post) for type_ in figures.types
    ]
    assert figures.scores["overlap"]["f1"].value >= figures.scores["strict"]["f1"].value


def as_defined(wrong: Wrong) -> str:
    gold, found = wrong.gold, wrong.found
    if gold is None or found is None:
        return "spurious" if gold is None else "missed"
    assert gold.start < found.end and found.start < gold.end
    if (gold.start, gold.end) == (found.start, found.end):
        return "type"
    return "boundary" if gold.type == found.type else "both"


@given(posts())
def test_curves_are_those_of_a_loop_over_thresholds(made: tuple[list[list[Chunk]], list[list[Span]]]) -> None:
    gold, found = made

    def kept(threshold: float) -> list[list[Chunk]]:
        return [[chunk_of(one) for one in spans if one.confidence >= threshold] for spans in found]

    curve = curve_of(graded(gold, found), seed=1)
    for point in curve.points:
        sums = sums_of(gold, kept(point.threshold))
        assert point.precision.value == value_of(sums, "precision") and point.recall.value == value_of(sums, "recall")
    area, before = 0.0, 0.0
    for threshold in sorted({one.confidence for spans in found for one in spans}, reverse=True):
        sums = sums_of(gold, kept(threshold))
        area += (value_of(sums, "recall") - before) * value_of(sums, "precision")
        before = value_of(sums, "recall")
    assert curve.average.value == pytest.approx(area)
    assert curve.average.low <= curve.average.value <= curve.average.high


def test_the_calibration_error_by_hand_and_equal_confidences_stay_together() -> None:
    gold = [[Chunk(0, 1, "PER"), Chunk(2, 3, "PER")], [Chunk(0, 1, "PER")]]
    found = [[span(0, 1, "PER", 0.8), span(2, 3, "LOC", 0.8)], [span(0, 1, "PER", 0.8), span(4, 5, "PER", 0.4)]]
    made = reliability_of(graded(gold, found), seed=1)
    assert [(one.count, one.confidence) for one in made.bins] == [(1, 0.4), (3, pytest.approx(0.8))]
    assert made.error.value == pytest.approx((1 * 0.4 + 3 * (0.8 - 2 / 3)) / 4)
    only = reliability_of(graded(gold, found, "LOC"), seed=1)
    assert only.error.value == pytest.approx(0.8)


def test_a_calibrated_tagger_errs_by_chance_and_an_overconfident_one_does_more() -> None:
    rng = np.random.default_rng(3)
    sure = rng.choice(np.linspace(0.3, 0.99, 40), 3000)
    right = rng.random(3000) < sure
    found = [[span(2 * place, 2 * place + 1, "PER", float(sure[30 * post + place])) for place in range(30)]
             for post in range(100)]  # fmt: skip
    gold = [[chunk_of(one) for place, one in enumerate(spans) if right[30 * post + place]]
            for post, spans in enumerate(found)]  # fmt: skip
    made = reliability_of(graded(gold, found), seed=1)
    assert made.error.value < 2 * made.by_chance
    doubled = [[span(one.start, one.end, one.type, min(1.0, one.confidence + 0.2)) for one in post] for post in found]
    worse = reliability_of(graded(gold, doubled), seed=1)
    assert worse.error.low > 2 * worse.by_chance


def test_the_worst_come_first_and_surer_errors_weigh_more() -> None:
    sure, unsure = [Wrong("spurious", None, span(0, 1, "PER", 0.99))], [Wrong("spurious", None, span(0, 1, "PER", 0.4))]
    missed = [Wrong("missed", Chunk(0, 1, "PER"), None)]
    ranked = error_posts.worst(["a", "b", "c", "d", "e"], [unsure, sure, [], missed, sure], top=4)
    assert [(one.id, one.number) for one in ranked] == [("b", 1), ("e", 4), ("d", 3), ("a", 0)]
    assert error_posts.worst(["a"], [sure], top=0) == []


def test_names_that_the_gold_tags_now_so_now_otherwise() -> None:
    texts = ["苹果发布，苹果很甜", "苹果苹果", "Mac和MacBook"]
    gold = [[Chunk(0, 2, "ORG")], [Chunk(0, 2, "ORG"), Chunk(2, 4, "MISC")], [Chunk(4, 11, "MISC")]]
    tagged = error_posts.tagged_surfaces([*texts, "Mac"], [*gold, [Chunk(0, 3, "MISC")]])
    assert tagged == {
        "苹果": {"MISC": 1, "ORG": 2, "untagged": 1}, "MacBook": {"MISC": 1}, "Mac": {"MISC": 1, "untagged": 1},
    }  # fmt: skip
    wrongs = [wrongs_of(one, []) for one in gold]
    [apple] = error_posts.recurring(texts, wrongs, tagged)
    assert (apple.surface, apple.type, apple.kind, apple.count) == ("苹果", "ORG", "missed", 2)
    assert apple.inconsistent
    found = error_posts.inconsistent(texts, wrongs, tagged, 1)
    assert (found.surfaces, found.several_types, found.also_untagged) == (3, 1, 2)
    assert found.share.value == 3 / 4


def test_what_it_was_taken_for_is_counted() -> None:
    texts = ["北京大学"] * 3
    wrongs = [wrongs_of([Chunk(0, 4, "ORG")], [span(0, 2, "LOC")])] * 3
    [one] = error_posts.recurring(texts, wrongs, {})
    assert (one.kind, one.count, one.found_as) == ("both", 3, {"北京 LOC": 3})
    assert why(texts[0], wrongs[0][0]) == "both 边界与类型: 北京大学 ORG → 北京 LOC (0.90)"


@given(st.text(min_size=24, max_size=30), posts())
def test_marks_leave_the_text_as_it_is(text: str, made: tuple[list[list[Chunk]], list[list[Span]]]) -> None:
    gold, found = made
    shown = marked_html(Texted(text, gold[0], found[0]))
    bare = re.sub(r"<sub>.*?</sub>|<mark class=\"[a-z]+\">|</mark>", "", shown)
    assert "<" not in bare and ">" not in bare
    assert unescape(bare) == text
    assert set(re.findall(r"<mark class=\"([a-z]+)\">", shown)) <= {"right", "gold", "found", "clash"}


def test_marks_by_hand_in_both_forms() -> None:
    found = [span(5, 10, "ORG", 0.5), span(0, 3, "PER")]
    texted = Texted("<b>在*北京*大学", [Chunk(0, 3, "PER"), Chunk(5, 7, "LOC")], found)
    assert marked_html(texted) == (
        '<mark class="right">&lt;b&gt;</mark><sub>PER 0.90</sub>在*<mark class="clash">北京</mark><sub>LOC</sub>'
        '<mark class="found">*大学</mark><sub>ORG 0.50</sub>'
    )
    assert marked_markdown(texted) == r"⟦⟨\<b\>⟩⟧PER在\*⟦⟨北京⟧LOC\*大学⟩ORG"


def test_pictures_are_small_inside_the_page_and_a_broken_one_is_told(tmp_path: Path) -> None:
    Image.new("RGB", (900, 600), "red").save(tmp_path / "a.jpg")
    (tmp_path / "b&.jpg").write_bytes(b"no picture")
    texted = Texted("上海", [Chunk(0, 2, "LOC")], [], (tmp_path / "a.jpg", tmp_path / "b&.jpg"))
    free = free_of([(WorstPost(0, "x", 0.5, wrongs_of(texted.gold, [])), texted)])
    [source] = re.findall(r'src="(.*?)"', free.html)
    assert source.startswith("data:image/jpeg;base64,") and len(source) < 5000
    assert "<em>b&amp;.jpg: no picture of a known format</em>" in free.html
    assert "a.jpg, b\\&.jpg" in free.markdown and "missed 漏标: 上海 LOC" in free.markdown


def test_a_set_without_errors_and_one_without_entities() -> None:
    example = Example("1", tuple("上海好"), ("B-LOC", "I-LOC", "O"))
    perfect = results_of([example, example], [[span(0, 2, "LOC", 1.0)]] * 2, top=5, seed=1)
    assert perfect.worst == [] and perfect.recurring == []
    assert perfect.figures.confusion == [[2, 0], [0, 0]] and perfect.curves["all"].average.value == 1
    empty = results_of([Example("1", ("好",), ("O",))], [[]], top=5, seed=1)
    assert empty.figures.types == [] and empty.curves["all"].points == [] and empty.reliability["all"].bins == []


def test_the_lenient_reading_takes_what_an_orphan_begins() -> None:
    orphan = Example("1", tuple("上海好"), ("I-LOC", "I-LOC", "O"))
    found = results_of([orphan], [[span(0, 2, "LOC")]], top=1, seed=1).figures
    assert (found.scores["strict"]["f1"].value, found.scores["lenient"]["f1"].value) == (0, 1)
    assert set(found.kinds) == set(KINDS) and NONE not in found.types
