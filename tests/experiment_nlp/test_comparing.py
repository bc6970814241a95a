"""Two readings held against each other: cases by hand, what speaks against a promotion, and cards."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from nlp import artifact
from nlp.artifact import ArtifactError
from nlp.datasets import Example
from nlp.experiments.comparing import Comparison, Reading, Shown, compare, data_digests, objections
from nlp.labels import Chunk
from nlp.scoring import scores

TEXT = "张三在上海"
PER, LOC, PART = Chunk(0, 2, "PER"), Chunk(3, 5, "LOC"), Chunk(3, 4, "LOC")
TAGS = ("B-PER", "I-PER", "O", "B-LOC", "I-LOC")


def posts(count: int) -> list[Example]:
    return [Example(str(number), tuple(TEXT), TAGS) for number in range(count)]


def read(*found: list[Chunk], names: frozenset[tuple[str, str]] = frozenset(), version: str = "m") -> Reading:
    return Reading(version, names, found)


def test_a_case_by_hand() -> None:
    examples = [*posts(3), Example("empty", tuple("没有"), ("O", "O"))]
    old = read([PER], [PER, LOC], [PER, PART], [], names=frozenset([("张三", "PER")]), version="a")
    new = read([PER, LOC], [PER], [LOC], [Chunk(0, 1, "ORG")], version="b")
    found = compare(examples, old, new, shown=5)
    f1, recall = found.scores["f1"], found.scores["recall"]
    assert (f1.old.value, f1.new.value) == (8 / 11, 8 / 11)
    assert (recall.old.value, recall.new.value, recall.old.gold) == (4 / 6, 4 / 6, 6)
    assert (found.old, found.new, found.verdict) == ("a", "b", "no difference that can be told")
    assert found.difference.value == 0
    assert list(found.types) == ["LOC", "ORG", "PER"]
    assert found.types["ORG"].new.found == 1 and found.types["PER"].old.value == 1
    assert msgspec.to_builtins(found.posts) == {"both": 0, "only_old": 2, "only_new": 1, "neither": 1}
    assert found.won == [Shown("0", TEXT, ["PER 张三", "LOC 上海"], ["PER 张三"], ["PER 张三", "LOC 上海"])]
    assert [(one.id, one.new) for one in found.lost] == [("1", ["PER 张三"]), ("empty", ["ORG 没"])]
    # Each by the names that it knows: the old one knows 张三, the new one nobody.
    assert (found.seen.old.gold, found.seen.new.gold) == (3, 0)
    assert (found.unseen.old.gold, found.unseen.new.gold) == (3, 6)
    assert found.seen.old.value == 1 and found.seen.difference is None


def test_scores_are_those_of_the_evaluation() -> None:
    examples = posts(3)
    names = frozenset([("上海", "LOC")])
    old, new = read([PER], [LOC], [PART], names=names), read([PER, LOC], [], [PER, PART], names=names)
    found = compare(examples, old, new)
    for side, reading in (("old", old), ("new", new)):
        expected = scores([[PER, LOC]] * 3, reading.found, [TEXT] * 3, names)
        for measure in ("f1", "precision", "recall"):
            assert getattr(found.scores[measure], side).value == pytest.approx(expected["micro"][measure])
        assert {name: getattr(row, side).value for name, row in found.types.items()} == pytest.approx(
            {name: row["f1"] for name, row in expected["per_type"].items()}
        )
        assert getattr(found.seen, side).value == pytest.approx(expected["seen"]["f1"])
        assert getattr(found.unseen, side).value == pytest.approx(expected["unseen"]["f1"])
    assert not found.won and not found.lost


def of_forty(right_old: int, right_new: int) -> Comparison:
    """Forty posts, of which each reads the first so many right and finds nothing in the others."""
    found = [[[PER, LOC]] * right + [[]] * (40 - right) for right in (right_old, right_new)]
    return compare(posts(40), read(*found[0]), read(*found[1]))


def test_verdicts() -> None:
    for old, new, verdict in ((20, 35, "better"), (35, 20, "worse"), (30, 32, "no difference that can be told")):
        assert of_forty(old, new).verdict == verdict
    types = of_forty(20, 35).types
    for row in types.values():
        assert row.difference and row.p_holm == pytest.approx(2 * row.difference.p)


def test_what_speaks_against_a_promotion() -> None:
    assert objections(of_forty(20, 35), 0) == objections(of_forty(30, 30), 0) == objections(of_forty(30, 31), 0) == []
    lower = of_forty(31, 30)
    gap = -lower.difference.value
    assert objections(lower, 0) == [f"its F1 is lower by {gap:.4f}"]
    assert objections(lower, gap - 0.001) == [f"its F1 is lower by {gap:.4f}, more than the margin of {gap - 0.001:g}"]
    assert objections(lower, gap + 0.001) == []
    worse = of_forty(35, 20)
    assert [one.partition(" (p")[0] for one in objections(worse, 0)] == [
        f"its F1 is lower by {-worse.difference.value:.4f}", "it is worse beyond chance",
    ]  # fmt: skip
    # Lower by less than the margin, but perhaps by more: not worse for sure by less than the margin.
    within = -worse.difference.value + 0.001
    assert [one.partition(" (p")[0] for one in objections(worse, within)] == ["it is worse beyond chance"]
    assert objections(worse, -worse.difference.low) == []


def test_a_reading_has_all_posts() -> None:
    with pytest.raises(ValueError, match="argument"):
        compare(posts(2), read([PER], [PER]), read([PER]))


def test_cards_tell_what_a_model_knows(tmp_path: Path) -> None:
    card = artifact.load(artifact.DEFAULT)[1]
    assert data_digests(artifact.DEFAULT) == set(card.data.values()) != set()
    with pytest.raises(ArtifactError, match="cannot be read"):
        data_digests(tmp_path)
    (tmp_path / artifact.CARD).write_text("{", encoding="utf-8")
    with pytest.raises(ArtifactError, match="damaged"):
        data_digests(tmp_path)
