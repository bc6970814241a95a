"""Pretrained word vectors in the text format of word2vec and fastText: a token and its numbers a line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nlp.training.errors import TrainingError

Floats = NDArray[np.float32]


def read_vectors(path: Path, wanted: frozenset[str], more: int = 0) -> dict[str, Floats]:
    """Vectors of the ``wanted`` tokens and of the first ``more`` others of a file, all of the size of the first.

    A first line of two numbers is passed over, and so are tokens with spaces inside. Raises ``TrainingError`` with the
    line that is broken, or where no token is wanted.
    """
    found: dict[str, Floats] = {}
    others = size = 0
    for number, token, values in _lines(path):
        size = size or len(values)
        others += token not in wanted
        if len(values) == size and token not in found and (token in wanted or others <= more):
            found[token] = _vector(values, f"{path}:{number}")
    if not found.keys() & wanted:
        raise TrainingError(f"{path}: has no vector of a token of the training texts; are they of the same language?")
    return found


def _lines(path: Path) -> Iterator[tuple[int, str, list[str]]]:
    """(number, token, the rest) of each line."""
    try:
        with path.open(encoding="utf-8", errors="surrogateescape", newline="\n") as handle:
            for number, line in enumerate(handle, start=1):
                token, *values = line.rstrip("\r\n ").split(" ")
                if values and not (number == 1 and len(values) == 1):
                    yield number, token, values
    except OSError as error:
        raise TrainingError(f"{path}: cannot be read ({error.strerror})") from error


def _vector(values: list[str], place: str) -> Floats:
    try:
        return np.array(values, dtype=np.float32)
    except ValueError as error:
        raise TrainingError(f"{place}: expected a token and {len(values)} numbers") from error
