"""Progress on standard error: the line of ``run``, live in a terminal and now and then in a log file; and bars."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.text import Text

from stream.runtime.totals import Totals

REFRESH_S = 0.25
LOG_EVERY_S = 10.0
RATE_OVER_S = 5.0


class Progress:
    """Shows ``totals`` until cancelled. ``address`` is the dashboard's, or empty."""

    def __init__(self, totals: Totals, *, address: str, quiet: bool) -> None:
        self._totals = totals
        self._address = address
        self._quiet = quiet
        self._recent: list[tuple[float, int]] = []

    async def run(self) -> None:
        """Refresh for ever."""
        console = Console(stderr=True)
        if self._quiet:
            return
        if not console.is_terminal:
            while True:
                await asyncio.sleep(LOG_EVERY_S)
                console.print(self.line(time.monotonic()), soft_wrap=True)
        with Live(self.line(time.monotonic()), console=console, auto_refresh=False, transient=False) as live:
            try:
                while True:
                    live.update(self.line(time.monotonic()), refresh=True)
                    await asyncio.sleep(REFRESH_S)
            finally:
                live.update(self.line(time.monotonic()), refresh=True)

    def line(self, now_s: float) -> Text:
        """One line: how far, how fast, what was found, and what is wrong if something is."""
        totals = self._totals
        parts = [f"{totals.posts:,} posts"]
        if totals.expected:
            percent = min(100, 100 * totals.posts // totals.expected)
            parts[0] = f"{totals.posts:,}/{totals.expected:,} posts ({percent} %)"
        parts.append(f"{self._rate(now_s):.0f}/s")
        parts.append(f"{totals.mentions:,} mentions")
        parts.append(f"{totals.alerts} alerts")
        if totals.rejects:
            parts.append(f"{totals.rejects} rejects")
        if totals.late:
            parts.append(f"{totals.late} mentions too late for trends")
        if totals.watermark_ms:
            parts.append(datetime.fromtimestamp(totals.watermark_ms / 1000, timezone.utc).strftime("%Y-%m-%d %H:%M"))
        if totals.lag_records:
            parts.append(f"lag {totals.lag_records}")
        if self._address:
            parts.append(self._address)
        text = Text(" · ".join(parts))
        if totals.problem:
            text.append(f"\n{totals.problem}", style="bold red")
        return text

    def _rate(self, now_s: float) -> float:
        self._recent.append((now_s, self._totals.posts))
        while len(self._recent) > 2 and now_s - self._recent[0][0] > RATE_OVER_S:
            self._recent.pop(0)
        (start_s, start), (end_s, end) = self._recent[0], self._recent[-1]
        return (end - start) / (end_s - start_s) if end_s > start_s else 0.0


@contextlib.contextmanager
def counted(what: str, total: int | None = None) -> Iterator[Callable[[str, int], None]]:
    """A bar while ``what`` goes on, where somebody looks at it; it is told of (what is at work, rows done)."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bars(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=total)

        def moved(name: str, count: int) -> None:
            bar.update(task, advance=count, description=f"{what} {name}")

        yield moved
