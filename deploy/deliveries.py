"""What became of alerts on their channels, as answers show it: read from the outbox, kept nowhere else."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from index.present import iso
from stream.contract.ports import EngineError

if TYPE_CHECKING:
    from stream.runtime.outbox import Delivery

STATUSES: Final = {"waiting": ("due", "claimed"), "told": ("sent",), "skipped": ("skipped",), "failed": ("failed",)}
"""What people ask for → status in the outbox."""
FRESH_S: Final = 10.0
"""So long an answer about the whole outbox of a cluster serves."""
WAIT_S: Final = 4.0
"""So long a page waits for Kafka."""


class OfStore:
    """``index.context.Deliveries`` of the store in ``directory``."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def of(self, flip_ids: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
        """See ``Deliveries``."""
        from stream.runtime.sqlite import DATABASE, DatabaseError, read_only, translated
        from stream.runtime.sqlite_outbox import deliveries

        path = self._directory / DATABASE
        try:
            with contextlib.closing(read_only(path)) as connection:
                return by_flip(deliveries(connection, flip_ids=flip_ids), flip_ids)
        except DatabaseError as error:
            raise EngineError(str(translated(error, path))) from error


class OfCluster:
    """``index.context.Deliveries`` of a cluster. Its outbox is a table of the workers, whose changelog tells all of it.

    ``read`` gives that; it is asked beside whoever waits, one reading at a time, and no more often than needed.
    """

    def __init__(self, read: Callable[[], Sequence[Delivery]], clock: Callable[[], float] = time.monotonic) -> None:
        self._read = read
        self._clock = clock
        self._lock = threading.Lock()
        self._known: Mapping[str, Sequence[Delivery]] | None = None
        self._problem = ""
        self._read_at = float("-inf")
        self._under_way: threading.Thread | None = None

    def of(self, flip_ids: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
        """See ``Deliveries``. Waits ``WAIT_S`` at most; then what was known before must do."""
        with self._lock:
            if self._under_way is None and self._clock() - self._read_at >= FRESH_S:
                self._under_way = threading.Thread(target=self._refresh, daemon=True, name="deliveries")
                self._under_way.start()
            reading = self._under_way
        if reading is not None:
            reading.join(WAIT_S)
        with self._lock:
            known, problem = self._known, self._problem
        if known is None:
            raise EngineError(problem or "Kafka has not told yet what became of alerts; try again in a moment")
        return by_flip([one for name in flip_ids for one in known.get(name, ())], flip_ids)

    def _refresh(self) -> None:
        found: dict[str, list[Delivery]] | None = None
        problem = "what became of alerts could not be read"
        try:
            every: dict[str, list[Delivery]] = {}
            for one in self._read():
                every.setdefault(one.flip_id, []).append(one)
            found, problem = every, ""
        except EngineError as error:
            problem = str(error)
        finally:
            with self._lock:
                self._known, self._problem = found, problem
                self._read_at, self._under_way = self._clock(), None


def by_flip(deliveries: Sequence[Delivery], flip_ids: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Alert → what became of it, by channel; of those that nothing is known of an empty list."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in flip_ids}
    for one in deliveries:
        found[one.flip_id].append(row(one))
    return found


def row(one: Delivery) -> dict[str, Any]:
    """A delivery as pages and programs see it. One that is told again later has been told."""
    status = next(name for name, statuses in STATUSES.items() if one.status in statuses)
    waits = status == "waiting"
    return {
        "channel": one.channel,
        "status": "told" if waits and one.first_told_ms else status,
        "first_told_at": iso(one.first_told_ms) if one.first_told_ms else None,
        "last_told_at": iso(one.told_ms) if one.told_ms else None,
        "due_at": iso(one.due_ms) if waits else None,
        "tries": one.tries,
        "why": one.why,
    }
