"""The scores that the main CRF of ACA or UMT sees, from arrays to arrays, to compare implementations.

Shapes: B posts, S tokens, W characters of a token, R regions of size D, K labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from nlp.batch import Batch
from nlp.crf import Crf
from nlp.models import families
from nlp.models.aca import Aca
from nlp.models.base import Tagging
from nlp.models.umt import Umt

Arrays = Mapping[str, NDArray[Any]]
ROWS: Final = 16
"""Posts read at once."""
OUTSIDE: Final = -1


class InputError(ValueError):
    """Arrays do not fit the model; the message says which and why."""


def raw_scores(folder: Path, arrays: Arrays) -> dict[str, NDArray[Any]]:
    """``logits`` (B, S, K) float32, and ``tags`` (B, S) int64, the best path, −1 outside the mask.

    Of ACA's ``word_ids`` (B, S), ``char_ids`` (B, S, W), ``mask`` (B, S), ``regions`` (B, R, D), or UMT's ``input_ids``
    (B, S), ``attention_mask`` (B, S), ``feature_maps`` (B, D, h, w). The CRF is the model's as it is: no label and no
    move is forbidden. Raises ``InputError`` and ``ArtifactError``.
    """
    model, _ = families.load_model(folder)
    if isinstance(model, Aca):
        batch = _aca_batch(arrays)
    elif isinstance(model, Umt):
        batch = _umt_batch(arrays)
    else:
        raise InputError(f"{folder} is neither aca nor umt")
    logits, mask = _logits(model, batch), batch.mask.numpy()
    if not np.isfinite(logits[mask]).all():
        raise InputError(f"{folder} gives scores that are no finite numbers; are its weights whole?")
    return {"logits": logits, "tags": _tags(model, logits, mask)}


def _aca_batch(arrays: Arrays) -> Batch:
    words, mask = _tokens(arrays, "word_ids", "mask")
    chars = _array(arrays, "char_ids", 3, np.integer)
    if chars.shape[:2] != words.shape:
        raise InputError(f"char_ids is {chars.shape}, expected one row of characters for each of {words.shape}")
    regions = _array(arrays, "regions", 3, np.floating)
    return _batch(words, mask, regions, torch.from_numpy(chars.astype(np.int64)))


def _umt_batch(arrays: Arrays) -> Batch:
    words, mask = _tokens(arrays, "input_ids", "attention_mask")
    maps = _array(arrays, "feature_maps", 4, np.floating)
    return _batch(words, mask, maps.reshape(*maps.shape[:2], -1).swapaxes(1, 2))


def _batch(words: NDArray[Any], mask: NDArray[Any], regions: NDArray[Any], chars: torch.Tensor | None = None) -> Batch:
    """A batch whose posts have one picture each."""
    if len(regions) != len(words):
        raise InputError(f"{len(regions)} pictures for {len(words)} posts")
    if not regions.size or not np.isfinite(regions).all():
        raise InputError("regions or feature_maps: expected at least one region of each picture, and finite numbers")
    shown = torch.from_numpy(np.ascontiguousarray(regions, dtype=np.float32)).unsqueeze(1)
    return Batch(
        tokens=torch.from_numpy(words.astype(np.int64)),
        mask=torch.from_numpy(mask),
        chars=chars,
        regions=shown,
        picture_mask=torch.ones(shown.shape[:2], dtype=torch.bool),
    )


def _tokens(arrays: Arrays, ids: str, mask: str) -> tuple[NDArray[Any], NDArray[Any]]:
    words = _array(arrays, ids, 2, np.integer)
    given = _array(arrays, mask, 2, np.number, np.bool_) != 0
    if given.shape != words.shape:
        raise InputError(f"{mask} is {given.shape}, {ids} {words.shape}")
    if not words.size:
        raise InputError(f"{ids} is empty")
    if (np.diff(given.astype(np.int8), axis=1) > 0).any():
        raise InputError(f"{mask}: expected padding behind the tokens only")
    return words, given


def _array(arrays: Arrays, name: str, dims: int, *kinds: type[Any]) -> NDArray[Any]:
    """An array of the input with ``dims`` sizes, of one of ``kinds``."""
    if name not in arrays:
        raise InputError(f"{name} is missing; there are {', '.join(sorted(arrays)) or 'no arrays'}")
    found = arrays[name]
    if found.ndim != dims or not any(np.issubdtype(found.dtype, kind) for kind in kinds):
        raise InputError(f"{name} is {found.dtype} {found.shape}, expected {dims} sizes of {kinds[0].__name__}")
    return found


@torch.inference_mode()
def _logits(model: Tagging, batch: Batch) -> NDArray[np.float32]:
    parts = (_rows(batch, slice(row, row + ROWS)) for row in range(0, len(batch.mask), ROWS))
    try:
        found = [model.scores(part).emissions for part in parts]
    except IndexError as error:
        raise InputError("an id is beyond the vocabulary of the model") from error
    except (ValueError, RuntimeError) as error:
        raise InputError(f"the arrays do not fit the model: {error}") from error
    return torch.cat(found).numpy()


def _rows(batch: Batch, rows: slice) -> Batch:
    held = {field.name: getattr(batch, field.name) for field in fields(batch)}
    return Batch(**{name: value[rows] for name, value in held.items() if value is not None})


def _tags(model: Tagging, logits: NDArray[np.float32], mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    scores = (part.detach().numpy() for part in (model.crf.start, model.crf.transitions, model.crf.end))
    # Under names that are no BIO labels every move is free, as in the reference.
    crf = Crf([str(number) for number in range(logits.shape[2])], *scores)
    best = crf.decode(logits, np.maximum(mask.sum(axis=1), 1))
    return np.where(mask, best, OUTSIDE)
