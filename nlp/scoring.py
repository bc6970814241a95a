"""Strict span scores: an entity counts when start, end and type are all right (CoNLL-2003 evaluation)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

from nlp.labels import Chunk

Names = Collection[tuple[str, str]]


def prf(right: int, found: int, gold: int) -> dict[str, float]:
    """Precision, recall and F1; 0 where nothing is there to divide by."""
    precision = right / found if found else 0.0
    recall = right / gold if gold else 0.0
    f1 = 2 * right / (found + gold) if found + gold else 0.0
    return {"precision": precision, "recall": recall, "f1": f1}


def scores(
    gold: Sequence[Collection[Chunk]], found: Sequence[Collection[Chunk]], texts: Sequence[str], names: Names
) -> dict[str, Any]:
    """Micro scores, per type (with ``support``), and apart for names (surface, type) in ``names`` or not.

    A found entity counts as seen or unseen by its own surface and type.
    """
    tally: Counter[tuple[str, str]] = Counter()
    for wanted, got, text in zip(gold, found, texts, strict=True):
        for kind, group in (("gold", set(wanted)), ("found", set(got)), ("right", set(wanted) & set(got))):
            for chunk in group:
                known = "seen" if (text[chunk.start : chunk.end], chunk.type) in names else "unseen"
                for part in ("micro", known, f"type/{chunk.type}"):
                    tally[part, kind] += 1

    def row(part: str) -> dict[str, float]:
        return prf(tally[part, "right"], tally[part, "found"], tally[part, "gold"])

    types = sorted({part for part, _ in tally if part.startswith("type/")})
    return {
        "micro": row("micro"),
        "per_type": {part[5:]: {**row(part), "support": tally[part, "gold"]} for part in types},
        "seen": {**row("seen"), "support": tally["seen", "gold"]},
        "unseen": {**row("unseen"), "support": tally["unseen", "gold"]},
    }
