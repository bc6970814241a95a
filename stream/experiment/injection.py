"""What is put into the declared stream: bursts that are trends, and attacks that look like some and are none.

A burst of factor f resamples posts of the stream (their text, likes, and what they pass on) into a name, written by
accounts that the stream does not have, so that f times what the name's rate at that hour would give is to be expected.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from stream.core.volume import WEEK_HOURS
from stream.core.windows import HOUR_MS
from stream.experiment.arrivals import crowd, likes, reposts_of
from stream.experiment.settings import SHAPES, START_MS, DeclaredStream
from stream.experiment.table import NONE, Table, joined, table
from stream.experiment.world import ATTACKS, Floats, World, cells, rng

_PLAN, _ROWS = 20, 21
Accounts = npt.NDArray[np.int32]
STEP_MS: Final = 300_000
PULSE_FADES: Final = 4.0
"""A pulse begins at once and fades like e^(−4·t/duration)."""
FLOOD_POSTS: Final = (30, 300)
RING_ACCOUNTS: Final = 20
RING_POSTS_EACH: Final = (3, 10)
RING_TEXTS: Final = 10
COPIES: Final = (30, 200)
VIRAL_REPOSTS: Final = (60, 400)


class Run(msgspec.Struct, frozen=True, array_like=True):
    """One thing that was put in: ``kind`` is ``x10`` or an attack, ``target`` a place in the list of names."""

    kind: str
    base_h: float
    shape: str
    target: int
    begin_ms: int
    end_ms: int
    posts: int = 0

    @property
    def is_trend(self) -> bool:
        """Whether somebody wants to hear of it."""
        return self.kind not in ATTACKS


class Desk(NamedTuple):
    """What posts that are put in are made of. ``number``: of the first one."""

    settings: DeclaredStream
    world: World
    base: Table
    draw: np.random.Generator
    number: int


def injected(settings: DeclaredStream, world: World, base: Table) -> tuple[Table, list[Run]]:
    """``base`` with everything put in, and the truth about it."""
    desk = Desk(settings, world, base, rng(settings, _ROWS), int(base.number.max()) + 1)
    parts, runs = [base], []
    for run in planned(settings, world):
        rows = _MAKERS.get(run.kind, _burst)(desk, run)
        desk = desk._replace(number=desk.number + rows.rows)
        parts.append(rows)
        runs.append(msgspec.structs.replace(run, posts=rows.rows))
    return joined(parts), runs


def planned(settings: DeclaredStream, world: World) -> list[Run]:
    """What happens to which name when. Bursts begin when people post, and all of a cell's shapes are as frequent."""
    draw = rng(settings, _PLAN)
    found = []
    for kind, base in cells(settings):
        for number, target in enumerate(world.targets[kind, base].tolist()):
            hours = 1 + number // len(SHAPES) % settings.hours_max
            begin = _begin_ms(settings, world, target, hours, draw)
            shape = "step" if kind in ATTACKS else SHAPES[number % len(SHAPES)]
            found.append(Run(kind, base, shape, target, begin, begin + hours * HOUR_MS))
    return found


def _begin_ms(settings: DeclaredStream, world: World, target: int, hours: int, draw: np.random.Generator) -> int:
    first = (settings.test_ms - START_MS) // HOUR_MS + 1
    last = (settings.end_ms - START_MS) // HOUR_MS - hours - 2
    places = np.arange(first, last)
    shares = world.weeks[target, places % WEEK_HOURS].astype(np.float64)
    hour = int(draw.choice(places, p=shares / shares.sum()))
    return START_MS + hour * HOUR_MS + int(draw.integers(0, HOUR_MS))


# --- trends ------------------------------------------------------------------------------------------------------


def shape_of(name: str, parts: int) -> Floats:
    """Share of a burst in each of ``parts`` equal parts of its time."""
    places = (np.arange(parts) + 0.5) / parts
    courses = {"step": np.ones(parts), "ramp": places, "pulse": np.exp(-PULSE_FADES * places)}
    return np.asarray(courses[name] / courses[name].sum())


