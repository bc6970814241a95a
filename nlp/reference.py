"""Checkpoints of the reference code of ACA and UMT: their names for weights, and models of ours from them.

Sizes come from the shapes. ``ACA`` and ``UMT`` pair each name of the reference with ours; ``#`` is a number.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec
import torch
from torch import Tensor

from nlp.models import families
from nlp.models.base import Tagging
from nlp.models.region_sequence import RegionLayout
from nlp.models.umt import span_labels
from nlp.training.config import label_set

Architecture = Literal["aca", "umt"]
Names = Sequence[tuple[str, str]]

ACA: Final[Names] = (
    ("lstm.char_cnn.char_emb", "reader.characters.embedding"),
    ("lstm.char_cnn.convs.#.0", "reader.characters.convolutions.#"),
    ("lstm.char_cnn.linear.0", "reader.characters.inner"),
    ("lstm.char_cnn.linear.3", "reader.characters.out"),
    ("lstm.word_emb", "reader.embedding"),
    ("lstm.bi_lstm", "reader.lstm"),
    ("dim_match.0", "match"),
    ("co_attention.text_linear_1", "attention.text_1"),
    ("co_attention.img_linear_1", "attention.image_1"),
    ("co_attention.att_linear_1", "attention.score_1"),
    ("co_attention.text_linear_2", "attention.text_2"),
    ("co_attention.img_linear_2", "attention.image_2"),
    ("co_attention.att_linear_2", "attention.score_2"),
    ("gmf.text_linear", "fusion.text"),
    ("gmf.img_linear", "fusion.image"),
    ("gmf.gate_linear", "fusion.gate"),
    ("filtration_gate.text_linear", "filtration.text"),
    ("filtration_gate.multimodal_linear", "filtration.fused"),
    ("filtration_gate.gate_linear", "filtration.gate"),
    ("filtration_gate.resv_linear", "filtration.reserve"),
    ("filtration_gate.output_linear", "classifier"),
    ("crf.start_transitions", "crf.start"),
    ("crf.end_transitions", "crf.end"),
    ("crf.transitions", "crf.transitions"),
)
_LAYERS: Final[Names] = (
    ("bert.encoder.layer.#", "text.layers.#"),
    ("self_attention.layer.0", "span_layer"),
    ("self_attention_v2.layer.0", "context_layer"),
    ("txt2img_attention.layer.0", "cross.image_aware"),
    ("img2txt_attention.layer.0", "cross.word_aware_regions"),
    ("txt2txt_attention.layer.0", "cross.word_aware"),
)
_IN_LAYER: Final[Names] = (
    ("attention.self.query", "query"),
    ("attention.self.key", "key"),
    ("attention.self.value", "value"),
    ("attention.output.dense", "leave"),
    ("attention.output.LayerNorm", "attention_norm"),
    ("intermediate.dense", "widen"),
    ("output.dense", "narrow"),
    ("output.LayerNorm", "norm"),
)
UMT: Final[Names] = (
    ("bert.embeddings.word_embeddings", "text.words"),
    ("bert.embeddings.position_embeddings", "text.places"),
    ("bert.embeddings.token_type_embeddings", "text.segments"),
    ("bert.embeddings.LayerNorm", "text.norm"),
    *((f"{layer}.{part}", f"{own}.{mine}") for layer, own in _LAYERS for part, mine in _IN_LAYER),
    ("map", "map"),
    ("vismap2text", "cross.to_keys"),
    ("vismap2text_v2", "cross.to_queries"),
    ("gate", "cross.gate"),
    ("classifier", "classifier"),
    ("aux_classifier", "span_classifier"),
    ("crf.start_transitions", "crf.start"),
    ("crf.end_transitions", "crf.end"),
    ("crf.transitions", "crf.transitions"),
    ("aux_crf.start_transitions", "span_crf.start"),
    ("aux_crf.end_transitions", "span_crf.end"),
    ("aux_crf.transitions", "span_crf.transitions"),
)
_NAMES: Final[dict[Architecture, Names]] = {"aca": ACA, "umt": UMT}

_UNREAD: Final = re.compile(r"bert\.(pooler\..+|embeddings\.position_ids)")
"""What a tagger does not read of BERT: the pooler, and a buffer of numbers from 0."""
_PICTURE_NETWORK: Final = re.compile(
    r"(?:(?:\w*encoder|resnet|vgg|cnn)\.)*(?:conv1|bn1|layer[1-4]\.\d+|fc|features\.\d+)\."
    r"(?:\w+\.)*(?:weight|bias|running_mean|running_var|num_batches_tracked)"
)
"""Weights of ResNet or VGG, as torchvision names them; regions are made before the model."""
_HEAD_WIDTH: Final = 64
_TYPES: Final = ("PER", "LOC", "ORG", "MISC")
_NAMED_MAX: Final = 4


class CheckpointError(ValueError):
    """A checkpoint or its options do not fit; the message says what."""


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the shapes of a checkpoint do not tell. All but ``labels`` are UMT's.

    ``n_heads``: by default one for each 64 of the width. ``map_layer``: by default whether the checkpoint has it.
    ``labels``: by default those of the reference, in its order.
    """

    n_heads: int | None = None
    region_layout: RegionLayout = "correct"
    map_layer: bool | None = None
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Converted:
    """A model with the checkpoint's weights, its labels, and the names in the checkpoint that were left out."""

    model: Tagging
    labels: tuple[str, ...]
    left_out: tuple[str, ...]


