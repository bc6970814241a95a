"""The core of trends: what a mention, a closing bin and a remembered name cost. CPU time of one process.

The calibration is a fixed piece of Python, so that figures of several machines can be compared as ratios.
"""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import psutil

from deploy import wiring
from deploy.application import tune_interpreter
from deploy.experiments import trends as experiments
from stream.contract.records import Batch, Control, Heard, Reach, Seen, Sighting
from stream.core import stages
from stream.core.settings import CoreSettings
from stream.runtime.sqlite import StateTable, Store

START_MS = 1_699_804_800_000
BIN_MS = 300_000
NAMES_OF_BIN = 100_000
NAMES_REMEMBERED = 1_000_000
UPDATES = 200_000


def main() -> None:
    """Print the table."""
    tune_interpreter()
    unit_s = calibration()
    rules = experiments.rules(wiring.DEFAULT_RULES)
    print(f"calibration       {unit_s:9.3f} s of CPU for ten million additions; ratios are to this")
    for each in (1, 5):
        updates_s = updates(rules, each)
        print(
            f"updates           {UPDATES / updates_s:9.0f} mentions/s/core, {each} a post "
            f"(goal 100000; ratio {updates_s / unit_s:.2f})"
        )
    for mentions in (1, 5):
        closing_s = closing(rules, mentions)
        print(
            f"close             {closing_s:9.2f} s for {NAMES_OF_BIN} active names, {mentions} mentions each "
            f"(goal 0.5; ratio {closing_s / unit_s:.2f})"
        )
    for where, measured in (("store", memory_stored), ("memory", memory)):
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as fresh:
            whole = fresh.submit(measured, rules).result()
        print(f"resident, {where:<7} {whole:9.0f} MiB with {NAMES_REMEMBERED} names (goal 512)")


def calibration() -> float:
    """CPU seconds for ten million additions in Python."""
    started, total = time.process_time(), 0
    for number in range(10_000_000):
        total += number
    return time.process_time() - started


class Partition:
    """One Track partition whose rows stay in memory, or in ``table``."""

    def __init__(self, rules: str, table: StateTable[Any] | None = None) -> None:
        self._table = table
        self.rows: dict[str, Any] = {}
        self._offset = 1
        self._settings = CoreSettings()
        control = Control(topic="rules", version=1, payload=rules)
        self.take(Batch(generation="g", origin=0, first=0, last=0, heard=(Heard(0, control),)))

    def posts(self, names: Iterator[tuple[str, str]], bin_ms: int) -> None:
        """Take a batch with a post about each of (name, author), all of one bin."""
        self.take(self.batch(names, bin_ms))

    def batch(self, names: Iterable[tuple[str, str]], bin_ms: int, each: int = 1) -> Batch:
        """The batch of these posts, which come next in the log; ``each`` names that follow one another share one."""
        seen, sightings, first = [], [], self._offset
        for number, (name, author) in enumerate(names):
            post = f"p{self._offset}"
            created_ms = bin_ms + self._offset % BIN_MS
            if number % each == 0:
                seen.append(Seen(self._offset, created_ms, "s", post))
            sightings.append(
                Sighting(
                    self._offset, name, "PER", name[4:], post, post, author, True, created_ms, "s",
                    self._offset * 0x9E3779B97F4A7C15 % 2**63, 0.9, 0, 65_536, False, False, "",
                )
            )  # fmt: skip
            self._offset += (number + 1) % each == 0
        return Batch(
            generation="g", origin=0, first=first, last=self._offset - 1, posts=tuple(seen), sightings=tuple(sightings),
        )  # fmt: skip

    def reach(self, through_ms: int) -> None:
        """All bins before ``through_ms`` close."""
        heard = (Heard(self._offset, Reach(source="s", through_ms=through_ms)),)
        self.take(Batch(generation="g", origin=0, first=self._offset, last=self._offset, heard=heard))
        self._offset += 1

    def take(self, batch: Batch) -> None:
        """Track it and keep the rows."""
        if self._table is not None:
            self._table.load(stages.rows_of(batch))
            self._table.write(stages.track(self._table, batch, partition=0, settings=self._settings).writes)
            return
        for key, row in stages.track(self.rows, batch, partition=0, settings=self._settings).writes.items():
            if row is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = row


def updates(rules: str, each: int) -> float:
    """CPU seconds to take ``UPDATES`` mentions of 20,000 names in batches of 512 posts, without closing.

    ``each`` mentions a post: the demo corpus has five.
    """
    partition = Partition(rules)
    names = ((f"PER/{number * 7919 % 20_000}", f"a{number // each % 5000}") for number in range(UPDATES))
    batches = [partition.batch(islice(names, 512 * each), START_MS, each) for _ in range(0, UPDATES, 512 * each)]
    started = time.process_time()
    for batch in batches:
        partition.take(batch)
    return time.process_time() - started


def closing(rules: str, mentions: int) -> float:
    """CPU seconds to close a bin, names having been mentioned in the one before, too."""
    partition = Partition(rules)
    taken_s = 0.0
    for bin_ms in (START_MS, START_MS + BIN_MS):
        for turn in range(mentions):
            partition.posts(((f"PER/{number}", f"a{turn}/{number}") for number in range(NAMES_OF_BIN)), bin_ms)
        started = time.process_time()
        partition.reach(bin_ms + BIN_MS)
        taken_s = time.process_time() - started
    return taken_s


def memory(rules: str) -> float:
    """Resident memory in MiB when all rows are kept there: names mentioned once, silent since the late horizon."""
    return _filled(Partition(rules), lambda: None)


def memory_stored(rules: str) -> float:
    """The same as ``weibowatch run`` keeps them: in its file, with a bounded cache before it."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        table: StateTable[Any] = StateTable(store.connection, "track", stages.encode_row, stages.decode_row)

        def flush() -> None:
            with store.transaction():
                table.flush()

        found = _filled(Partition(rules, table), flush)
        store.close()
    return found


def _filled(partition: Partition, flush: Callable[[], None]) -> float:
    """The most that was resident while all names came."""
    bin_ms, most = START_MS, 0
    for first in range(0, NAMES_REMEMBERED, 10_000):
        partition.posts(((f"PER/{number}", f"a{number}") for number in range(first, first + 10_000)), bin_ms)
        bin_ms += BIN_MS
        partition.reach(bin_ms)
        flush()
        most = max(most, psutil.Process().memory_info().rss)
    partition.posts(iter([("PER/0", "a0")]), bin_ms + 30 * 3_600_000)
    partition.reach(bin_ms + 31 * 3_600_000)
    flush()
    return max(most, psutil.Process().memory_info().rss) / 2**20


if __name__ == "__main__":
    main()
