"""Names and shapes of the weights that the reference code of ACA and UMT saves, and random ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Arrays = dict[str, NDArray[np.float64]]
Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class AcaSizes:
    """Those of CMNER, but for the vocabularies."""

    words: int = 21
    chars: int = 13
    word: int = 300
    char: int = 30
    kernels: tuple[int, ...] = (2, 3, 4)
    filters: int = 32
    inner: int = 100
    out: int = 50
    hidden: int = 200
    region: int = 512
    labels: int = 11


@dataclass(frozen=True)
class UmtSizes:
    """Those of BERT-base and ResNet-152."""

    words: int = 21128
    hidden: int = 768
    layers: int = 12
    inner: int = 3072
    positions: int = 512
    segments: int = 2
    region: int = 2048
    labels: int = 13
    spans: int = 7
    map_layer: bool = True


SMALL_ACA = AcaSizes(
    word=7, char=5, kernels=(2, 3, 4), filters=3, inner=6, out=4, hidden=8, region=9, labels=11
)  # fmt: skip
SMALL_UMT = UmtSizes(words=19, hidden=12, layers=2, inner=20, positions=16, region=10)


def aca_shapes(sizes: AcaSizes) -> Shapes:
    k = sizes.hidden
    one_way = 2 * k
    found: Shapes = {"lstm.char_cnn.char_emb.weight": (sizes.chars, sizes.char)}
    for number, kernel in enumerate(sizes.kernels):
        found[f"lstm.char_cnn.convs.{number}.0.weight"] = (sizes.filters, sizes.char, kernel)
        found[f"lstm.char_cnn.convs.{number}.0.bias"] = (sizes.filters,)
    found |= linear("lstm.char_cnn.linear.0", sizes.inner, sizes.filters * len(sizes.kernels))
    found |= linear("lstm.char_cnn.linear.3", sizes.out, sizes.inner)
    found["lstm.word_emb.weight"] = (sizes.words, sizes.word)
    for end in ("", "_reverse"):
        found[f"lstm.bi_lstm.weight_ih_l0{end}"] = (one_way, sizes.word + sizes.out)
        found[f"lstm.bi_lstm.weight_hh_l0{end}"] = (one_way, k // 2)
        found[f"lstm.bi_lstm.bias_ih_l0{end}"] = (one_way,)
        found[f"lstm.bi_lstm.bias_hh_l0{end}"] = (one_way,)
    found |= linear("dim_match.0", k, sizes.region)
    found |= linear("co_attention.text_linear_1", k, k)
    found |= linear("co_attention.img_linear_1", k, k, bias=False)
    found |= linear("co_attention.att_linear_1", 1, 2 * k)
    found |= linear("co_attention.text_linear_2", k, k, bias=False)
    found |= linear("co_attention.img_linear_2", k, k)
    found |= linear("co_attention.att_linear_2", 1, 2 * k)
    found |= linear("gmf.text_linear", k, k) | linear("gmf.img_linear", k, k) | linear("gmf.gate_linear", 1, 2 * k)
    found |= linear("filtration_gate.text_linear", k, k, bias=False)
    found |= linear("filtration_gate.multimodal_linear", k, k)
    found |= linear("filtration_gate.gate_linear", 1, 2 * k)
    found |= linear("filtration_gate.resv_linear", k, k)
    found |= linear("filtration_gate.output_linear", sizes.labels, 2 * k)
    return found | crf("crf", sizes.labels)


def umt_shapes(sizes: UmtSizes) -> Shapes:
    width = sizes.hidden
    found: Shapes = {
        "bert.embeddings.word_embeddings.weight": (sizes.words, width),
        "bert.embeddings.position_embeddings.weight": (sizes.positions, width),
        "bert.embeddings.token_type_embeddings.weight": (sizes.segments, width),
        **norm("bert.embeddings.LayerNorm", width),
    }
    blocks = [f"bert.encoder.layer.{number}" for number in range(sizes.layers)]
    blocks += ["self_attention.layer.0", "self_attention_v2.layer.0", "txt2img_attention.layer.0"]
    for block in [*blocks, "img2txt_attention.layer.0", "txt2txt_attention.layer.0"]:
        for part in ("query", "key", "value"):
            found |= linear(f"{block}.attention.self.{part}", width, width)
        found |= linear(f"{block}.attention.output.dense", width, width)
        found |= norm(f"{block}.attention.output.LayerNorm", width)
        found |= linear(f"{block}.intermediate.dense", sizes.inner, width)
        found |= linear(f"{block}.output.dense", width, sizes.inner) | norm(f"{block}.output.LayerNorm", width)
    found |= linear("bert.pooler.dense", width, width)
    if sizes.map_layer:
        found |= linear("map", width, width)
    found |= linear("vismap2text", width, sizes.region) | linear("vismap2text_v2", width, sizes.region)
    found |= linear("gate", width, 2 * width)
    found |= linear("classifier", sizes.labels, 2 * width) | linear("aux_classifier", sizes.spans, width)
    return found | crf("crf", sizes.labels) | crf("aux_crf", sizes.spans)


def linear(name: str, out: int, into: int, *, bias: bool = True) -> Shapes:
    return {f"{name}.weight": (out, into)} | ({f"{name}.bias": (out,)} if bias else {})


def norm(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def crf(name: str, labels: int) -> Shapes:
    ends = {f"{name}.{part}_transitions": (labels,) for part in ("start", "end")}
    return {**ends, f"{name}.transitions": (labels, labels)}


def drawn(shapes: Shapes, seed: int) -> Arrays:
    """Random weights, of which no path through the model is without effect."""
    chance = np.random.default_rng(seed)
    found = {}
    for name, shape in shapes.items():
        std = 0.5 if len(shape) == 1 or "emb" in name or "crf" in name else 1.2 / np.sqrt(shape[-1])
        found[name] = chance.normal(size=shape) * std + (1.0 if "LayerNorm.weight" in name else 0.0)
    return found


def tensors(weights: Mapping[str, NDArray[np.float64]]) -> dict[str, Tensor]:
    """As a checkpoint holds them."""
    return {name: torch.from_numpy(value).float() for name, value in weights.items()}
