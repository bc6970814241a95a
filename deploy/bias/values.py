"""Everything of the bias report as plain values for JSON."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from deploy.bias.gather import Range
from index.measures import bin_start, step_for
from index.present import iso
from stream.bias.audit import Audit, Cell
from stream.bias.correction import Corrected, Corrector
from stream.bias.forms import Forming, Forms
from stream.bias.growth import Curve, curve
from stream.bias.posts import Gathering, Posts
from stream.bias.rates import Tally, interval
from stream.bias.shares import Interval, Shares, shares

FORMS: Final = ("mentions", "authors", "weighted", "corrected")


def report(
    gathering: Gathering, asked: Range, *, utc_offset_ms: int, type: str | None, limit: int, audit: Audit | None
) -> dict[str, Any]:  # fmt: skip
    """The report on what was gathered: shares, growth, and the ``limit`` most mentioned entities in every form."""
    growth = curve(gathering.snapshots)
    posts = gathering.columns(utc_offset_ms, growth)
    found = shares(posts)
    forming = _forming(posts, asked, audit)
    forms = [forming.of(code) for code in forming.most(limit, type)]
    return {
        "since": iso(asked.since_ms),
        "until": iso(asked.until_ms),
        "utc_offset_s": utc_offset_ms // 1000,
        "posts": len(posts.created_ms),
        "mentions": len(posts.post),
        "warnings": _warnings(posts, growth, forming.refusals),
        "shares": None if found is None else _shares(found),
        "growth": [point._asdict() for point in growth.points],
        "audit": None if audit is None else [_audited(audit, kind) for kind in audit.types],
        "entities": _ranked([_entity(one) for one in forms]),
    }


def _forming(posts: Posts, asked: Range, audit: Audit | None) -> Forming:
    step_ms = step_for(asked.until_ms - asked.since_ms)
    start_ms = bin_start(asked.since_ms, step_ms)
    return Forming(posts, start_ms, step_ms, -((start_ms - asked.until_ms) // step_ms), audit)


def _warnings(posts: Posts, growth: Curve, refusals: dict[str, str]) -> list[dict[str, Any]]:
    """What a reader must know: a key of the words, and numbers for it."""
    if not len(posts.created_ms):
        return [{"key": "no_posts"}]
    warnings: list[dict[str, Any]] = []
    if not len(posts.post):
        warnings.append({"key": "no_mentions"})
    unknown = 1 - float(posts.author_known.mean())
    if unknown > 0:
        warnings.append({"key": "unknown_authors", "percent": _percent(unknown)})
    uncounted = float(np.isnan(posts.popularity).mean())
    if uncounted > 0:
        warnings.append({"key": "no_counts", "percent": _percent(uncounted)})
    if not growth.points:
        warnings.append({"key": "no_growth"})
    if posts.young.any():
        warnings.append({"key": "young", "posts": int(posts.young.sum())})
    return warnings + [{"key": "refused", "text": text} for text in refusals.values()]


def _percent(share: float) -> str:
    return f"{100 * share:.0f}" if share >= 0.01 else f"{100 * share:.2g}"


def _shares(found: Shares) -> dict[str, Any]:
    return {
        "popularity": [
            {"label": label, "posts": _digits(float(posts.sum())), "mentions": _digits(float(mentions.sum())),
             **_interval(ratio, "ratio")}
            for label, posts, mentions, ratio in zip(
                found.labels, found.posts, found.mentions, found.of_groups, strict=True
            )
        ],
        "hours": [
            {"hour": hour, "posts": _digits(float(found.posts[:, hour].sum())),
             "mentions": _digits(float(found.mentions[:, hour].sum())), **_interval(ratio, "ratio")}
            for hour, ratio in enumerate(found.of_hours)
        ],
        "cells": [
            [_digits(float(mentions / posts)) if posts else None for posts, mentions in zip(*rows, strict=True)]
            for rows in zip(found.posts, found.mentions, strict=True)
        ],
        "observed": _digits(found.observed),
        "divergence": _interval(found.divergence, "value"),
        "by_chance": _interval(found.by_chance, "value"),
        "authors": found.authors,
        "authors_known": _digits(found.authors_known),
    }  # fmt: skip


def _interval(value: Interval, name: str) -> dict[str, float | None]:
    return {name: _digits(value.value), "low": _digits(value.low), "high": _digits(value.high)}


def _digits(value: float | None) -> float | None:
    """Six digits, and null for what is no number."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.6g}")


def _audited(audit: Audit, kind: str) -> dict[str, Any]:
    cells = audit.of_type(kind)
    found, real = _sum(cells, lambda cell: cell.sampled - cell.correct), _sum(cells, lambda cell: cell.missed)
    return {
        "type": kind,
        "strata": len(cells),
        "sampled": sum(found),
        "correct": found.good,
        "missed": real.bad,
        "precision": _rate(found),
        "recall": _rate(real),
        "refused": Corrector(audit, kind).refusal or None,
    }


def _sum(cells: Sequence[Cell], bad: Callable[[Cell], int]) -> Tally:
    return Tally(sum(cell.correct for cell in cells), sum(bad(cell) for cell in cells))


def _rate(tally: Tally) -> dict[str, float | None]:
    low, high = interval(tally)
    total = sum(tally)
    return {"value": _digits(tally.good / total) if total else None, "low": _digits(low), "high": _digits(high)}


# --- entities ----------------------------------------------------------------------------------------------------


def _entity(one: Forms) -> dict[str, Any]:
    return {
        "entity": one.entity,
        "type": one.type,
        "mentions": one.mentions,
        "authors": round(one.authors, 2),
        "weighted": round(one.weighted, 2),
        "corrected": corrected_values(one.corrected),
        "series": [
            {"at": iso(bin_.start_ms), "mentions": bin_.mentions, "authors": round(bin_.authors, 2),
             "weighted": round(bin_.weighted, 2), "corrected": corrected_values(bin_.corrected)}
            for bin_ in one.series
        ],
    }  # fmt: skip


def corrected_values(found: Corrected | None) -> dict[str, Any] | None:
    """A corrected count with its 95 % interval, ``value`` null where it is refused, and why; null without an audit."""
    if found is None:
        return None
    return {
        "value": _digits(found.value), "low": _digits(found.low), "high": _digits(found.high),
        "warnings": list(found.warnings),
    }  # fmt: skip


def _ranked(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """``rows`` with their ranks in every form among each other; null where there is no corrected count."""
    ranks: list[dict[str, int | None]] = [{} for _ in rows]
    for form in FORMS:
        values = [_value(row, form) for row in rows]
        known = [(-value, row["entity"], place) for place, (row, value) in enumerate(zip(rows, values, strict=True))
                 if value is not None]  # fmt: skip
        for rank, (_, _, place) in enumerate(sorted(known), 1):
            ranks[place][form] = rank
    return [{**row, "ranks": {form: own.get(form) for form in FORMS}} for row, own in zip(rows, ranks, strict=True)]


def _value(row: dict[str, Any], form: str) -> float | None:
    value = row[form]["value"] if form == "corrected" and row[form] is not None else row[form]
    return None if value is None else float(value)
