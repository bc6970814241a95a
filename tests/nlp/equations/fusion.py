"""The fusion model, post by post, float64. S tokens, H width of a state, M regions of all pictures, D their width."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from tests.nlp.equations.layers import Array, Weights, gelu, linear, lstm, sigmoid, softmax

Ints = NDArray[np.int64]


def emissions(weights: Weights, heads: int, tokens: Ints, chars: Ints, regions: Array | None) -> Array:
    """(S, K) of tokens (S,), characters (S, W) and regions (M, D), None for a post without a picture."""
    states = read(weights, tokens, chars)
    if regions is not None:
        more = np.array([added(weights, heads, state, regions) for state in states])
        gate = sigmoid(linear(weights, "gate.gate", np.concatenate([states, more], axis=1)))
        states = states + gate * more
    return linear(weights, "classifier", states)


def read(weights: Weights, tokens: Ints, chars: Ints) -> Array:
    """States (S, H) of the words of a post."""
    vectors = weights["reader.embedding.weight"][tokens]
    both = np.concatenate([vectors, [spelling(weights, one) for one in chars]], axis=1)
    ways = [lstm(weights, "reader.lstm", both, reverse=reverse) for reverse in (False, True)]
    return np.concatenate(ways, axis=1)


def spelling(weights: Weights, chars: Ints) -> Array:
    """One word's characters (W,), 0 behind the last, as the greatest value of each filter."""
    weight, bias = (weights[f"reader.chars.convolution.{part}"] for part in ("weight", "bias"))
    vectors = weights["reader.chars.embedding.weight"][chars[chars > 0]]
    if not len(vectors):
        return np.zeros(len(bias))
    framed = np.pad(vectors, ((1, 1), (0, 0)))
    each = [np.einsum("fck,kc->f", weight, framed[place : place + 3]) + bias for place in range(len(vectors))]
    return np.asarray(np.maximum(each, 0).max(axis=0))


def added(weights: Weights, heads: int, state: Array, regions: Array) -> Array:
    """What regions (M, D) add to one word's state (H,): Σᵢ αᵢ (vᵢ − v₀) of each head, then mixed."""
    told = gelu(linear(weights, "attention.region.1", norm(weights, "attention.region.0", regions)))
    seen = np.concatenate([weights["attention.nothing"][None], told])
    query = np.split(linear(weights, "attention.query", state), heads)
    keys = np.split(linear(weights, "attention.key", seen), heads, axis=1)
    values = np.split(linear(weights, "attention.value", seen), heads, axis=1)
    found = []
    for q, k, v in zip(query, keys, values, strict=True):
        match = norm(weights, "attention.key_norm", k) @ norm(weights, "attention.query_norm", q)
        found.append(softmax(match / math.sqrt(len(q))) @ (v - v[0]))
    return linear(weights, "attention.leave", np.concatenate(found))


def norm(weights: Weights, name: str, values: Array) -> Array:
    """Layer norm as torch has it by itself, with 1e-5 under the root."""
    centred = values - values.mean(axis=-1, keepdims=True)
    scaled: Array = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5)
    return np.asarray(scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"])
