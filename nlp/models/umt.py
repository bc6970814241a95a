"""UMT: a transformer with layers between words and regions, and a second head for where entities are (Yu et al. 2020).

Shapes: see ``nlp.batch``; H width of a state, K labels, A labels without types, N regions.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec
import torch
from torch import Tensor, nn

from nlp.backbones import PictureEncoder, TextEncoder
from nlp.batch import Batch
from nlp.crf_torch import CrfLoss
from nlp.models.base import Scores, Tagging, lengths
from nlp.models.bert import Bert, BertLayer, LayerSizes
from nlp.models.picture_attention import region_size
from nlp.models.region_sequence import RegionLayout, region_sequence

_WEIGHT_STD: Final = 0.02
_CRF_BOUND: Final = 0.1


class UmtSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Sizes and switches; those of the encoder of texts count where the model has its own.

    ``heads`` and ``inner`` (0: four times the width) are also those of the layers between words and regions.
    ``region_size`` 0: that of the encoder of pictures. ``map_layer``: one more linear layer behind the encoder of
    texts. ``region_layout``: ``reference`` scrambles regions as CMNER's script does. ``mixing``: the share of the
    auxiliary head in the scores; ``auxiliary_weight``: that of its loss. ``crf_reduction``: the loss is the mean or the
    sum over a batch. ``frozen_layers``: so many of the first layers are not trained, nor the embeddings; 0: all are.
    """

    tokens: int = 0
    hidden: int = 768
    layers: int = 12
    heads: int = 12
    inner: int = 0
    positions: int = 512
    segments: int = 2
    dropout: float = 0.1
    region_size: int = 0
    map_layer: bool = False
    region_layout: RegionLayout = "correct"
    mixing: float = 0.5
    auxiliary_weight: float = 0.5
    crf_reduction: Literal["mean", "sum"] = "mean"
    frozen_layers: int = 0

    def __post_init__(self) -> None:
        if min(self.hidden, self.layers, self.heads, self.positions, self.segments) < 1 or self.inner < 0:
            raise ValueError("hidden, layers, heads, positions and segments must be at least 1, inner at least 0")
        if not 0 <= self.dropout < 1:
            raise ValueError("dropout must be from 0 to below 1")
        if not 0 <= self.mixing <= 1 or self.auxiliary_weight < 0:
            raise ValueError("mixing must be from 0 to 1, auxiliary_weight at least 0")
        if not 0 <= self.frozen_layers <= self.layers:
            raise ValueError("frozen_layers must be from 0 to layers")


class CrossModal(nn.Module):
    """Words that know the picture and words that know which regions speak of them (Yu et al. 2020, 3.3).

    Two linear layers bring regions to the width of words, one for each direction.
    """

    def __init__(self, region_size: int, sizes: LayerSizes) -> None:
        super().__init__()
        self.to_keys = nn.Linear(region_size, sizes.width)
        self.to_queries = nn.Linear(region_size, sizes.width)
        self.image_aware = BertLayer(sizes)
        self.word_aware_regions = BertLayer(sizes)
        self.word_aware = BertLayer(sizes)
        self.gate = nn.Linear(2 * sizes.width, sizes.width)

    def forward(self, words: Tensor, mask: Tensor, regions: Tensor, there: Tensor) -> Tensor:
        """(B, S, 2H): word-aware words, and image-aware words as far as the visual gate lets them through.

        Of words (B, S, H) with mask (B, S), and regions (B, N, D) with mask (B, N).
        """
        image_aware = self.image_aware(words, self.to_keys(regions), there)
        spoken_of = self.word_aware_regions(self.to_queries(regions), words, mask)
        word_aware = self.word_aware(words, spoken_of, there)
        gate = torch.sigmoid(self.gate(torch.cat([word_aware, image_aware], dim=-1)))
        return torch.cat([word_aware, gate * image_aware], dim=-1)


