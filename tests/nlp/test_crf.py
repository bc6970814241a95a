"""The CRF against enumeration of all paths, in numpy and in torch."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nlp.crf import FORBIDDEN, Crf
from nlp.crf_torch import CrfLoss
from nlp.labels import bio_labels, chunks, may_follow

LABELS = bio_labels(["B-PER", "I-PER", "O", "B-LOC"])


def random_crf(seed: int, steps: int) -> tuple[Crf, NDArray[np.float32]]:
    chance = np.random.default_rng(seed)
    size = len(LABELS)
    crf = Crf(LABELS, *(chance.normal(size=shape).astype(np.float32) for shape in (size, (size, size), size)))
    return crf, chance.normal(size=(1, steps, size)).astype(np.float32) * 2


def path_score(crf: Crf, emissions: NDArray[np.float32], path: tuple[int, ...]) -> float:
    score = float(crf.start[path[0]] + crf.end[path[-1]]) + sum(float(emissions[0, t, k]) for t, k in enumerate(path))
    return score + sum(float(crf.transitions[a, b]) for a, b in itertools.pairwise(path))


@given(st.integers(0, 10_000), st.integers(1, 5))
@settings(max_examples=25, deadline=None)
def test_viterbi_and_marginals_are_those_of_all_paths(seed: int, steps: int) -> None:
    crf, emissions = random_crf(seed, steps)
    paths = list(itertools.product(range(len(LABELS)), repeat=steps))
    scores = np.array([path_score(crf, emissions, path) for path in paths])
    lengths = np.array([steps])
    assert tuple(crf.decode(emissions, lengths)[0]) == paths[int(scores.argmax())]
    shares = np.exp(scores - scores.max())
    shares /= shares.sum()
    marginals = crf.marginals(emissions, lengths)[0]
    for step, label in itertools.product(range(steps), range(len(LABELS))):
        exact = sum(share for share, path in zip(shares, paths, strict=True) if path[step] == label)
        assert marginals[step, label] == pytest.approx(exact, abs=1e-4)


@given(st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_decoded_tags_are_valid_bio_and_padding_changes_nothing(seed: int) -> None:
    crf, emissions = random_crf(seed, 9)
    best = [LABELS[label] for label in crf.decode(emissions, np.array([9]))[0]]
    assert all(may_follow(before, after) for before, after in itertools.pairwise(["O", *best]))
    chance = np.random.default_rng(seed)
    padded = np.concatenate([emissions, chance.normal(size=(1, 6, len(LABELS))).astype(np.float32)], axis=1)
    batch = np.concatenate([padded, chance.normal(size=padded.shape).astype(np.float32)])
    lengths = np.array([9, 15])
    assert [LABELS[label] for label in crf.decode(batch, lengths)[0, :9]] == best
    one, many = crf.marginals(emissions, np.array([9]))[0], crf.marginals(batch, lengths)[0, :9]
    np.testing.assert_allclose(one, many, atol=1e-5)


def test_a_long_text_neither_vanishes_nor_overflows() -> None:
    crf, emissions = random_crf(1, 3000)
    marginals = crf.marginals(emissions * 20, np.array([3000]))
    np.testing.assert_allclose(marginals.sum(axis=2), 1.0, atol=1e-4)


@given(st.integers(0, 10_000), st.integers(1, 4))
@settings(max_examples=15, deadline=None)
def test_the_torch_loss_is_that_of_all_paths(seed: int, steps: int) -> None:
    torch.manual_seed(seed)
    size = 3
    loss = CrfLoss(size)
    for parameter in loss.parameters():
        torch.nn.init.normal_(parameter)
    emissions, tags = torch.randn(1, steps + 2, size), torch.randint(size, (1, steps + 2))
    lengths = torch.tensor([steps])

    def score(path: tuple[int, ...]) -> torch.Tensor:
        total = loss.start[path[0]] + loss.end[path[-1]]
        total = total + sum(emissions[0, step, label] for step, label in enumerate(path))
        return total + sum(loss.transitions[a, b] for a, b in itertools.pairwise(path))

    every = torch.stack([score(path) for path in itertools.product(range(size), repeat=steps)])
    gold = score(tuple(tags[0, :steps].tolist()))
    expected = float((torch.logsumexp(every, 0) - gold).detach())
    assert float(loss(emissions, tags, lengths).detach()) == pytest.approx(expected, abs=1e-4)


def test_forbidden_moves_are_forbidden() -> None:
    crf, _ = random_crf(0, 1)
    assert crf.start[LABELS.index("I-PER")] == FORBIDDEN
    assert crf.transitions[LABELS.index("B-LOC"), LABELS.index("I-PER")] == FORBIDDEN


def test_orphans_strict_and_lenient() -> None:
    tags = ["I-PER", "O", "B-LOC", "I-PER", "I-PER"]
    assert chunks(tags) == [(2, 3, "LOC")]
    assert chunks(tags, strict=False) == [(0, 1, "PER"), (2, 3, "LOC"), (3, 5, "PER")]
