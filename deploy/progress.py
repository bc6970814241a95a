"""The progress line of ``run``: live in a terminal, one line now and then in a log file. On standard error."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime, timezone

from rich.console import Console
from rich.live import Live
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
