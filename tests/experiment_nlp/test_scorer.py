"""Our span scores against those of others: seqeval in both its modes, and conlleval by its published rules.

conlleval (Tjong Kim Sang and De Meulder 2003) reads both columns side by side and counts where chunks begin and end; it
is written here anew for BIO, and shares nothing with what it is held against.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from seqeval.metrics import sequence_labeling, v1
from seqeval.scheme import IOB2

from nlp.experiments.measures import sums_of, value_of
from nlp.labels import chunks
from nlp.scoring import scores

Tags = list[str]
Corpus = list[tuple[Tags, Tags]]
"""Gold tags and found ones of each post."""

TYPES = ("PER", "LOC", "PER-NAM", "PER-NOM", "A--B", "B", "I", "O", "人名")
KINDS = ("precision", "recall", "f1")
tags = st.lists(st.just("O") | st.builds("{}-{}".format, st.sampled_from("BI"), st.sampled_from(TYPES)), max_size=12)
corpora = st.lists(
    tags.flatmap(lambda gold: st.tuples(st.just(gold), st.permutations(gold) | st.just(["O"] * len(gold)))), max_size=6
)


def ours(corpus: Corpus, *, strict: bool) -> dict[str, Any]:
    gold, found = ([chunks(post[side], strict=strict) for post in corpus] for side in (0, 1))
    return scores(gold, found, ["x" * len(post) for post, _ in corpus], ())


def seqeval(corpus: Corpus, *, strict: bool) -> dict[str, Any]:
    """As ``scores``: micro, and by type."""
    gold, found = ([list(post[side]) for post in corpus] for side in (0, 1))

    def asked(average: str | None) -> Any:
        if strict:
            return v1.precision_recall_fscore_support(gold, found, average=average, scheme=IOB2, zero_division=0)
        return sequence_labeling.precision_recall_fscore_support(gold, found, average=average, zero_division=0)

    names = sorted({chunk.type for post in corpus for side in post for chunk in chunks(side, strict=strict)})
    rows = zip(*asked(None), strict=True) if names else ()
    return {
        "micro": dict(zip(KINDS, asked("micro")[:3] if names else (0, 0, 0), strict=True)),
        "per_type": {
            name: dict(zip((*KINDS, "support"), row, strict=True)) for name, row in zip(names, rows, strict=True)
        },
    }


def parted(tag: str) -> tuple[str, str]:
    """The prefix, and what stands behind the first dash."""
    prefix, _, type_ = tag.partition("-")
    return prefix, type_


def ends(before: str, after: str) -> bool:
    """conlleval's endOfChunk."""
    (old, old_type), (new, new_type) = parted(before), parted(after)
    return old in ("B", "I") and (new in ("B", "O") or old_type != new_type)


def begins(before: str, after: str) -> bool:
    """conlleval's startOfChunk."""
    (old, old_type), (new, new_type) = parted(before), parted(after)
    return new == "B" or (new == "I" and (old == "O" or old_type != new_type))


def conlleval(corpus: Corpus) -> dict[str, Any]:
    """Its counts, turned into its figures."""
    tally: Counter[tuple[str, str]] = Counter()
    for gold, found in corpus:
        correct = False
        before = ("O", "O")
        for after in [*zip(gold, found, strict=True), ("O", "O")]:
            ended = [ends(before[side], after[side]) for side in (0, 1)]
            begun = [begins(before[side], after[side]) for side in (0, 1)]
            types = [parted(tag)[1] for tag in after]
            if correct and all(ended):
                tally["right", parted(before[0])[1]] += 1
            # Also what is given up: one of the two ended alone, or goes on as something else.
            correct = correct and not any(ended) and types[0] == types[1]
            correct = correct or (all(begun) and types[0] == types[1])
            tally["gold", types[0]] += begun[0]
            tally["found", types[1]] += begun[1]
            before = after

    def row(right: int, found: int, gold: int) -> dict[str, float]:
        precision, recall = right / found if found else 0.0, right / gold if gold else 0.0
        f1 = 2 * precision * recall / (precision + recall) if right else 0.0
        return {"precision": precision, "recall": recall, "f1": f1}

    names = sorted({name for (_, name), count in tally.items() if count})
    counts = {name: [tally[kind, name] for kind in ("right", "found", "gold")] for name in names}
    return {
        "micro": row(*(sum(one) for one in zip(*counts.values(), strict=True)) if names else (0, 0, 0)),
        "per_type": {name: {**row(*count), "support": count[2]} for name, count in counts.items()},
    }


