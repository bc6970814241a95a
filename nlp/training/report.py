"""How a run tells how far it is: a bar where people look on, else a line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

EVERY_S: Final = 60.0


class Report:
    """Writes to standard error. Used in a ``with``. ``told`` hears how much of how much of a part is done."""

    def __init__(self, *, quiet: bool = False, told: Callable[[int, int], None] = lambda done, total: None) -> None:
        self._quiet = quiet
        self._tell = told
        self._bar: Progress | None = None
        if not quiet and sys.stderr.isatty():
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self._bar = Progress(*columns, console=Console(stderr=True))
        self._name, self._total, self._done, self._told = "", 0, 0, time.monotonic()

    def __enter__(self) -> Report:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._bar:
            self._bar.stop()

    def begin(self, name: str, total: int, done: int = 0) -> None:
        """A part of the work begins: ``total`` things, of which ``done`` are done."""
        self._name, self._total, self._done = name, total, done
        self._tell(done, total)
        if self._bar:
            for task in self._bar.task_ids:
                self._bar.remove_task(task)
            self._bar.add_task(name, total=total, completed=done)

    def advance(self, count: int, loss: float | None = None) -> None:
        """``count`` more are done."""
        self._done += count
        self._tell(self._done, self._total)
        text = self._name if loss is None else f"{self._name}  loss {loss:.4f}"
        if self._bar:
            self._bar.update(self._bar.task_ids[-1], advance=count, description=text)
        elif time.monotonic() - self._told > EVERY_S:
            self.say(f"{text}  {self._done} of {self._total}")

    def say(self, line: str) -> None:
        """A line that stays."""
        self._told = time.monotonic()
        if self._bar:
            self._bar.console.print(line, highlight=False, markup=False)
        elif not self._quiet:
            print(line, file=sys.stderr, flush=True)
