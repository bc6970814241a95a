"""Label files: what should have been told, as CSV or JSON lines with ``entity``, ``start`` and ``end``."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from deploy.errors import Failure
from deploy.names import named
from index.query import moment
from stream.backtest.labels import Label
from stream.core.enrich import T2s

LABELS_MAX: Final = 1_000_000
ERRORS_SHOWN: Final = 10
FIELDS: Final = ("entity", "start", "end")
JSON_LINES: Final = frozenset({".jsonl", ".ndjson", ".json"})


def load(path: Path, t2s: T2s) -> list[Label]:
    """The labels in ``path``. ``t2s`` as for posts. Raises ``Failure`` with each error and its line."""
    found: list[Label] = []
    errors: list[str] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = _json_rows(file) if path.suffix in JSON_LINES else _csv_rows(file)
            for line, row in rows:
                try:
                    found.append(_label(row, t2s))
                except (ValueError, OverflowError) as error:
                    errors.append(f"{path}:{line}: {error}")
                if len(found) > LABELS_MAX:
                    raise Failure(f"{path}: more than {LABELS_MAX:,} labels")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise Failure(f"{path} cannot be read: {error}") from error
    if errors:
        more = f"\n  and {len(errors) - ERRORS_SHOWN} more" if len(errors) > ERRORS_SHOWN else ""
        raise Failure(f"{path} has errors:\n  " + "\n  ".join(errors[:ERRORS_SHOWN]) + more)
    if not found:
        raise Failure(f"{path} holds no labels. Write lines with {', '.join(FIELDS)}")
    return found


def _csv_rows(file: Any) -> Iterator[tuple[int, Any]]:
    reader = csv.DictReader(file)
    missing = set(FIELDS) - set(reader.fieldnames or ())
    if missing:
        raise csv.Error(f"the first line must name the columns {', '.join(FIELDS)}; {', '.join(sorted(missing))} lack")
    for row in reader:
        yield reader.line_num, row


def _json_rows(file: Any) -> Iterator[tuple[int, Any]]:
    for line, text in enumerate(file, 1):
        if text.strip():
            try:
                yield line, json.loads(text)
            except (ValueError, RecursionError):
                yield line, None


def _label(row: Any, t2s: T2s) -> Label:
    """Raises ``ValueError`` for what is no label."""
    if not isinstance(row, dict):
        raise ValueError(f"is no JSON object with {', '.join(FIELDS)}")
    entity = row.get("entity")
    if not isinstance(entity, str) or not entity.strip():
        raise ValueError("entity: must be a name or an id such as PER/张三")
    start_ms, end_ms = _time(row, "start"), _time(row, "end")
    if end_ms < start_ms:
        raise ValueError("end: is before start")
    return Label(named(entity.strip(), t2s), start_ms, end_ms)


def _time(row: dict[str, Any], field: str) -> int:
    try:
        return moment(str(row.get(field) or ""))
    except (ValueError, OverflowError):
        shown = str(row.get(field))[:40]
        raise ValueError(f"{field}: {shown!r} is no time; write e.g. 2022-03-01 or 2022-03-01T08:00:00Z") from None