def assert_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert one["micro"] == pytest.approx(other["micro"])
    assert one["per_type"].keys() == other["per_type"].keys()
    for name, row in one["per_type"].items():
        assert row == pytest.approx(other["per_type"][name]), name


def drawn(seed: int, posts: int) -> Iterator[tuple[Tags, Tags]]:
    """Posts with entities, and what a tagger might find: shifted ends, other types, tags that continue nothing."""
    rng = random.Random(seed)
    for _ in range(posts):
        gold: Tags = []
        while rng.random() < 0.85:
            name = rng.choice(TYPES[:4])
            gold += rng.choice([["O"], ["O", "O"], [f"B-{name}"], [f"B-{name}", f"I-{name}"], [f"B-{name}"] * 2])
        noisy = [rng.choice(["O", f"B-{rng.choice(TYPES)}", f"I-{rng.choice(TYPES[:4])}", tag, tag]) for tag in gold]
        yield gold, noisy if rng.random() < 0.7 else list(gold)


@pytest.mark.parametrize("strict", [True, False])
def test_thousands_of_posts_are_scored_as_seqeval_does(strict: bool) -> None:
    for seed in range(300):
        corpus = list(drawn(seed, 10))
        found = ours(corpus, strict=strict)
        assert_same(found, seqeval(corpus, strict=strict))


def test_thousands_of_posts_are_scored_as_conlleval_does() -> None:
    for seed in range(300):
        corpus = list(drawn(seed, 10))
        assert_same(ours(corpus, strict=False), conlleval(corpus))


@settings(max_examples=300)
@given(corpora)
@example([(["I-PER"], ["B-PER"])])
@example([(["B-PER", "I-LOC", "I-PER"], ["B-PER", "I-PER", "I-PER"])])
@example([(["B-PER", "B-PER"], ["B-PER", "I-PER"]), ([], [])])
@example([([], [])])
def test_hostile_posts(corpus: Corpus) -> None:
    for strict in (True, False):
        assert_same(ours(corpus, strict=strict), seqeval(corpus, strict=strict))
    assert_same(ours(corpus, strict=False), conlleval(corpus))


def test_the_end_of_a_post_ends_its_entities() -> None:
    """What stands at the end of one post and goes on in the next is two entities, for all of them."""
    corpus: Corpus = [(["O", "B-PER"], ["O", "B-PER"]), (["I-PER", "O"], ["O", "O"])]
    assert ours(corpus, strict=False)["micro"] == {"precision": 1.0, "recall": 0.5, "f1": pytest.approx(2 / 3)}
    assert_same(ours(corpus, strict=False), conlleval(corpus))
    assert_same(ours(corpus, strict=False), seqeval(corpus, strict=False))
    assert_same(ours(corpus, strict=True), seqeval(corpus, strict=True))


@pytest.mark.parametrize("type_", ["-PER", "PER-"])
def test_a_dash_at_the_end_of_a_type_belongs_to_it(type_: str) -> None:
    """Here seqeval's strict mode differs, and from its own default mode too: it strips dashes, so that two types become
    one. conlleval splits at the first dash and keeps the rest, as we do."""
    corpus: Corpus = [([f"B-{type_}", "O"], ["B-PER", "O"])]
    assert ours(corpus, strict=True)["micro"]["f1"] == 0 == conlleval(corpus)["micro"]["f1"]
    assert sequence_labeling.f1_score([corpus[0][0]], [corpus[0][1]], zero_division=0) == 0
    assert v1.classification_report([corpus[0][0]], [corpus[0][1]], scheme=IOB2, output_dict=True)["PER"]["recall"] == 1


def test_sums_of_posts_give_the_same_scores() -> None:
    corpus = list(drawn(7, 50))
    gold, found = ([chunks(post[side]) for post in corpus] for side in (0, 1))
    assert value_of(sums_of(gold, found)) == pytest.approx(seqeval(corpus, strict=True)["micro"]["f1"])


def test_these_posts_are_not_easy() -> None:
    """Where all is right or all wrong, scorers agree whatever they do."""
    corpus = [post for seed in range(300) for post in drawn(seed, 10)]
    read = [side for post in corpus for side in post]
    lenient, strict = (sum(len(chunks(one, strict=kind)) for one in read) for kind in (False, True))
    assert 0.2 < ours(corpus, strict=True)["micro"]["f1"] < 0.9 and lenient > 1.05 * strict > 5000
