"""Streams in which nothing happens: whole days of each name are exchanged among days of the same kind.

What a name usually does, its hours, its clumps and its heavy days, stays; what happened on one day alone is spread
over all of them, and names that moved together no longer do.
"""

from __future__ import annotations

import numpy as np

from stream.core.volume import DAY_MS
from stream.experiment.settings import START_MS
from stream.experiment.table import Table, alone, joined

_WEEK_DAYS = 7
_WEEKEND = 5


def exchanged(posts: Table, entities: int, draw: np.random.Generator) -> Table:
    """``posts`` with the days of each of ``entities`` names exchanged: workdays among workdays, weekends among them."""
    each = alone(posts)
    day = (each.created_ms - START_MS) // DAY_MS
    first = int(day.min())
    days = np.arange(first, int(day.max()) + 1)
    order = np.tile(days, (entities, 1))
    for kind in (days % _WEEK_DAYS < _WEEKEND, days % _WEEK_DAYS >= _WEEKEND):
        order[:, kind] = draw.permuted(order[:, kind], axis=1)
    moved = (order[each.entity, day - first] - day) * DAY_MS
    return joined([each._replace(created_ms=each.created_ms + moved, arrived_ms=each.arrived_ms + moved)])
