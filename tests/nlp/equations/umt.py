"""UMT for one post, stage by stage (Yu et al. 2020, with what the reference code adds)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tests.nlp.equations.layers import Array, Weights, bert_layer, layer_norm, linear, sigmoid

CONVERSION: Array = np.zeros((7, 13))
"""What PAD, O, B, I, X, [CLS], [SEP] say of the 13 labels."""
for _span, _labels in enumerate([(0,), (1,), (2, 4, 6, 8), (3, 5, 7, 9), (10,), (11,), (12,)]):
    CONVERSION[_span, list(_labels)] = 1 / len(_labels)


def stages(
    weights: Weights, heads: int, words: NDArray[np.int64], mask: NDArray[np.bool_], feature_map: Array
) -> dict[str, Array]:
    """Of ids (S,), mask (S,) and a map (D, 7, 7): a weight ``map`` is used where there is one.

    ``words`` (S, H), ``spans`` (S, 7), ``context``, ``image_aware``, ``word_aware`` (S, H), ``gate`` (S, H),
    ``logits`` (S, 13).
    """
    states = encoded(weights, heads, words, mask)
    if "map.weight" in weights:
        states = linear(weights, "map", states)

    def layer(name: str, queries: Array, keys: Array, there: NDArray[np.bool_]) -> Array:
        return bert_layer(weights, f"{name}.layer.0", heads, queries, keys, there)

    spans = linear(weights, "aux_classifier", layer("self_attention", states, states, mask))
    context = layer("self_attention_v2", states, states, mask)
    regions = feature_map.reshape(len(feature_map), -1).T
    everywhere = np.ones(len(regions), dtype=np.bool_)
    image_aware = layer("txt2img_attention", context, linear(weights, "vismap2text", regions), everywhere)
    spoken_of = layer("img2txt_attention", linear(weights, "vismap2text_v2", regions), context, mask)
    word_aware = layer("txt2txt_attention", context, spoken_of, everywhere)
    gate = sigmoid(linear(weights, "gate", np.concatenate([word_aware, image_aware], axis=1)))
    fused = np.concatenate([word_aware, gate * image_aware], axis=1)
    logits = 0.5 * linear(weights, "classifier", fused) + 0.5 * spans @ CONVERSION
    return {
        "words": states,
        "spans": spans,
        "context": context,
        "image_aware": image_aware,
        "word_aware": word_aware,
        "gate": gate,
        "logits": logits,
    }


def encoded(weights: Weights, heads: int, words: NDArray[np.int64], mask: NDArray[np.bool_]) -> Array:
    """The last layer of BERT (S, H)."""
    states: Array = weights["bert.embeddings.word_embeddings.weight"][words]
    states = states + weights["bert.embeddings.position_embeddings.weight"][: len(words)]
    states = states + weights["bert.embeddings.token_type_embeddings.weight"][0]
    states = layer_norm(weights, "bert.embeddings.LayerNorm", states)
    number = 0
    while f"bert.encoder.layer.{number}.output.dense.weight" in weights:
        states = bert_layer(weights, f"bert.encoder.layer.{number}", heads, states, states, mask)
        number += 1
    return states


def scrambled(feature_map: Array) -> Array:
    """The map whose regions are what CMNER's script takes for regions: (D, 7, 7) viewed as (49, D)."""
    depth, *places = feature_map.shape
    return np.asarray(feature_map.reshape(-1, depth).T.reshape(depth, *places))
