"""The posts of the declared stream before anything is put in: seasons, varying rates, and posts passed on."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from stream.core.volume import DAY_MS, WEEK_HOURS
from stream.core.windows import HOUR_MS
from stream.experiment.settings import START_MS, DeclaredStream
from stream.experiment.table import NONE, Ints, Table, joined, table
from stream.experiment.world import World, rng

_COUNTS, _POSTS, _REPOSTS = 10, 11, 12
DAY_HOURS: Final = 24
FANS_LEAST: Final = 8
FANS_EACH: Final = 20.0
"""A name has so many followers, and so many more for each mention an hour."""


def posts(settings: DeclaredStream, world: World) -> Table:
    """All posts of the stream."""
    originals = [_day(settings, world, day) for day in range(settings.learn_days + settings.test_days)]
    found = joined(originals)
    found = found._replace(number=np.arange(found.rows))
    reposts = passed_on(settings, found, rng(settings, _REPOSTS))
    return joined([found, reposts._replace(number=found.rows + np.arange(reposts.rows))])


def mean_reposts(settings: DeclaredStream) -> float:
    """How often a post is passed on, on average."""
    return float(((1.0 + np.arange(1, settings.reposts_max + 1)) ** -settings.repost_tail).sum())


def _day(settings: DeclaredStream, world: World, day: int) -> Table:
    draw = rng(settings, _COUNTS, day)
    share = np.full(settings.entities, 1.0 + mean_reposts(settings))
    share[world.background] *= 1.0 + settings.together_share
    hours = (day * DAY_HOURS + np.arange(DAY_HOURS)) % WEEK_HOURS
    rates = (world.rates_h / share)[:, None] * world.weeks[:, hours]
    rates *= _factors(draw, settings.dispersion_day, (settings.entities, 1))
    rates *= _factors(draw, settings.dispersion_hour, rates.shape)
    counts = draw.poisson(rates)
    entity, hour = np.nonzero(counts)
    times = counts[entity, hour]
    entity, hour = np.repeat(entity, times), np.repeat(hour, times)
    draw = rng(settings, _POSTS, day)
    begin_ms = START_MS + day * DAY_MS + hour * HOUR_MS
    return table(
        begin_ms + draw.integers(0, HOUR_MS, len(hour)), entity,
        second=_second(settings, world, entity, draw),
        author=_authors(settings, world, entity, draw),
        text=draw.integers(0, len(world.simhashes), len(hour)),
        likes=likes(settings, len(hour), draw),
    ).ordered()  # fmt: skip


def _factors(draw: np.random.Generator, variance: float, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """Gamma factors of mean 1."""
    return draw.gamma(1.0 / variance, variance, shape) if variance > 0 else np.ones(shape)


def likes(settings: DeclaredStream, count: int, draw: np.random.Generator) -> npt.NDArray[np.int64]:
    """Heavy-tailed likes, most of them few."""
    return np.minimum(draw.lognormal(0.0, settings.engagement_sigma, count), 1e6).astype(np.int64)


def crowd(settings: DeclaredStream, count: int, draw: np.random.Generator) -> Ints:
    """Accounts of the half that writes the stream, some far busier than others."""
    half = settings.authors // 2
    return np.minimum(half * draw.random(count) ** 2, half - 1).astype(np.int64)


def _authors(settings: DeclaredStream, world: World, entity: Ints, draw: np.random.Generator) -> Ints:
    half = settings.authors // 2
    fans = FANS_LEAST + FANS_EACH * world.rates_h[entity]
    own = (entity * 7919 + (fans * draw.random(len(entity))).astype(np.int64)) % half
    return np.where(draw.random(len(entity)) < settings.fan_share, own, crowd(settings, len(entity), draw))


def _second(settings: DeclaredStream, world: World, entity: Ints, draw: np.random.Generator) -> Any:
    """A second name in some posts about names of the background, one of about the same popularity."""
    place = np.searchsorted(world.background, entity)
    place = np.minimum(place, len(world.background) - 1)
    known = world.background[place] == entity
    near = np.minimum(place + draw.geometric(0.3, len(entity)), len(world.background) - 1)
    other = world.background[near]
    wanted = known & (other != entity) & (draw.random(len(entity)) < settings.together_share)
    return np.where(wanted, other, NONE)


def passed_on(settings: DeclaredStream, originals: Table, draw: np.random.Generator) -> Table:
    """Reposts of ``originals`` by other accounts, with the numbers still to be given; those past the end are cut."""
    levels = draw.random(originals.rows) ** (-1.0 / settings.repost_tail)
    counts = np.minimum(levels - 1.0, settings.reposts_max).astype(np.int64)
    rows = np.repeat(np.arange(originals.rows), counts)
    return reposts_of(settings, originals.of(rows), crowd(settings, len(rows), draw), draw)


def reposts_of(
    settings: DeclaredStream, originals: Table, authors: npt.NDArray[Any], draw: np.random.Generator
) -> Table:
    """One repost of each row by one of ``authors``, some time later."""
    count = originals.rows
    delays = draw.lognormal(np.log(settings.repost_delay_s), settings.repost_delay_sigma, count) * 1000
    created = originals.created_ms + delays.astype(np.int64)
    found = originals._replace(
        created_ms=created, arrived_ms=created, root=originals.number,
        author=authors.astype(np.int32), likes=likes(settings, count, draw).astype(np.int32),
    )  # fmt: skip
    return found.of(created < settings.end_ms)
