"""The tagger: prepare (features), infer (emissions), decode (Viterbi, marginals). Torch is not needed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from nlp import artifact
from nlp.crf import Crf
from nlp.encode import Encoder, Features
from nlp.labels import chunks
from nlp.runtime_onnx import OnnxNetwork
from stream.contract.records import Span

BATCH_CELLS_MAX: Final = 16_384
"""Characters of a padded batch; longer texts go alone."""
WINDOW: Final = 4_096
OVERLAP: Final = 64
"""Emissions of a longer text are made by windows and joined. A character's emissions depend on fewer neighbours than
half of the overlap, so that the joint cannot be seen."""
CONFIDENCE_DIGITS: Final = 4


class Network(Protocol):
    """What gives emissions for features."""

    def emissions(self, features: Features) -> NDArray[np.float32]:
        """(B, T, K) float32."""


class Bucket(msgspec.Struct, frozen=True):
    """Texts of like length: their numbers among the asked ones, and their features (or windows of one long text)."""

    numbers: list[int]
    features: list[Features]


class Prepared(msgspec.Struct, frozen=True):
    """Features of all texts."""

    texts: Sequence[str]
    buckets: list[Bucket]


class NeuralTagger:
    """A network with the CRF and vocabulary of its model folder. Each step may run in a thread of its own."""

    def __init__(self, folder: Path, config: artifact.ModelConfig, card: artifact.Card, network: Network) -> None:
        self.folder = folder
        self.labels = config.labels
        self.model_version = artifact.version(card)
        self.names = frozenset(config.names)
        self._encoder = Encoder(config.vocabulary)
        self._network = network
        self._crf = Crf(
            config.labels,
            np.array(config.crf_start, dtype=np.float32),
            np.array(config.crf_transitions, dtype=np.float32),
            np.array(config.crf_end, dtype=np.float32),
        )

    def prepare(self, texts: Sequence[str]) -> Prepared:
        """Features by buckets of like length. Empty texts need none."""
        order = sorted((number for number, text in enumerate(texts) if text), key=lambda number: len(texts[number]))
        buckets: list[Bucket] = []
        held: list[int] = []
        for number in order:
            if held and len(texts[number]) * (len(held) + 1) > BATCH_CELLS_MAX:
                buckets.append(self._bucket(texts, held))
                held = []
            held.append(number)
        if held:
            buckets.append(self._bucket(texts, held))
        return Prepared(texts, buckets)

    def _bucket(self, texts: Sequence[str], numbers: list[int]) -> Bucket:
        longest = texts[numbers[-1]]
        if len(longest) <= WINDOW:
            return Bucket(numbers, [self._encoder.encode([texts[number] for number in numbers])])
        step = WINDOW - OVERLAP
        starts = range(0, max(1, len(longest) - OVERLAP), step)
        return Bucket(numbers, [self._encoder.encode([longest[start : start + WINDOW]]) for start in starts])

    def infer(self, prepared: Prepared) -> list[NDArray[np.float32]]:
        """Emissions (B, T, K) per bucket, windows joined."""
        return [
            _joined([self._network.emissions(features) for features in bucket.features]) for bucket in prepared.buckets
        ]

    def decode(self, prepared: Prepared, scores: list[NDArray[np.float32]]) -> list[list[Span]]:
        """Spans per text, in the order of the texts. A span is as sure as the least sure of its characters."""
        found: list[list[Span]] = [[] for _ in prepared.texts]
        for bucket, emissions in zip(prepared.buckets, scores, strict=True):
            lengths = np.array([len(prepared.texts[number]) for number in bucket.numbers], dtype=np.int64)
            best = self._crf.decode(emissions, lengths)
            marginals = self._crf.marginals(emissions, lengths)
            sure = np.take_along_axis(marginals, best[:, :, None], axis=2)[:, :, 0]
            for row, number in enumerate(bucket.numbers):
                found[number] = self._spans(best[row, : lengths[row]], sure[row])
        return found

    def _spans(self, best: NDArray[np.int64], sure: NDArray[np.float32]) -> list[Span]:
        if not best.any():
            return []
        return [
            Span(
                start=chunk.start,
                end=chunk.end,
                type=chunk.type,
                confidence=round(float(sure[chunk.start : chunk.end].min()), CONFIDENCE_DIGITS),
            )
            for chunk in chunks([self.labels[label] for label in best])
        ]

    def tag(self, texts: Sequence[str]) -> list[list[Span]]:
        """The three steps in a row."""
        prepared = self.prepare(texts)
        return self.decode(prepared, self.infer(prepared))


def _joined(windows: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Emissions of overlapping windows as of one text: each overlap is cut in its middle."""
    if len(windows) == 1:
        return windows[0]
    half = OVERLAP // 2
    parts = [windows[0][:, : windows[0].shape[1] - half]]
    parts += [window[:, half : window.shape[1] - half] for window in windows[1:-1]]
    return np.concatenate([*parts, windows[-1][:, half:]], axis=1)


def load_tagger(path: Path | None = None, *, threads: int = 2) -> NeuralTagger:
    """The tagger in a model folder (default: the one that ships), on ONNX Runtime. Raises ``ArtifactError``."""
    folder = path or artifact.DEFAULT
    config, card = artifact.load(folder)
    return NeuralTagger(folder, config, card, OnnxNetwork(folder / artifact.ONNX, threads))
