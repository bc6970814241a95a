"""When the next request of a session may go: budget, pace, back-off, and the stop after a block. Pure.

The state is a plain value that is stored after every request, so that a restart neither forgets what was spent nor goes
on after a block. Time is what the caller says, in Unix seconds.
"""

from __future__ import annotations

import math
import random
from typing import Final, Literal

import msgspec

from stream.contract.records import Outcome

STOPS: Final[frozenset[Outcome]] = frozenset(("login_required", "captcha", "blocked"))
"""After these nothing is asked until a person acted or a long time has passed."""
TROUBLES: Final[frozenset[Outcome]] = frozenset(("throttled", "parse_error", "network"))
"""After these the pauses double."""
HOUR_S: Final = 3_600
DAY_S: Final = 86_400


class PaceSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How gently Weibo is asked. The defaults are those of a careful reader.

    Between two requests lie ``pause_s_min`` to ``pause_s_max`` seconds, drawn anew each time; an hour has at most
    ``per_hour`` requests, a day ``per_day``. Trouble doubles a pause that begins at ``back_off_s``, up to
    ``back_off_s_max``. After a block everything rests for ``cool_down_s`` unless a person lets it go on.
    """

    pause_s_min: float = 8.0
    pause_s_max: float = 15.0
    per_hour: int = 80
    per_day: int = 1_900
    back_off_s: float = 60.0
    back_off_s_max: float = 7_200.0
    cool_down_s: float = 43_200.0

    def __post_init__(self) -> None:
        if not 1 <= self.pause_s_min <= self.pause_s_max:
            raise ValueError("weibo.pause_s_min must be at least 1 and at most weibo.pause_s_max")
        if not 1 <= self.per_hour <= self.per_day:
            raise ValueError("weibo.per_hour must be at least 1 and at most weibo.per_day")
        if not 1 <= self.back_off_s <= self.back_off_s_max:
            raise ValueError("weibo.back_off_s must be at least 1 and at most weibo.back_off_s_max")
        if self.cool_down_s < HOUR_S:
            raise ValueError("weibo.cool_down_s must be at least an hour")


class PaceState(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a session's past. ``sent`` are the times of the last day's requests, oldest first.

    ``stopped`` is the outcome that stopped it, "" while it goes on; ``troubles`` counts those in a row.
    """

    sent: tuple[float, ...] = ()
    earliest_s: float = 0.0
    troubles: int = 0
    stopped: Outcome | Literal[""] = ""


def next_s(state: PaceState, settings: PaceSettings, now_s: float) -> float:
    """When the next request may go: ``now_s`` or later."""
    ready = max(now_s, state.earliest_s)
    for limit, span_s in ((settings.per_hour, HOUR_S), (settings.per_day, DAY_S)):
        if len(state.sent) >= limit:
            # So many were sent since this one: when it is older than the span, there is room for another.
            ready = max(ready, state.sent[-limit] + span_s)
    return ready


def sent(state: PaceState, settings: PaceSettings, now_s: float, draw: random.Random) -> PaceState:
    """The state after a request went at ``now_s``. Raises ``ValueError`` when it was not allowed to."""
    if now_s < next_s(state, settings, now_s):
        raise ValueError(f"a request {next_s(state, settings, now_s) - now_s:.1f} s too early")
    kept = tuple(at_s for at_s in state.sent if at_s > now_s - DAY_S)
    pause_s = draw.uniform(settings.pause_s_min, settings.pause_s_max)
    # One that is sent after a long rest is the trial: what stopped the session is forgotten only when it goes well.
    return msgspec.structs.replace(state, sent=(*kept, now_s), earliest_s=now_s + pause_s)


def settled(state: PaceState, settings: PaceSettings, now_s: float, outcome: Outcome) -> PaceState:
    """The state after the answer came."""
    if outcome in STOPS:
        rest_s = now_s + settings.cool_down_s
        return msgspec.structs.replace(state, earliest_s=max(state.earliest_s, rest_s), stopped=outcome, troubles=0)
    if outcome in TROUBLES:
        doubled = settings.back_off_s * 2.0 ** min(state.troubles, 60)
        rest_s = now_s + min(doubled, settings.back_off_s_max)
        return msgspec.structs.replace(
            state, earliest_s=max(state.earliest_s, rest_s), troubles=state.troubles + 1
        )
    return msgspec.structs.replace(state, troubles=0, stopped="")


def let_go_on(state: PaceState) -> PaceState:
    """A person did something about it: a new cookie, a captcha solved in the browser. The budget stays spent."""
    return msgspec.structs.replace(state, earliest_s=0.0, troubles=0, stopped="")


def hours_for(requests: int, settings: PaceSettings) -> float:
    """How long so many requests take at least, for a plan: by pace, by the hour's and by the day's budget."""
    by_pace = requests * (settings.pause_s_min + settings.pause_s_max) / 2 / HOUR_S
    by_hour = max(0, math.ceil(requests / settings.per_hour) - 1)
    by_day = 24 * max(0, math.ceil(requests / settings.per_day) - 1)
    return max(by_pace, by_hour, by_day)
