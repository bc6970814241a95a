"""Who and what the declared stream is about: names with their popularity and their week, and texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from stream.core.dedupe import simhashes
from stream.core.volume import WEEK_HOURS
from stream.experiment.settings import DeclaredStream

Floats = npt.NDArray[np.float64]
ATTACKS: Final = ("flood", "ring", "copies", "viral")
_PHASE, _POPULARITY, _TEXT = range(3)


class Corpus(NamedTuple):
    """What a tagged set gives: ``texts``, entity ids (``PER/张三``), the most frequent first, and for each text when it
    was written (Unix milliseconds) and which entities it mentions, where that is known."""

    name: str
    texts: tuple[str, ...]
    entities: tuple[str, ...]
    posts: tuple[tuple[int, tuple[str, ...]], ...] = ()


class World(NamedTuple):
    """``names``: entity ids; ``rates_h``: mentions an hour over the week; ``weeks``: factor of each hour of the week
    by name, (names, 168), mean 1; ``targets``: names that something is put into, by cell; ``background``: the others,
    the most popular first. ``simhashes`` and ``excerpts`` belong to the texts."""

    names: tuple[str, ...]
    rates_h: Floats
    weeks: npt.NDArray[np.float32]
    targets: dict[tuple[str, float], npt.NDArray[np.int64]]
    background: npt.NDArray[np.int64]
    simhashes: npt.NDArray[np.int64]
    excerpts: tuple[str, ...]


def rng(settings: DeclaredStream, *part: int) -> np.random.Generator:
    """The random numbers of one part of the stream, whatever else is drawn."""
    return np.random.default_rng([settings.seed, *part])


def cells(settings: DeclaredStream) -> dict[tuple[str, float], int]:
    """(what is put in, base rate an hour) → how many names it takes, each once."""
    found = {
        (f"x{factor:g}", base): settings.runs for factor in settings.factors for base in settings.bases_h
    }  # fmt: skip
    share = -(-settings.attack_runs // len(settings.attack_bases_h))
    found |= {(attack, base): share for attack in ATTACKS for base in settings.attack_bases_h}
    return found


def world(settings: DeclaredStream, corpus: Corpus) -> World:
    """The world of ``settings``. Raises ``ValueError`` when there are too few names for what is to be put in."""
    wanted = cells(settings)
    taken = sum(wanted.values())
    if taken > settings.entities // 2:
        raise ValueError(f"{settings.entities} entities are too few for {taken} runs, each on its own; at most half")
    draw = rng(settings, _POPULARITY)
    order = draw.permutation(settings.entities)
    rates = np.zeros(settings.entities)
    targets, start = {}, 0
    for (kind, base), count in wanted.items():
        targets[kind, base] = order[start : start + count]
        rates[order[start : start + count]] = base
        start += count
    background = np.sort(order[start:])
    shares = np.arange(1, len(background) + 1) ** -settings.zipf
    rates[background] = settings.background_h * shares / shares.sum()
    prints, excerpts = _texts(settings, corpus.texts)
    return World(_names(settings.entities, corpus), rates, _weeks(settings), targets, background, prints, excerpts)


def _names(count: int, corpus: Corpus) -> tuple[str, ...]:
    made_up = (f"MISC/虚名{number:05d}" for number in range(count - len(corpus.entities)))
    return (*corpus.entities[:count], *made_up)


def _weeks(settings: DeclaredStream) -> npt.NDArray[np.float32]:
    """The platform's week for each name: shifted, and more or less pronounced."""
    draw = rng(settings, _PHASE)
    shifts = np.rint(draw.normal(0.0, settings.phase_h, settings.entities)).astype(np.int64)
    swings = draw.uniform(*settings.swing, settings.entities)
    places = (np.arange(WEEK_HOURS)[None, :] - shifts[:, None]) % WEEK_HOURS
    weeks = 1.0 + swings[:, None] * (platform_week()[places] - 1.0)
    weeks = np.maximum(weeks, 0.02)
    return np.asarray(weeks / weeks.mean(axis=1, keepdims=True), dtype=np.float32)


def platform_week() -> Floats:
    """Posts by hour of the week, mean 1: quiet before dawn, highest at noon and late in the evening; weekends later."""
    hours = np.arange(WEEK_HOURS)
    hour, weekend = hours % 24, hours >= 120
    late = np.where(weekend, 1.0, 0.0)
    day = 0.06 + _bump(hour, 12.0 + late, 3.2) + 1.2 * _bump(hour, 21.5 + 0.5 * late, 2.6)
    week = day * np.where(weekend, 1.1, 1.0)
    return np.asarray(week / week.mean())


def _bump(hour: npt.NDArray[Any], middle: Any, width: float) -> Floats:
    away = (hour - middle + 12) % 24 - 12
    return np.asarray(np.exp(-0.5 * (away / width) ** 2))


def _texts(settings: DeclaredStream, texts: Sequence[str]) -> tuple[npt.NDArray[np.int64], tuple[str, ...]]:
    """Simhashes and beginnings of texts, each the first half of one post and the second half of another."""
    draw = rng(settings, _TEXT)
    heads = [text[: len(text) // 2] for text in texts]
    tails = [text[len(text) // 2 :] for text in texts]
    pairs = draw.integers(0, len(texts), (settings.texts, 2)).tolist()
    prints = simhashes([heads[first] + tails[second] for first, second in pairs])
    short = [head[:40] for head in heads]
    return np.array(prints, dtype=np.int64), tuple(short[first] for first, _ in pairs)
