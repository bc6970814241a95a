"""Readers and scores."""

from __future__ import annotations

import random
import time
import warnings
from pathlib import Path

import pytest
from seqeval.metrics import f1_score, precision_score, recall_score
from seqeval.scheme import IOB2

from nlp import datasets
from nlp.labels import chunks
from nlp.scoring import scores

SHARED = Path(__file__).parents[3] / "shared" / "data"


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "data.txt"
    path.write_text(text, encoding="utf-8")
    return path


def test_cmner_blocks(tmp_path: Path) -> None:
    found = datasets.read(write(tmp_path, "WID:Kabc\n上\tB-LOC\n海\tI-LOC\n\nWID:Kdef\n好\tO\n"))
    assert [(e.id, e.text, e.char_tags()) for e in found] == [
        ("Kabc", "上海", ["B-LOC", "I-LOC"]),
        ("Kdef", "好", ["O"]),
    ]


def test_conll_words_become_characters_with_spaces(tmp_path: Path) -> None:
    found = datasets.read(write(tmp_path, "IMGID:7\nNew\tB-LOC\nYork\tI-LOC\nrocks\tO\n"))[0]
    assert found.text == "New York rocks"
    assert chunks(found.char_tags()) == [(0, 8, "LOC")]


def test_a_post_of_many_tokens_takes_no_longer_for_each_of_them() -> None:
    example = datasets.Example("1", ("a",) * 40_000, ("O",) * 40_000)
    began = time.perf_counter()
    assert len(example.char_tags()) == 40_000
    assert time.perf_counter() - began < 5


def test_weibo_ner_numbers_are_dropped(tmp_path: Path) -> None:
    assert datasets.read(write(tmp_path, "上0\tB-GPE.NAM\n海1\tI-GPE.NAM\n30\tO\n"))[0].text == "上海3"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("no tag here\n", "1: expected token, tab, BIO tag; found 'no tag here'"),
        ("x\tO\n\nWID:y\nx\tB\n", "4: expected token"),
        ("", " no examples"),
        ("x\tO\nx\tX-LOC\n", "2: expected token"),
    ],
)
def test_errors_name_file_and_line(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(datasets.DatasetError, match=rf"data\.txt:{told}"):
        datasets.read(write(tmp_path, text))


@pytest.mark.skipif(not SHARED.exists(), reason="the public datasets are not beside this checkout")
@pytest.mark.parametrize(
    ("name", "posts"),
    [("cmner/train", 3000), ("cmner/dev", 1000), ("twitter2015/train", 4000), ("twitter2015/dev", 1000),
     ("twitter2017/train", 3373), ("twitter2017/dev", 723), ("weibo_ner/train", 1350), ("weibo_ner/dev", 270)],
)  # fmt: skip
def test_counts_of_the_public_sets(name: str, posts: int) -> None:
    assert len(datasets.read(SHARED / f"{name}.txt")) == posts


def test_strict_scores_agree_with_seqeval() -> None:
    chance = random.Random(5)
    labels = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
    gold = [[chance.choice(labels) for _ in range(12)] for _ in range(60)]
    found = [[tag if chance.random() < 0.7 else chance.choice(labels) for tag in tags] for tags in gold]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wanted = [
            measure(gold, found, mode="strict", scheme=IOB2) for measure in (precision_score, recall_score, f1_score)
        ]
    ours = scores([chunks(tags) for tags in gold], [chunks(tags) for tags in found], ["x" * 12] * 60, set())["micro"]
    assert (ours["precision"], ours["recall"], ours["f1"]) == pytest.approx(tuple(wanted))


def test_seen_and_unseen_are_told_by_surface_and_type() -> None:
    gold = [chunks(["B-PER", "I-PER", "B-LOC"])]
    found = scores(gold, gold, ["张三沪"], {("张三", "PER")})
    assert (found["seen"]["support"], found["unseen"]["support"]) == (1, 1)
    assert found["micro"]["f1"] == found["per_type"]["LOC"]["f1"] == 1.0
