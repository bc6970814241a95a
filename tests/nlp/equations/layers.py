"""What both models are made of. One post at a time, float64. S tokens, L keys, K labels."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Weights = Mapping[str, Array]
_ERF = np.vectorize(math.erf, otypes=[np.float64])


def linear(weights: Weights, name: str, values: Array) -> Array:
    found: Array = values @ weights[f"{name}.weight"].T
    return found + weights[f"{name}.bias"] if f"{name}.bias" in weights else found


def sigmoid(values: Array) -> Array:
    return 1 / (1 + np.exp(-values))


def softmax(values: Array) -> Array:
    shares = np.exp(values - values.max(axis=-1, keepdims=True))
    return np.asarray(shares / shares.sum(axis=-1, keepdims=True))


def gelu(values: Array) -> Array:
    return np.asarray(values * 0.5 * (1 + _ERF(values / math.sqrt(2))))


def layer_norm(weights: Weights, name: str, values: Array) -> Array:
    centred = values - values.mean(axis=-1, keepdims=True)
    scaled: Array = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-12)
    scaled = scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]
    return scaled


def lstm(weights: Weights, name: str, values: Array, *, reverse: bool) -> Array:
    """States (S, k/2) of inputs (S, d); gates in the order input, forget, cell, output."""
    end = "_l0_reverse" if reverse else "_l0"
    half = weights[f"{name}.weight_hh{end}"].shape[1]
    state, cell = np.zeros(half), np.zeros(half)
    found = np.zeros((len(values), half))
    for step in reversed(range(len(values))) if reverse else range(len(values)):
        gates = weights[f"{name}.weight_ih{end}"] @ values[step] + weights[f"{name}.bias_ih{end}"]
        gates = gates + weights[f"{name}.weight_hh{end}"] @ state + weights[f"{name}.bias_hh{end}"]
        into, keep, new, out = np.split(gates, 4)
        cell = sigmoid(keep) * cell + sigmoid(into) * np.tanh(new)
        found[step] = state = sigmoid(out) * np.tanh(cell)
    return found


def bert_layer(weights: Weights, name: str, heads: int, queries: Array, keys: Array, there: NDArray[np.bool_]) -> Array:
    """(S, H) of queries (S, H) and keys (L, H), of which those ``there`` (L,) count."""
    query = linear(weights, f"{name}.attention.self.query", queries)
    key = linear(weights, f"{name}.attention.self.key", keys)
    value = linear(weights, f"{name}.attention.self.value", keys)
    size = query.shape[1] // heads
    read = []
    for head in range(heads):
        own = slice(head * size, (head + 1) * size)
        scores = query[:, own] @ key[:, own].T / math.sqrt(size) + np.where(there, 0.0, -10000.0)
        read.append(softmax(scores) @ value[:, own])
    attended = linear(weights, f"{name}.attention.output.dense", np.concatenate(read, axis=1))
    states = layer_norm(weights, f"{name}.attention.output.LayerNorm", queries + attended)
    wide = gelu(linear(weights, f"{name}.intermediate.dense", states))
    return layer_norm(weights, f"{name}.output.LayerNorm", states + linear(weights, f"{name}.output.dense", wide))


def path_score(weights: Weights, name: str, emissions: Array, path: Sequence[int]) -> float:
    score = weights[f"{name}.start_transitions"][path[0]] + weights[f"{name}.end_transitions"][path[-1]]
    score += sum(emissions[step, label] for step, label in enumerate(path))
    moves = weights[f"{name}.transitions"]
    return float(score + sum(moves[a, b] for a, b in itertools.pairwise(path)))


def negative_log_likelihood(weights: Weights, name: str, emissions: Array, path: Sequence[int]) -> float:
    """Of a path (S,) under emissions (S, K)."""
    ahead = weights[f"{name}.start_transitions"] + emissions[0]
    for step in range(1, len(emissions)):
        ahead = _log_sum(ahead[:, None] + weights[f"{name}.transitions"]) + emissions[step]
    total = _log_sum((ahead + weights[f"{name}.end_transitions"])[:, None])[0]
    return float(total) - path_score(weights, name, emissions, path)


def _log_sum(values: Array) -> Array:
    most = values.max(axis=0)
    return np.asarray(most + np.log(np.exp(values - most).sum(axis=0)))


def best_path(weights: Weights, name: str, emissions: Array) -> list[int]:
    """The path (S,) with the greatest score."""
    ahead = weights[f"{name}.start_transitions"] + emissions[0]
    came_from = []
    for step in range(1, len(emissions)):
        scores = ahead[:, None] + weights[f"{name}.transitions"]
        came_from.append(scores.argmax(axis=0))
        ahead = scores.max(axis=0) + emissions[step]
    path = [int((ahead + weights[f"{name}.end_transitions"]).argmax())]
    for back in reversed(came_from):
        path.append(int(back[path[-1]]))
    return path[::-1]