class Umt(Tagging):
    """Words with their regions, scored by one linear layer; mixed with what the auxiliary head says of spans."""

    sees_pictures = True

    settings: UmtSettings
    conversion: Tensor
    span_of: Tensor

    def __init__(
        self,
        settings: UmtSettings,
        labels: tuple[str, ...],
        text: TextEncoder | None = None,
        pictures: PictureEncoder | None = None,
    ) -> None:
        super().__init__()
        self.settings = settings
        self.pictures = pictures
        self.text = own_encoder(settings) if text is None else text
        width = self.text.width
        sizes = LayerSizes(width, settings.heads, settings.inner or 4 * width, settings.dropout)
        self.region_size = region_size(settings.region_size, pictures)
        spans = span_labels(labels)
        self.map = nn.Linear(width, width) if settings.map_layer else nn.Identity()
        self.dropout = nn.Dropout(settings.dropout)
        self.span_layer = BertLayer(sizes)
        self.span_classifier = nn.Linear(width, len(spans))
        self.context_layer = BertLayer(sizes)
        self.cross = CrossModal(self.region_size, sizes)
        self.classifier = nn.Linear(2 * width, len(labels))
        self.crf = CrfLoss(len(labels))
        self.span_crf = CrfLoss(len(spans))
        self._start()
        span_of = torch.tensor([spans.index(span_label(label)) for label in labels])
        self.register_buffer("span_of", span_of, persistent=False)
        self.register_buffer("conversion", torch.tensor(conversion(labels)), persistent=False)
        if settings.frozen_layers:
            if not isinstance(self.text, Bert):
                raise ValueError("frozen_layers is for the model's own encoder; a pretrained one has text.train")
            self.text.freeze(settings.frozen_layers)

    def scores(self, batch: Batch) -> Scores:
        """Scores at each token, and those of spans without types; the order of pictures and regions tells nothing."""
        return Scores(*self._heads(batch))

    def _heads(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(B, S, K) and (B, S, A)."""
        regions, there = region_sequence(batch, self.pictures, self.region_size, self.settings.region_layout)
        words = self.dropout(self.map(self.text(batch.tokens, batch.mask)))
        spans = self.span_classifier(self.span_layer(words, words, batch.mask)).float()
        context = self.context_layer(words, words, batch.mask)
        fused = self.cross(context, batch.mask, regions, there)
        own = self.classifier(fused).float()
        mixing = self.settings.mixing
        return (1 - mixing) * own + mixing * (spans @ self.conversion), spans

    def loss(self, batch: Batch) -> Tensor:
        """−log P of the labels, and with its weight −log P of the spans without types: mean or sum over the batch."""
        if batch.labels is None:
            raise ValueError("a loss needs a batch with labels")
        labels = batch.labels.masked_fill(~batch.mask, 0)
        emissions, spans = self._heads(batch)
        sizes = lengths(batch)
        each = self.crf.each(emissions, labels, sizes)
        each = each + self.settings.auxiliary_weight * self.span_crf.each(spans, self.span_of[labels], sizes)
        return each.sum() if self.settings.crf_reduction == "sum" else each.mean()

    def _start(self) -> None:
        """Weights as BERT begins; encoders that came with weights keep theirs."""
        for part in self.children():
            if not isinstance(part, TextEncoder | PictureEncoder):
                part.apply(_begin)


def own_encoder(settings: UmtSettings) -> Bert:
    """The encoder of texts of a model that gets none. Raises ``ValueError``."""
    if settings.tokens < 1:
        raise ValueError("umt needs an encoder of texts, or with tokens how many ids its own has")
    sizes = LayerSizes(settings.hidden, settings.heads, settings.inner or 4 * settings.hidden, settings.dropout)
    return Bert(settings.tokens, settings.positions, settings.segments, settings.layers, sizes)


def span_label(label: str) -> str:
    """A label without its type: ``B`` and ``I`` for ``B-PER`` and ``I-PER``; others stay."""
    return label[0] if label[:2] in ("B-", "I-") else label


def span_labels(labels: tuple[str, ...]) -> tuple[str, ...]:
    """The labels of the auxiliary head, in the order in which ``labels`` has them."""
    return tuple(dict.fromkeys(map(span_label, labels)))


def conversion(labels: tuple[str, ...]) -> list[list[float]]:
    """(A, K): what a span label says of each label, the same for all types; rows sum to 1."""
    told = [[float(span_label(label) == span) for label in labels] for span in span_labels(labels)]
    return [[share / sum(row) for share in row] for row in told]


def _begin(part: nn.Module) -> None:
    if isinstance(part, nn.Linear | nn.Embedding):
        nn.init.normal_(part.weight, std=_WEIGHT_STD)
    if isinstance(part, nn.Linear):
        nn.init.zeros_(part.bias)
    if isinstance(part, CrfLoss):
        for parameter in part.parameters():
            nn.init.uniform_(parameter, -_CRF_BOUND, _CRF_BOUND)
