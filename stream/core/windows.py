"""Event time: bins on a fixed grid, and the watermark that closes them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Final, Literal

import msgspec

State = Literal["live", "idle", "left"]
HOUR_MS: Final = 3_600_000


def bin_start(time_ms: int, width_ms: int) -> int:
    """Start of the bin [start, start + width) that holds ``time_ms``; the grid goes through the Unix epoch."""
    return time_ms - time_ms % width_ms


def fitted_ms(window_s: float, bin_ms: int, horizon_ms: int) -> int:
    """``window_s`` in milliseconds, rounded up to whole bins, and to whole hours where only hours are remembered."""
    window_ms = round(window_s * 1000)
    grain = bin_ms if window_ms <= horizon_ms else max(HOUR_MS, bin_ms)
    return max(-(-window_ms // grain) * grain, bin_ms)


class Seen(msgspec.Struct, frozen=True, array_like=True):
    """How far a source was seen in one source partition, in which session of its ingester."""

    through_ms: int
    state: State
    session: int = 0


class Watermark(msgspec.Struct, frozen=True, array_like=True):
    """Event time before which everything has been seen. It never goes back.

    It is the least reach of the live sources. Idle sources do not hold it back; while all are idle or left it stands
    at the greatest reach; once all have left, nothing can come any more and ``newest_end_ms`` of ``of`` is passed.

    A source speaks in every source partition, and these are read at different speeds. Until all of them have told of
    its newest session, the source is live at the least that was told, or at nothing where one has not spoken at all.
    """

    time_ms: int = 0
    reaches: dict[str, Seen] = msgspec.field(default_factory=dict)

    def told(self, origin: int, source: str, through_ms: int, state: State, session: int = 0) -> Watermark:
        """The same with a reach of ``source`` in partition ``origin``; a source's reach never goes back."""
        key = f"{origin}/{source}"
        before = self.reaches.get(key)
        if before is not None and session < before.session:
            return self
        through_ms = max(through_ms, before.through_ms) if before else through_ms
        return Watermark(self.time_ms, {**self.reaches, key: Seen(through_ms, state, session)})

    def advanced(self, newest_end_ms: int, slack_ms: int = 0, origins: int = 1) -> Watermark:
        """The same at its new time; ``newest_end_ms`` is the end of the newest bin that holds anything.

        ``origins`` is the number of source partitions.
        """
        seen = self.reaches.values() if origins == 1 else list(_joined(self.reaches, origins))
        return Watermark(max(self.time_ms, _least(seen, newest_end_ms, slack_ms)), self.reaches)


def _joined(reaches: Mapping[str, Seen], origins: int) -> Iterator[Seen]:
    """What each source partition means by itself, seen together with the others."""
    of_source: dict[str, list[Seen]] = {}
    for key, seen in reaches.items():
        of_source.setdefault(key.partition("/")[2], []).append(seen)
    for told in of_source.values():
        newest = max(seen.session for seen in told)
        for seen in told:
            yield seen if seen.session == newest else Seen(seen.through_ms, "live")
        if len(told) < origins:
            yield Seen(0, "live")


def _least(reaches: Collection[Seen], newest_end_ms: int, slack_ms: int) -> int:
    if not reaches:
        return 0
    live = [seen.through_ms for seen in reaches if seen.state == "live"]
    if live:
        return min(live) - slack_ms
    if all(seen.state == "left" for seen in reaches):
        return max(newest_end_ms, _greatest(reaches))
    return _greatest(reaches) - slack_ms


def _greatest(reaches: Iterable[Seen]) -> int:
    return max(seen.through_ms for seen in reaches)