def convert(state: Mapping[str, Tensor], architecture: Architecture, options: Options) -> Converted:
    """The model of a checkpoint with the reference's names, in eval mode. Raises ``CheckpointError``."""
    shapes = _Shapes(state, architecture)
    sizes, labels = (_aca if architecture == "aca" else _umt)(shapes, options)
    try:
        model = families.build(architecture, sizes, labels)
    except ValueError as error:
        raise CheckpointError(str(error)) from error
    weights, left_out = _weights(state, architecture, model)
    model.load_state_dict(weights)
    return Converted(model.eval(), labels, left_out)


def own_name(name: str, architecture: Architecture) -> str | None:
    """Our name for a weight of the reference; None for one that it does not have."""
    return _translated(name, _NAMES[architecture])


def reference_name(name: str, architecture: Architecture) -> str | None:
    """The reference's name for a weight of ours."""
    return _translated(name, [(own, reference) for reference, own in _NAMES[architecture]])


def _translated(name: str, pairs: Names) -> str | None:
    for source, target in pairs:
        found = re.fullmatch(re.escape(source).replace(r"\#", r"(\d+)") + r"(\.\w+)?", name)
        if found:
            *numbers, end = found.groups(default="")
            return target.replace("#", "".join(numbers)) + end
    return None


class _Shapes:
    """Shapes in a checkpoint, by the reference's names."""

    def __init__(self, state: Mapping[str, Tensor], architecture: Architecture) -> None:
        self._state = state
        self._architecture = architecture

    def __contains__(self, name: str) -> bool:
        return name in self._state

    def of(self, name: str, dims: int) -> tuple[int, ...]:
        """The shape of a weight. Raises ``CheckpointError`` where it is missing or has other than ``dims`` sizes."""
        if name not in self._state:
            raise CheckpointError(f"{name} is missing; is this a checkpoint of {self._architecture}?")
        shape = tuple(self._state[name].shape)
        if len(shape) != dims:
            raise CheckpointError(f"{name} is {_shown(shape)}, expected {dims} sizes")
        return shape

    def count(self, pattern: str) -> int:
        """How many of the weights ``pattern.format(0)``, ``pattern.format(1)``, … are there."""
        number = 0
        while pattern.format(number) in self._state:
            number += 1
        return number


