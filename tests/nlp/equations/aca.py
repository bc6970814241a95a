"""ACA for one post, stage by stage (Zhang et al. 2018, with what the reference code adds)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tests.nlp.equations.layers import Array, Weights, linear, lstm, sigmoid, softmax

Ints = NDArray[np.int64]


def stages(weights: Weights, words: Ints, chars: Ints, regions: Array) -> dict[str, Array]:
    """Of ids of words (S,) and characters (S, W), and regions (R, D): all S positions are read, padding as well.

    ``text`` (S, k), ``picture`` (R, k), ``image_read`` and ``text_read`` (S, k) for each word, ``fused`` (S, k),
    ``logits`` (S, K).
    """
    spelled = np.stack([of_chars(weights, word) for word in chars])
    inputs = np.concatenate([weights["lstm.word_emb.weight"][words], spelled], axis=1)
    both = [lstm(weights, "lstm.bi_lstm", inputs, reverse=reverse) for reverse in (False, True)]
    text = np.concatenate(both, axis=1)
    picture = np.tanh(linear(weights, "dim_match.0", regions))
    image_read, text_read = co_attention(weights, text, picture)
    fused = fusion(weights, image_read, text_read)
    beside = [linear(weights, "filtration_gate.text_linear", text)]
    beside.append(linear(weights, "filtration_gate.multimodal_linear", fused))
    gate = sigmoid(linear(weights, "filtration_gate.gate_linear", np.concatenate(beside, axis=1)))
    kept = gate * np.tanh(linear(weights, "filtration_gate.resv_linear", fused))
    logits = linear(weights, "filtration_gate.output_linear", np.concatenate([text, kept], axis=1))
    return {
        "text": text,
        "picture": picture,
        "image_read": image_read,
        "text_read": text_read,
        "fused": fused,
        "logits": logits,
    }


def of_chars(weights: Weights, chars: Ints) -> Array:
    """(out,) of the ids (W,) of one token's characters: convolution, tanh, one window of max pooling for each width."""
    vectors = weights["lstm.char_cnn.char_emb.weight"][chars]
    pooled = []
    number = 0
    while f"lstm.char_cnn.convs.{number}.0.weight" in weights:
        filters, bias = (weights[f"lstm.char_cnn.convs.{number}.0.{part}"] for part in ("weight", "bias"))
        kernel = filters.shape[2]
        edge = np.zeros((kernel // 2, vectors.shape[1]))
        padded = np.concatenate([edge, vectors, edge])
        places = range(len(padded) - kernel + 1)
        values = np.stack([np.einsum("fcw,wc->f", filters, padded[p : p + kernel]) + bias for p in places])
        window = len(chars) - kernel + 1
        assert (len(values) - window) // window + 1 == 1, "the reference needs exactly one window"
        pooled.append(np.tanh(values)[:window].max(axis=0))
        number += 1
    features = np.stack(pooled, axis=1).reshape(-1)
    hidden = np.maximum(linear(weights, "lstm.char_cnn.linear.0", features), 0)
    return linear(weights, "lstm.char_cnn.linear.3", hidden)


def co_attention(weights: Weights, text: Array, picture: Array) -> tuple[Array, Array]:
    """What each word reads of the picture, and of the text: word by word, with both sides in each score."""
    image_read, text_read = np.zeros_like(text), np.zeros_like(text)
    for step, word in enumerate(text):
        scores = [_beside(weights, "1", ("text", word), ("img", region)) for region in picture]
        image_read[step] = softmax(np.array(scores)) @ picture
        scores = [_beside(weights, "2", ("img", image_read[step]), ("text", other)) for other in text]
        text_read[step] = softmax(np.array(scores)) @ text
    return image_read, text_read


def _beside(weights: Weights, which: str, *sides: tuple[str, Array]) -> float:
    """The score of two vectors side by side, the first with its bias."""
    seen = [linear(weights, f"co_attention.{side}_linear_{which}", value) for side, value in sides]
    return float(linear(weights, f"co_attention.att_linear_{which}", np.tanh(np.concatenate(seen)))[0])


def additive_co_attention(weights: Weights, text: Array, picture: Array) -> tuple[Array, Array]:
    """The same with the sum of both sides below the tanh."""
    image_read, text_read = np.zeros_like(text), np.zeros_like(text)
    for step, word in enumerate(text):
        scores = [_sum(weights, "1", ("text", word), ("img", region)) for region in picture]
        image_read[step] = softmax(np.array(scores)) @ picture
        scores = [_sum(weights, "2", ("img", image_read[step]), ("text", other)) for other in text]
        text_read[step] = softmax(np.array(scores)) @ text
    return image_read, text_read


def _sum(weights: Weights, which: str, *sides: tuple[str, Array]) -> float:
    total = np.sum([linear(weights, f"co_attention.{side}_linear_{which}", value) for side, value in sides], axis=0)
    return float(linear(weights, f"co_attention.att_linear_{which}", np.tanh(total))[0])


def fusion(weights: Weights, image_read: Array, text_read: Array) -> Array:
    image = np.tanh(linear(weights, "gmf.img_linear", image_read))
    text = np.tanh(linear(weights, "gmf.text_linear", text_read))
    gate = sigmoid(linear(weights, "gmf.gate_linear", np.concatenate([image, text], axis=1)))
    return gate * image + (1 - gate) * text
