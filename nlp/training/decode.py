"""From the emissions of a torch model to entities: the numpy CRF over the labels that may stand at each token.

Labels that no entity has (padding, unknown) are never given. A further piece of a word carries what its word is, so the
CRF's one label ``X`` becomes a state for each type and one for ``O``, with the scores of ``X``; where a model has no
``X``, with those of ``I-`` and ``O``. So BIO holds across pieces, and a word is inside an entity or outside as a whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nlp.crf import FORBIDDEN, Crf, Floats
from nlp.labels import Chunk
from nlp.training.coder import BEGIN, BEGIN_LABEL, END, END_LABEL, FIRST, PIECE_LABEL, REST, Coded
from stream.contract.records import Span

CELLS_MAX: Final = 65_536
"""Tokens, padding included, that the CRF goes through at once."""
CONFIDENCE_DIGITS: Final = 4


class Post(NamedTuple):
    """A text's tokens and what the model says of them: (S, K) float32."""

    coded: Coded
    emissions: Floats


class Decoder:
    """Finds entities under the CRF scores of a model: start (K), transitions (K, K; row from, column to), end (K).

    ``temperature`` divides all scores before confidences are made of them (Guo et al. 2017); it moves no entity.
    """

    def __init__(
        self, labels: Sequence[str], scores: tuple[Floats, Floats, Floats], *, pieces: bool, temperature: float = 1.0
    ) -> None:
        states = _states(labels, pieces)
        self.labels = tuple(states)
        self._columns = np.array([labels.index(column) for column in states.values()])
        self._allowed = np.stack([_may_stand(self.labels, role) for role in (FIRST, REST, BEGIN, END)])
        start, moves, end = scores[0][self._columns], scores[1][np.ix_(self._columns, self._columns)], scores[2]
        start = np.where(_may_stand(self.labels, REST), FORBIDDEN, start)
        moves = np.where(_may_move(self.labels), moves, FORBIDDEN)
        parts = [part.astype(np.float32) for part in (start, moves, end[self._columns])]
        self._crf = Crf(self.labels, parts[0], parts[1], parts[2])
        self._temperature = np.float32(temperature)
        scaled = [(part / self._temperature).astype(np.float32) for part in parts]
        self._scaled = Crf(self.labels, scaled[0], scaled[1], scaled[2])

    def chunks(self, posts: Sequence[Post]) -> list[list[Chunk]]:
        """The entities of each post, places in code points."""
        found: list[list[Chunk]] = []
        for group in _groups(posts):
            best = self._crf.decode(*self._padded(group, np.float32(1)))
            found += [
                [Chunk(*place, type_) for place, type_, _ in self._entities(post.coded, row)]
                for post, row in zip(group, best, strict=True)
            ]
        return found

    def spans(self, posts: Sequence[Post]) -> list[list[Span]]:
        """The same with confidences. An entity is as sure as the least sure of its tokens."""
        found: list[list[Span]] = []
        for group in _groups(posts):
            best = self._crf.decode(*self._padded(group, np.float32(1)))
            marginals = self._scaled.marginals(*self._padded(group, self._temperature))
            sure = np.take_along_axis(marginals, best[:, :, None], axis=2)[:, :, 0]
            for post, row, certain in zip(group, best, sure, strict=True):
                found.append(
                    [
                        Span(
                            start=start,
                            end=end,
                            type=type_,
                            confidence=round(float(certain[tokens].min()), CONFIDENCE_DIGITS),
                        )
                        for (start, end), type_, tokens in self._entities(post.coded, row)
                    ]
                )
        return found

    def _padded(self, posts: Sequence[Post], temperature: np.float32) -> tuple[Floats, NDArray[np.int64]]:
        lengths = np.array([len(post.coded) for post in posts], dtype=np.int64)
        found = np.zeros((len(posts), max(1, int(lengths.max())), len(self.labels)), dtype=np.float32)
        for row, (coded, emissions) in enumerate(posts):
            states = emissions[:, self._columns] / temperature
            found[row, : len(coded)] = np.where(self._allowed[coded.roles], states, FORBIDDEN)
        return found, np.maximum(lengths, 1)

    def _entities(self, coded: Coded, best: NDArray[np.int64]) -> list[tuple[tuple[int, int], str, slice]]:
        """((start, end), type, tokens) of the entities of decoded states."""
        found = []
        names = [self.labels[number] for number in best[: len(coded)]]
        begins = [place for place, name in enumerate(names) if name.startswith("B-")]
        for begin in begins:
            type_ = names[begin][2:]
            end = begin + 1
            while end < len(names) and names[end] in (f"I-{type_}", f"{PIECE_LABEL}-{type_}"):
                end += 1
            place = int(coded.starts[begin]), int(coded.ends[end - 1])
            found.append((place, type_, slice(begin, end)))
        return found


def _states(labels: Sequence[str], pieces: bool) -> dict[str, str]:
    """State of the decoder → the label whose scores it has."""
    plain = [label for label in labels if label == "O" or label[:2] in ("B-", "I-")]
    states = {label: label for label in plain}
    states |= {label: label for label in (BEGIN_LABEL, END_LABEL) if label in labels}
    if pieces:
        for label in plain:
            if not label.startswith("B-"):
                name = f"{PIECE_LABEL}-{label[2:] or label}"
                states[name] = PIECE_LABEL if PIECE_LABEL in labels else label
    return states


def _may_stand(states: Sequence[str], role: int) -> NDArray[np.bool_]:
    """Which states a token of a role may have."""
    if role == FIRST:
        return np.array([state == "O" or state[:2] in ("B-", "I-") for state in states])
    if role == REST:
        return np.array([state.startswith(f"{PIECE_LABEL}-") for state in states])
    own = BEGIN_LABEL if role == BEGIN else END_LABEL
    return np.array([state == (own if own in states else "O") for state in states])


def _may_move(states: Sequence[str]) -> NDArray[np.bool_]:
    """(K, K): a further piece goes on with what its word is; what ``nlp.crf`` holds of BIO comes on top."""

    def carried(state: str) -> str:
        return "O" if state == "O" else state[2:]

    return np.array(
        [
            [not after.startswith(f"{PIECE_LABEL}-") or carried(before) == after[2:] for after in states]
            for before in states
        ]
    )


def _groups(posts: Sequence[Post]) -> list[Sequence[Post]]:
    """Posts in order, as many at once as the limit of cells lets."""
    groups: list[Sequence[Post]] = []
    begin, longest = 0, 1
    for number, post in enumerate(posts):
        longest = max(longest, len(post.coded))
        if number > begin and longest * (number + 1 - begin) > CELLS_MAX:
            groups.append(posts[begin:number])
            begin, longest = number, len(post.coded)
    return [*groups, posts[begin:]] if begin < len(posts) else groups
