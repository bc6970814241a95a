"""The tagger: prepare (features), infer (emissions), decode (Viterbi, marginals). Torch is not needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from nlp import artifact
from nlp.crf import Crf
from nlp.encode import Encoder, Features, padded_size
from nlp.lexicon import Lexicon
from nlp.runtime_onnx import OnnxNetwork
from stream.contract.ports import TagInput
from stream.contract.records import Span

BATCH_CELLS_MAX: Final = 4_096
"""Characters of a batch, all of whose texts are padded alike; longer texts go alone."""
DECODE_CELLS_MAX: Final = 65_536
"""Characters, padding included, that the CRF goes through at once."""
WINDOW: Final = 4_096
OVERLAP: Final = 64
"""Emissions of a longer text are made by windows and joined. Beside what its window is about, a character's emissions
depend on fewer neighbours than half of the overlap, so that no name is cut at a joint."""
CONFIDENCE_DIGITS: Final = 4


class Network(Protocol):
    """What gives emissions for features."""

    def emissions(self, batches: Sequence[Features]) -> list[NDArray[np.float32]]:
        """(B, T, K) float32 of each batch."""


class Bucket(msgspec.Struct, frozen=True):
    """Texts of like length: their numbers among the asked ones, and their features (or windows of one long text)."""

    numbers: list[int]
    features: list[Features]


class Prepared(msgspec.Struct, frozen=True):
    """Features of all texts."""

    texts: Sequence[str]
    buckets: list[Bucket]


class NeuralTagger:
    """A network with the CRF and vocabulary of its model folder. Each step may run in a thread of its own.

    Confidences are those of the CRF at the temperature that was fitted on dev.
    """

    def __init__(self, config: artifact.ModelConfig, card: artifact.Card, lexicon: Lexicon, network: Network) -> None:
        self.labels = config.labels
        self._begins = np.array([label.startswith("B-") for label in config.labels])
        self._goes_on = np.array([label.startswith("I-") for label in config.labels])
        self.model_version = artifact.version(card)
        self.names = frozenset(config.names)
        self._encoder = Encoder(config.vocabulary, lexicon)
        self._network = network
        self._temperature = np.float32(config.temperature)
        parts = [np.array(part, np.float32) for part in (config.crf_start, config.crf_transitions, config.crf_end)]
        self._crf = Crf(config.labels, *parts)
        self._even = Crf(config.labels, *(np.divide(part, self._temperature, dtype=np.float32) for part in parts))

    def prepare(self, posts: Sequence[TagInput]) -> Prepared:
        """``features`` of the texts; this tagger sees no pictures."""
        return self.features([post.text for post in posts])

    def features(self, texts: Sequence[str]) -> Prepared:
        """Features by buckets of the same padded length. Empty texts need none."""
        order = sorted((number for number, text in enumerate(texts) if text), key=lambda number: len(texts[number]))
        groups: list[list[int]] = []
        for number in order:
            if not groups or _is_full(len(texts[groups[-1][0]]), len(texts[number]), len(groups[-1])):
                groups.append([])
            groups[-1].append(number)
        words = dict(zip(order, self._encoder.words([texts[number] for number in order]), strict=True))
        return Prepared(texts, [self._bucket(texts, numbers, words) for numbers in groups])

    def _bucket(self, texts: Sequence[str], numbers: list[int], words: Mapping[int, NDArray[np.float32]]) -> Bucket:
        longest = texts[numbers[-1]]
        if len(longest) <= WINDOW:
            own = [words[number] for number in numbers]
            size = padded_size(len(longest))
            return Bucket(numbers, [self._encoder.encode([texts[number] for number in numbers], words=own, size=size)])
        step = WINDOW - OVERLAP
        starts = range(0, max(1, len(longest) - OVERLAP), step)
        return Bucket(numbers, [self._encoder.encode([longest[start : start + WINDOW]]) for start in starts])

    def infer(self, prepared: Prepared) -> list[NDArray[np.float32]]:
        """Emissions (B, T, K) per bucket, windows joined."""
        found = iter(self._network.emissions([one for bucket in prepared.buckets for one in bucket.features]))
        return [_joined([next(found) for _ in bucket.features]) for bucket in prepared.buckets]

    def decode(self, prepared: Prepared, scores: list[NDArray[np.float32]]) -> list[list[Span]]:
        """Spans per text, in the order of the texts. A span is as sure as the least sure of its characters."""
        found: list[list[Span]] = [[] for _ in prepared.texts]
        numbers: list[int] = []
        held: list[NDArray[np.float32]] = []
        for bucket, emissions in zip(prepared.buckets, scores, strict=True):
            if held and emissions.shape[1] * (len(numbers) + len(emissions)) > DECODE_CELLS_MAX:
                self._decode(prepared.texts, numbers, held, found)
                numbers, held = [], []
            numbers += bucket.numbers
            held.append(emissions)
        if held:
            self._decode(prepared.texts, numbers, held, found)
        return found

    def _decode(
        self, texts: Sequence[str], numbers: list[int], scores: list[NDArray[np.float32]], found: list[list[Span]]
    ) -> None:
        lengths = np.array([len(texts[number]) for number in numbers], dtype=np.int64)
        emissions = _stacked(scores)[:, : int(lengths.max())]
        best = self._crf.decode(emissions, lengths)
        marginals = self._even.marginals(np.divide(emissions, self._temperature, dtype=np.float32), lengths)
        sure = np.take_along_axis(marginals, best[:, :, None], axis=2)[:, :, 0]
        for row, number in enumerate(numbers):
            found[number] = self._spans(best[row, : lengths[row]], sure[row])

    def _spans(self, best: NDArray[np.int64], sure: NDArray[np.float32]) -> list[Span]:
        """Entities of decoded labels, which are valid BIO: one begins at B- and ends before what is no I-."""
        starts = np.flatnonzero(self._begins[best])
        if not len(starts):
            return []
        breaks = np.append(np.flatnonzero(~self._goes_on[best]), len(best))
        ends = breaks[np.searchsorted(breaks, starts, side="right")]
        return [
            Span(
                start=start,
                end=end,
                type=self.labels[best[start]][2:],
                confidence=round(float(sure[start:end].min()), CONFIDENCE_DIGITS),
            )
            for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
        ]

    def tag(self, texts: Sequence[str]) -> list[list[Span]]:
        """The three steps in a row."""
        prepared = self.features(texts)
        return self.decode(prepared, self.infer(prepared))


def _joined(windows: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Emissions of overlapping windows as of one text: each overlap is cut in its middle."""
    if len(windows) == 1:
        return windows[0]
    half = OVERLAP // 2
    parts = [windows[0][:, : windows[0].shape[1] - half]]
    parts += [window[:, half : window.shape[1] - half] for window in windows[1:-1]]
    return np.concatenate([*parts, windows[-1][:, half:]], axis=1)


