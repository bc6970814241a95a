"""Several answers become one; the dataset is read by ``nlp.datasets``, the audit by the bias report."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlp import datasets
from nlp.annotation.adjudication import Question, adjudicate
from nlp.annotation.gold import audit, audit_csv, card, conll, rates
from nlp.annotation.records import AnnotationError, Drawn, Labels, Prediction, problem
from nlp.labels import Chunk, chunks
from stream.bias.audit import read
from tests.annotation.posts import HOSTILE, TEXTS, drawn, marks, posts

PER, LONG, LOC = Chunk(0, 2, "PER"), Chunk(0, 3, "PER"), Chunk(4, 6, "LOC")
TEXT = {"1": "王小明在上海"}


def labels(*answers: tuple[Chunk, ...]) -> Labels:
    return {"1": {name: frozenset(chunks) for name, chunks in zip("abcde", answers, strict=False)}}


def test_more_than_half_decide() -> None:
    found = adjudicate(labels((LONG, LOC), (LONG,), (PER, LOC)), TEXT)
    assert found.gold == {"1": (LONG, LOC)} and found.open == () and found.unanimous == 0
    first, second = found.questions
    assert (first.surface, first.outcome, first.answers[0].annotators) == ("王小明", "majority", ("a", "b"))
    assert second.answers[1].annotators == ("b",) and second.answers[1].entities == ()
    assert adjudicate(labels((LONG,), (), ()), TEXT).gold == {"1": ()}, "most saw nothing"
    again = adjudicate(labels((LONG, LOC), (LONG,), (PER, LOC)), TEXT, [("d:1", first), ("d:2", second)])
    assert again == found, "what was not changed is no decision"
    other = msgspec.structs.replace(first, decided=(PER,))
    overruled = adjudicate(labels((LONG, LOC), (LONG,), (PER, LOC)), TEXT, [("d:1", other)])
    assert overruled.gold == {"1": (PER, LOC)} and overruled.questions[0].outcome == "decided"


def test_the_rest_waits_for_a_person() -> None:
    asked = labels((LONG, LOC), (PER, LOC))
    waiting = adjudicate(asked, TEXT)
    assert waiting.gold == {} and waiting.open == ("1",) and waiting.unanimous == 1
    [question] = waiting.questions
    # As a file hands it back.
    for choice in ((LONG,), (), (Chunk(0, 1, "PER"), Chunk(1, 3, "PER"))):
        line = msgspec.json.encode(msgspec.structs.replace(question, decided=choice))
        decision = ("d:1", msgspec.json.decode(line, type=Question))
        done = adjudicate(asked, TEXT, [decision])
        assert done.gold == {"1": (*choice, LOC)} and done.questions[0].outcome == "decided"
    undecided = ("d:1", question)
    assert adjudicate(asked, TEXT, [undecided]).open == ("1",)
    for wrong, said in (((Chunk(0, 5, "PER"),), "overlap"), ((Chunk(0, 9, "PER"),), "0 <= start")):
        with pytest.raises(AnnotationError, match=f"d:1: post '1': .*{said}"):
            adjudicate(asked, TEXT, [("d:1", msgspec.structs.replace(question, decided=wrong))])
    with pytest.raises(AnnotationError, match="d:1: nobody differs"):
        adjudicate(labels((LOC,), (LOC,)), TEXT, [("d:1", msgspec.structs.replace(question, decided=()))])


def test_one_annotator_is_too_few_unless_that_is_wanted() -> None:
    alone = labels((LOC,))
    assert adjudicate(alone, TEXT).few == ("1",) and adjudicate(alone, TEXT).gold == {}
    assert adjudicate(alone, TEXT, annotators_min=1).gold == {"1": (LOC,)}


@given(TEXTS.flatmap(lambda text: st.tuples(st.just(text), st.lists(marks(text), min_size=2, max_size=5))))
def test_what_all_say_stands_and_what_stands_can_be(case: tuple[str, list[tuple[Chunk, ...]]]) -> None:
    text, answers = case
    found = adjudicate(labels(*answers), {"1": text})
    gold = found.gold.get("1")
    assert (gold is None) == bool(found.open)
    if gold is not None:
        assert problem(text, gold) is None
        assert set.intersection(*map(set, answers)) <= set(gold) <= set.union(*map(set, answers))
        half = len(answers) / 2
        spans = {chunk for answer in answers for chunk in answer}
        assert all(sum(chunk in answer for answer in answers) <= half for chunk in spans - set(gold))
    assert adjudicate(labels(*answers[::-1]), {"1": text}).gold == found.gold
    assert adjudicate(labels(answers[0], answers[0]), {"1": text}).gold == {"1": tuple(answers[0])}


@given(posts())
def test_the_dataset_is_read_back(tmp_path_factory: pytest.TempPathFactory, batch: list[Drawn]) -> None:
    path = tmp_path_factory.getbasetemp() / "gold.txt"
    gold = {one.id: tuple(found.chunk for found in one.predictions) for one in batch}
    data, replaced = conll(gold, {one.id: one for one in batch})
    path.write_bytes(data)
    examples = datasets.read(path)
    assert [one.id for one in examples] == list(gold)
    for one, example in zip(batch, examples, strict=True):
        assert example.text == one.text.replace("\n", " ").replace("\r", " ")
        assert tuple(chunks(example.tags)) == gold[one.id]
    assert replaced == sum("\n" in one.text or "\r" in one.text for one in batch)


def test_ids_with_spaces_are_written_as_in_urls(tmp_path: Path) -> None:
    path = tmp_path / "gold.txt"
    path.write_bytes(conll({"a b%\n": [], "2": []}, {"a b%\n": drawn(HOSTILE), "2": drawn("")})[0])
    assert [one.id for one in datasets.read(path)] == ["a%20b%25%0A"]


def test_the_audit_counts_names_as_trends_do() -> None:
    text = "上海和上海和北京"
    batch = {
        # One name twice, found once: right. A second one missed, a third found wrongly.
        "1": drawn(text, Prediction(0, 2, "LOC"), Prediction(2, 3, "PER"), popularity="0"),
        "2": drawn("北京", Prediction(0, 2, "ORG"), id="2", popularity="1-9"),
        "3": drawn("北京", id="3", by="uncertain"),
    }
    gold = {"1": (Chunk(0, 2, "LOC"), Chunk(3, 5, "LOC"), Chunk(6, 8, "LOC")), "2": (Chunk(0, 2, "LOC"),), "3": ()}
    found = audit(gold, batch)
    assert found.rows == (("LOC", "0", "*", 1, 1, 1), ("LOC", "1-9", "*", 0, 0, 1), ("ORG", "1-9", "*", 1, 0, 0),
                          ("PER", "0", "*", 1, 0, 0))  # fmt: skip
    assert (found.posts, found.left_out) == (2, 1)
    assert rates(found)["LOC"] == {"sampled": 1, "correct": 1, "missed": 2, "precision": 1.0, "recall": 1 / 3}
    cells = read(audit_csv(found), "audit.csv").cells
    told = [(cell.stratum.type, cell.stratum.popularity, cell.sampled, cell.correct, cell.missed) for cell in cells]
    assert told == [(row[0], row[1], *row[3:]) for row in found.rows]
    batch["2"] = Drawn("2", "北京", model="other")
    with pytest.raises(AnnotationError, match="several models"):
        audit(gold, batch)


def test_the_card_tells_what_cannot_be_told() -> None:
    told = card({"posts": 3, "agreement": {"f1": None, "kappa": 0.5}, "types": {}}).decode()
    assert "- posts: 3\n- agreement: f1 cannot be told, kappa 0.5000\n- types: none\n" in told
