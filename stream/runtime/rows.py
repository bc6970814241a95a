"""Rows of state with a bounded cache in front of their table, for stages that read a mapping and hand back writes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from stream.core import stages
from stream.core.stages import AnyRow

CACHED_ROWS_MAX: Final = 100_000

Fetch = Callable[[Sequence[str]], Iterable[tuple[str, bytes]]]
"""Keys → (key, stored row) of those that are there."""
Scan = Callable[[], Iterable[tuple[str, bytes]]]
"""(key, stored row) of all that are there."""


class RowsLost(Exception):
    """The table cannot be read: no record is at fault."""


class StateRows(Mapping[str, Any]):
    """The rows of one part of the state. ``write`` keeps rows in memory until the owner has stored ``changes``.

    Changes come in the order of the writes, a row that is written again in the place of its last write: what a stage
    wants stored last, its header, is last. A cached None is a row that is known not to be there.
    """

    def __init__(self, fetch: Fetch, scan: Scan = tuple) -> None:
        self._fetch = fetch
        self._scan = scan
        self._cache: dict[str, AnyRow | None] = {}
        self._changed: dict[str, None] = {}

    def get(self, key: str, default: Any = None) -> Any:
        """The row, or ``default``."""
        if key not in self._cache:
            self.load([key])
        row = self._cache[key]
        return default if row is None else row

    def __getitem__(self, key: str) -> Any:
        row = self.get(key)
        if row is None:
            raise KeyError(key)
        return row

    def load(self, keys: Iterable[str]) -> None:
        """Read rows that will be asked for, all at once. Raises ``RowsLost``."""
        wanted = [key for key in keys if key not in self._cache]
        if wanted:
            try:
                found = {key: stages.decode_row(data) for key, data in self._fetch(wanted)}
            except Exception as error:
                raise RowsLost(f"{type(error).__name__}: {error}") from error
            self._cache |= dict.fromkeys(wanted)
            self._cache |= found

    def every(self, wanted: Callable[[bytes], bool]) -> list[tuple[str, AnyRow]]:
        """(key, row) of all rows whose stored form is ``wanted``, those that were just written too.

        Looks at everything. Raises ``RowsLost``.
        """
        try:
            stored = {key: stages.decode_row(data) for key, data in self._scan() if wanted(data)}
        except Exception as error:
            raise RowsLost(f"{type(error).__name__}: {error}") from error
        newest = {key: row for key, row in stored.items() if key not in self._changed}
        newest |= {
            key: row for key in self._changed if (row := self._cache[key]) and wanted(stages.encode_row(row))
        }
        return [(key, row) for key, row in newest.items() if row is not None]

    def __iter__(self) -> Iterator[str]:
        """The keys in memory: no stage looks at all rows."""
        return iter([key for key, row in self._cache.items() if row is not None])

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def write(self, rows: Mapping[str, AnyRow | None]) -> None:
        """Replace rows; None removes one."""
        for key, row in rows.items():
            if row is None and key not in self._changed and key in self._cache and self._cache[key] is None:
                continue
            self._cache[key] = row
            self._changed.pop(key, None)
            self._changed[key] = None

    def changes(self) -> list[tuple[str, bytes | None]]:
        """(key, stored form) of what was written since ``settled``; None removes."""
        return [
            (key, None if self._cache[key] is None else stages.encode_row(self._cache[key])) for key in self._changed
        ]

    def settled(self) -> None:
        """What ``changes`` gave is stored."""
        self._changed.clear()
        if len(self._cache) > CACHED_ROWS_MAX:
            self._cache.clear()

    def forget(self) -> None:
        """Drop what is in memory: the table is the truth."""
        self._cache.clear()
        self._changed.clear()
