"""What sources cost in requests and hours, before any is sent. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import msgspec

from ingest.weibo.addresses import HOUR_MS
from ingest.weibo.listing import PAGE_WANTED
from ingest.weibo.politeness import DAY_S, hours_for
from ingest.weibo.search_page import PAGES_MAX
from ingest.weibo.settings import WeiboSettings
from ingest.weibo.single import YOUNG_PAUSE_S
from ingest.weibo.spec import Spec

POSTS_A_PAGE: Final = 10
DETAIL_SHARE: Final = 0.2
"""Posts that cost a request of their own, for a long text or more than nine pictures: a guess."""


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """Of one source. Requests a day while it is watched: the least, and the most that its settings allow.

    ``once_least`` and ``once_most``: requests for the past, once.
    """

    source: str
    daily_least: float
    daily_most: float
    once_least: int = 0
    once_most: int = 0


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Of all sources. ``budget``: requests a day that pace and budget leave room for.

    ``pause_s``: so long a source waits between two polls on average when all want as many as they may have.
    ``past_hours``: from ``once_least`` requests at full pace to ``once_most``. ``posts_daily`` is what the budget buys
    at most, where half a page is new at every poll.
    """

    costs: tuple[Cost, ...]
    budget: int
    daily_least: int
    daily_most: int
    pause_s: float
    past_hours: tuple[float, float]
    posts_daily: int

    @property
    def fits(self) -> bool:
        """Whether even the least is within the budget."""
        return self.daily_least <= self.budget


def plan(specs: Sequence[Spec], settings: WeiboSettings, now_ms: int) -> Plan:
    """What ``specs``, lists opened, cost."""
    costs = tuple(cost(spec, settings, now_ms) for spec in specs)
    pace_s = (settings.pause_s_min + settings.pause_s_max) / 2
    budget = min(settings.per_day, 24 * settings.per_hour, int(DAY_S / pace_s))
    least, most = sum(one.daily_least for one in costs), sum(one.daily_most for one in costs)
    once = sum(one.once_least for one in costs), sum(one.once_most for one in costs)
    pause_s = max(settings.poll_s_min, len(costs) * DAY_S / budget) if costs else 0.0
    return Plan(
        costs=costs,
        budget=budget,
        daily_least=math.ceil(least),
        daily_most=math.ceil(most),
        pause_s=round(pause_s, 1),
        past_hours=(round(hours_for(once[0], settings), 2), round(hours_for(once[1], settings), 2)),
        posts_daily=round(budget / (1 / PAGE_WANTED + (DETAIL_SHARE if settings.details else 0))),
    )


def cost(spec: Spec, settings: WeiboSettings, now_ms: int) -> Cost:
    """What one source costs. A search of the past costs at least a page, at most all pages of every hour."""
    if spec.kind == "hot":
        daily = DAY_S / settings.hot_every_s
        return Cost(source=spec.name, daily_least=daily, daily_most=daily)
    least, most = DAY_S / settings.poll_s_max, DAY_S / settings.poll_s_min
    if spec.kind == "post":
        return Cost(
            source=spec.name, daily_least=least, daily_most=DAY_S / max(YOUNG_PAUSE_S, settings.poll_s_min)
        )
    if not spec.since_ms:
        return Cost(source=spec.name, daily_least=least, daily_most=most)
    if spec.until_ms:
        least = most = 0.0
    if spec.kind == "user":
        once = 1, settings.pages_max
    else:
        hours = max(1, math.ceil(((spec.until_ms or now_ms) - spec.since_ms) / HOUR_MS))
        once = 1, hours * PAGES_MAX
    return Cost(source=spec.name, daily_least=least, daily_most=most, once_least=once[0], once_most=once[1])