def _burst(desk: Desk, run: Run) -> Table:
    steps = np.arange(run.begin_ms, run.end_ms, STEP_MS)
    season = desk.world.weeks[run.target, (steps - START_MS) // HOUR_MS % WEEK_HOURS]
    usual = run.base_h * float(season.sum()) * STEP_MS / HOUR_MS
    count = int(desk.draw.poisson((float(run.kind[1:]) - 1.0) * usual))
    shares = shape_of(run.shape, len(steps)) * season
    times = np.sort(desk.draw.choice(steps, count, p=shares / shares.sum()) + desk.draw.integers(0, STEP_MS, count))
    donors = desk.base.of(desk.draw.integers(0, desk.base.rows, count))
    return donors._replace(
        arrived_ms=times, created_ms=times, number=desk.number + np.arange(count),
        entity=np.full(count, run.target, dtype=np.int32), second=np.full(count, NONE, dtype=np.int32),
        author=_strangers(desk, count),
    )  # fmt: skip


def _strangers(desk: Desk, count: int) -> Accounts:
    """Accounts of the half that the stream does not have."""
    return (desk.settings.authors // 2 + crowd(desk.settings, count, desk.draw)).astype(np.int32)


# --- attacks -----------------------------------------------------------------------------------------------------


def _flood(desk: Desk, run: Run) -> Table:
    """One account, a different text each time."""
    return _written(desk, run, _strangers(desk, 1).repeat(desk.draw.integers(*FLOOD_POSTS, endpoint=True)))


def _ring(desk: Desk, run: Run) -> Table:
    """Twenty accounts that post as many times each, from a few texts."""
    half = desk.settings.authors // 2
    accounts = half + desk.draw.choice(half, RING_ACCOUNTS, replace=False).astype(np.int32)
    rows = _written(desk, run, accounts.repeat(desk.draw.integers(*RING_POSTS_EACH, endpoint=True)))
    texts = desk.draw.integers(0, len(desk.world.simhashes), RING_TEXTS)
    return rows._replace(text=desk.draw.choice(texts, rows.rows).astype(np.int32))


def _copies(desk: Desk, run: Run) -> Table:
    """Many accounts, one text."""
    rows = _written(desk, run, _strangers(desk, int(desk.draw.integers(*COPIES, endpoint=True))))
    return rows._replace(text=np.full(rows.rows, rows.text[0], dtype=np.int32))


def _viral(desk: Desk, run: Run) -> Table:
    """One post that very many pass on."""
    post = _written(desk, run, _strangers(desk, 1))
    post = post._replace(created_ms=np.array([run.begin_ms]), arrived_ms=np.array([run.begin_ms]))
    count = int(desk.draw.integers(*VIRAL_REPOSTS, endpoint=True))
    everyone = post.of(np.zeros(count, dtype=np.int64))
    reposts = reposts_of(desk.settings, everyone, _strangers(desk, count), desk.draw)
    return joined([post, reposts._replace(number=desk.number + 1 + np.arange(reposts.rows))])


def _written(desk: Desk, run: Run, authors: Accounts) -> Table:
    """A post by each of ``authors`` some time within the run."""
    count = len(authors)
    return table(
        np.sort(desk.draw.integers(run.begin_ms, run.end_ms, count)), np.full(count, run.target),
        number=desk.number + np.arange(count), author=desk.draw.permutation(authors),
        text=desk.draw.integers(0, len(desk.world.simhashes), count), likes=likes(desk.settings, count, desk.draw),
    )  # fmt: skip


_MAKERS: Final[dict[str, Callable[[Desk, Run], Table]]] = {
    "flood": _flood, "ring": _ring, "copies": _copies, "viral": _viral,
}  # fmt: skip
