"""The rules file: YAML for people → the payload of a Control record."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import msgspec

from deploy import yamlmarks
from deploy.yamlmarks import Marked, located
from stream.core import rules

_UNITS: Final = {"s": 1000, "m": rules.MINUTE_MS, "h": rules.HOUR_MS, "d": rules.DAY_MS}
_DURATION: Final = re.compile(r"(\d+)([smhd])")
_DURATIONS: Final = {"for": "for_ms", "cooldown": "cooldown_ms", "windows": "windows"}
_PLANNED: Final = frozenset(
    [
        "spike",
        "frequency",
        "flatline",
        "cardinality",
        "concentration",
        "co_mention",
        "drift",
        "data_quality",
        "composite",
    ]
)


def load(path: Path) -> tuple[str, list[str]]:
    """(payload, errors): the payload is only good when there are no errors; each error names line and field."""
    marked, errors = yamlmarks.read(path)
    if marked is None:
        return "", errors
    errors = _prepare(marked, path)
    if errors:
        return "", errors
    found, errors = yamlmarks.shaped(marked, rules.RuleSet, path)
    if found is None:
        return "", errors
    errors = [located(marked, path, where, text) for where, text in rules.problems(found)]
    return msgspec.json.encode(found).decode(), errors


def _prepare(marked: Marked, path: Path) -> list[str]:
    """Write durations as milliseconds, in place, and refuse what this version does not know yet."""
    if not isinstance(marked.values, dict):
        return [located(marked, path, "$", "must be a mapping with version and rules")]
    entries = marked.values.get("rules")
    if not isinstance(entries, list):
        return [located(marked, path, "$.rules", "must be a list of rules")]
    errors = []
    for number, rule in enumerate(entries):
        where = f"$.rules[{number}]"
        if not isinstance(rule, dict):
            errors.append(located(marked, path, where, "must be a mapping"))
            continue
        if rule.get("kind") in _PLANNED:
            text = f"{rule['kind']} is not there yet; use burst, threshold or new_entity"
            errors.append(located(marked, path, f"{where}.kind", text))
        errors += [located(marked, path, at, text) for at, text in _durations(rule, where)]
    return errors


def _durations(rule: dict[str, Any], where: str) -> list[tuple[str, str]]:
    errors = []
    parts = [(rule, where)]
    if isinstance(rule.get("resolve"), dict):
        parts.append((rule["resolve"], f"{where}.resolve"))
    for part, at in parts:
        for name, target in _DURATIONS.items():
            if name not in part:
                continue
            written = part.pop(name)
            values = [_milliseconds(value) for value in (written if isinstance(written, list) else [written])]
            if None in values or (name != "windows" and len(values) != 1):
                errors.append((f"{at}.{name}", f"{written!r} is no duration; write e.g. 5m, 1h or 7d"))
            part[target] = values if name == "windows" else values[0]
    return errors


def _milliseconds(value: object) -> int | None:
    found = _DURATION.fullmatch(value) if isinstance(value, str) else None
    length = int(found[1]) * _UNITS[found[2]] if found else 0
    return length or None