def _aca(shapes: _Shapes, options: Options) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Settings and labels."""
    tokens, token_size = shapes.of("lstm.word_emb.weight", 2)
    chars, char_size = shapes.of("lstm.char_cnn.char_emb.weight", 2)
    convolution = "lstm.char_cnn.convs.{}.0.weight"
    widths = [shapes.of(convolution.format(n), 3) for n in range(max(1, shapes.count(convolution)))]
    sizes = {
        "tokens": tokens,
        "chars": chars,
        "token_size": token_size,
        "characters": {
            "size": char_size,
            "kernels": [width[2] for width in widths],
            "filters": widths[0][0],
            "inner": shapes.of("lstm.char_cnn.linear.0.weight", 2)[0],
            "out": shapes.of("lstm.char_cnn.linear.3.weight", 2)[0],
        },
        "hidden": 2 * shapes.of("lstm.bi_lstm.weight_hh_l0", 2)[1],
        "region_size": shapes.of("dim_match.0.weight", 2)[1],
        "attention": "concat",
        "mask_pad": False,
    }
    count = shapes.of("crf.start_transitions", 1)[0]
    return sizes, _labels(options, count, "aca") or tuple(f"label {number}" for number in range(count))


def _umt(shapes: _Shapes, options: Options) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Settings and labels."""
    tokens, hidden = shapes.of("bert.embeddings.word_embeddings.weight", 2)
    first = "bert.encoder.layer.{}.attention.self.query.weight"
    shapes.of(first.format(0), 2)
    heads = options.n_heads or (0 if hidden % _HEAD_WIDTH else hidden // _HEAD_WIDTH)
    if not heads:
        raise CheckpointError(f"n_heads: the shapes do not tell how many heads share a width of {hidden}")
    sizes = {
        "tokens": tokens,
        "hidden": hidden,
        "layers": shapes.count(first),
        "heads": heads,
        "inner": shapes.of("bert.encoder.layer.0.intermediate.dense.weight", 2)[0],
        "positions": shapes.of("bert.embeddings.position_embeddings.weight", 2)[0],
        "segments": shapes.of("bert.embeddings.token_type_embeddings.weight", 2)[0],
        "region_size": shapes.of("vismap2text.weight", 2)[1],
        "map_layer": "map.weight" in shapes if options.map_layer is None else options.map_layer,
        "region_layout": options.region_layout,
    }
    count, spans = shapes.of("classifier.weight", 2)[0], shapes.of("aux_classifier.weight", 2)[0]
    labels = _labels(options, count, "umt")
    if labels is None or len(span_labels(labels)) != spans:
        raise CheckpointError(
            f"labels: which of the {count} labels belongs to which of the {spans} of aux_classifier? "
            "Name them, in the order of their ids"
        )
    return sizes, labels


def _labels(options: Options, count: int, scheme: Architecture) -> tuple[str, ...] | None:
    """The labels in the options, else those of the reference for as many types as ``count`` labels are for."""
    if options.labels:
        if len(options.labels) != count:
            raise CheckpointError(f"labels: {len(options.labels)} names for {count} labels")
        return options.labels
    others = len(label_set(scheme, frozenset()))
    types, odd = divmod(count - others, 2)
    if odd or types < 1:
        return None
    named = _TYPES if types == len(_TYPES) else [f"TYPE{number}" for number in range(1, types + 1)]
    return label_set(scheme, frozenset(named))


def _weights(
    state: Mapping[str, Tensor], architecture: Architecture, model: Tagging
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The weights by our names, and which of the checkpoint were left out. Raises ``CheckpointError``."""
    own = model.state_dict()
    found: dict[str, Tensor] = {}
    left_out, unknown, wrong = [], [], []
    for name, value in state.items():
        mine = own_name(name, architecture)
        if mine in own:
            found[mine] = value.to(torch.float32)
            if value.shape != own[mine].shape:
                wrong.append(f"{name} is {_shown(value.shape)}, expected {_shown(own[mine].shape)}")
        elif (mine or "").startswith("map.") or _UNREAD.fullmatch(name) or _PICTURE_NETWORK.fullmatch(name):
            left_out.append(name)
        else:
            unknown.append(name)
    missing = [reference_name(name, architecture) or name for name in own if name not in found]
    for what, names in (("does not know", unknown), ("misses", missing), ("", wrong)):
        if names:
            shown = ", ".join(names[:_NAMED_MAX]) + (", …" if len(names) > _NAMED_MAX else "")
            raise CheckpointError(f"{architecture} {what} {shown}" if what else shown)
    return found, tuple(left_out)


def _shown(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape)) or "a number"
