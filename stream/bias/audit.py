"""The audit: how many mentions of each stratum people found right, and how many the tagger had missed.

Somebody takes posts of a stratum at random and marks every entity of a type in them: ``sampled`` is what the tagger had
found in these posts, ``correct`` of it is right, and ``missed`` are entities that it did not find. Precision is
correct / sampled, recall correct / (correct + missed).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from stream.bias.strata import ANY, Matcher, Place, Stratum, StratumError

ROWS_MAX: Final = 100_000
BYTES_MAX: Final = 16 << 20
_NUMBERS: Final = ("sampled", "correct", "missed")
_PARTS: Final = ("popularity", "time", "image")
_COUNT_MAX: Final = 10**12


class AuditError(ValueError):
    """An audit cannot be used; the text names the line and says what to mend."""


class Cell(msgspec.Struct, frozen=True):
    """What was found in the posts of one stratum."""

    stratum: Stratum
    sampled: int
    correct: int
    missed: int


class Audit:
    """The rows of an audit by stratum. A mention belongs to the row that names most about it."""

    def __init__(self, cells: tuple[Cell, ...]) -> None:
        self.cells = cells
        self._of_type: dict[str, list[tuple[Matcher, Cell]]] = {}
        for cell in cells:
            self._of_type.setdefault(cell.stratum.type, []).append((Matcher(cell.stratum), cell))
        for rows in self._of_type.values():
            rows.sort(key=lambda row: (sum(row[0].rank), row[0].rank), reverse=True)

    @property
    def types(self) -> tuple[str, ...]:
        """The types that were audited."""
        return tuple(sorted(self._of_type))

    def of_type(self, type: str) -> tuple[Cell, ...]:
        """The rows of ``type``."""
        return tuple(cell for _, cell in self._of_type.get(type, ()))

    def cell_of(self, place: Place) -> Cell | None:
        """The row of a mention, None where nobody looked."""
        return next((cell for matcher, cell in self._of_type.get(place.type, ()) if matcher.holds(place)), None)


def read(data: bytes, name: str) -> Audit:
    """The audit in ``data``: CSV with a header, or one JSON object a line (``name`` ends in ``.jsonl``).

    Columns ``type``, ``sampled``, ``correct``, ``missed`` must be there; ``popularity``, ``time``, ``image`` may be.
    Rows of the same stratum are added up. Raises ``AuditError``.
    """
    if len(data) > BYTES_MAX:
        raise AuditError(f"{name} has more than {BYTES_MAX >> 20} MiB; an audit has one row per stratum")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise AuditError(f"{name} is not UTF-8 (byte {error.start})") from error
    sums: dict[Stratum, Cell] = {}
    for line, row in _objects(text, name) if name.endswith(".jsonl") else _rows(text, name):
        cell = _cell(row, f"{name}, line {line}")
        before = sums.get(cell.stratum)
        sums[cell.stratum] = cell if before is None else _added(before, cell)
        if len(sums) > ROWS_MAX:
            raise AuditError(f"{name} has more than {ROWS_MAX} strata")
    if not sums:
        raise AuditError(f"{name} has no rows")
    return Audit(tuple(sums[stratum] for stratum in sorted(sums)))


def _rows(text: str, name: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    reader = csv.DictReader(io.StringIO(text), strict=True)
    try:
        missing = {"type", *_NUMBERS} - set(reader.fieldnames or ())
        if missing:
            raise AuditError(f"{name} has no column {', '.join(sorted(missing))}; it begins with: "
                             "type,popularity,time,image,sampled,correct,missed")  # fmt: skip
        for row in reader:
            if None in row or None in row.values():
                raise AuditError(f"{name}, line {reader.line_num}: as many values as columns, please")
            yield reader.line_num, row
    except csv.Error as error:
        raise AuditError(f"{name}, line {reader.line_num}: {error}") from error


def _objects(text: str, name: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = msgspec.json.decode(line)
        except msgspec.DecodeError as error:
            raise AuditError(f"{name}, line {number}: {error}") from error
        if not isinstance(row, dict):
            raise AuditError(f"{name}, line {number}: a line is one JSON object")
        yield number, row


def _cell(row: Mapping[str, Any], at: str) -> Cell:
    unknown = set(row) - {"type", *_PARTS, *_NUMBERS}
    if unknown:
        raise AuditError(f"{at}: nobody knows {', '.join(sorted(unknown))}")
    type = str(row.get("type") or "").strip().upper()
    if not type or len(type) > 64:
        raise AuditError(f"{at}: type must be one of the tagger's, e.g. PER")
    stratum = Stratum(type, *(str(row.get(part) or "").strip() or ANY for part in _PARTS))
    try:
        Matcher(stratum)
    except StratumError as error:
        raise AuditError(f"{at}: {error}") from error
    sampled, correct, missed = (_number(row, name, at) for name in _NUMBERS)
    if correct > sampled:
        raise AuditError(f"{at}: {correct} correct of {sampled} sampled cannot be")
    return Cell(stratum, sampled, correct, missed)


def _number(row: Mapping[str, Any], name: str, at: str) -> int:
    value = row.get(name)
    text = str(value).strip()
    if isinstance(value, bool) or not (text.isascii() and text.isdigit()) or int(text[:20]) > _COUNT_MAX:
        raise AuditError(f"{at}: {name} must be a whole number from 0 on, not {value!r}")
    return int(text)


def _added(one: Cell, other: Cell) -> Cell:
    return Cell(
        one.stratum, one.sampled + other.sampled, one.correct + other.correct, one.missed + other.missed
    )