def _stacked(buckets: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Emissions of buckets in one array (B, T, K): the CRF goes through it place by place."""
    rows, longest = sum(len(bucket) for bucket in buckets), max(bucket.shape[1] for bucket in buckets)
    stacked = np.zeros((rows, longest, buckets[0].shape[2]), dtype=np.float32)
    row = 0
    for bucket in buckets:
        stacked[row : row + len(bucket), : bucket.shape[1]] = bucket
        row += len(bucket)
    return stacked


def _is_full(shortest: int, longest: int, texts: int) -> bool:
    """Whether a batch of ``texts``, the first of them the shortest, ends before one of ``longest`` characters."""
    size = padded_size(longest)
    return size != padded_size(shortest) or size * (texts + 1) > BATCH_CELLS_MAX


def load_tagger(path: Path | None = None, *, threads: int = 2) -> NeuralTagger:
    """The tagger in a model folder (default: the one that ships), on ONNX Runtime. Raises ``ArtifactError``."""
    folder = path or artifact.DEFAULT
    config, card = artifact.load(folder)
    return NeuralTagger(config, card, read_lexicon(folder), OnnxNetwork(folder / artifact.ONNX, threads))


def read_lexicon(folder: Path) -> Lexicon:
    """The dictionary in a model folder."""
    return Lexicon.read((folder / artifact.LEXICON).read_bytes())
