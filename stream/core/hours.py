"""At which hours of the day an entity is mentioned, beside the stream as a whole.

A morning show is talked about in the morning: against the mean of its day every morning would be a burst. For each
hour of the day, mentions and the posts of the stream are summed, the past fading day by day; their ratio, against that
of the whole day and shrunk to 1 where little was seen, is the factor by which the entity is expected there.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from stream.core.windows import HOUR_MS

HOURS: Final = 24
WORTH: Final = 4
"""Mentions in an hour from which its hours are remembered; for less they would be no more than the prior."""
PRIOR: Final = 20.0
"""Expected mentions at an hour that must be seen before a deviation counts half."""
KEPT: Final = 0.95
"""Of what is known of an hour, a day later; half of it after two weeks."""
UNUSUAL: Final = 2.0
UNUSUAL_FREE: Final = 5.0
"""Of an hour at most so many times the expected mentions and so many more are learned, or a burst would be a habit."""
_HALVES: Final = np.dtype("<f4")


def learned(day: bytes, hour: int, mentions: int, posts: int) -> bytes:
    """``day`` after ``hour`` (since the epoch) with so many ``mentions`` among so many ``posts`` of the stream."""
    sums = np.frombuffer(day, dtype=_HALVES).reshape(2, HOURS).copy() if day else np.zeros((2, HOURS), dtype=_HALVES)
    place = hour % HOURS
    total = float(sums[1].sum())
    if total > 0:
        usual = float(sums[0].sum()) / total * posts * factors(day)[place]
        mentions = min(mentions, round(UNUSUAL * usual + UNUSUAL_FREE))
    sums[:, place] = KEPT * sums[:, place] + np.array((mentions, posts), dtype=_HALVES)
    return sums.tobytes()


def factors(day: bytes) -> list[float]:
    """Factor by hour of the day (UTC); empty where nothing was learned."""
    if not day:
        return []
    seen, posts = np.frombuffer(day, dtype=_HALVES).reshape(2, HOURS).astype(np.float64)
    share = seen.sum() / max(posts.sum(), 1.0)
    found: list[float] = ((PRIOR + seen) / (PRIOR + share * posts)).tolist()
    return found


def over(factors: list[float], start_ms: int, end_ms: int) -> float:
    """Mean factor of the hours in [``start_ms``, ``end_ms``); 1 for a day and longer, and where nothing is known."""
    if not factors or end_ms - start_ms >= HOURS * HOUR_MS:
        return 1.0
    step_ms = min(end_ms - start_ms, HOUR_MS)
    places = range(start_ms + step_ms // 2, end_ms, step_ms)
    return sum(factors[place // HOUR_MS % HOURS] for place in places) / len(places)
