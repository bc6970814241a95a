"""By what alerts are told apart, gathered and silenced: facts of theirs by name."""

from __future__ import annotations

from typing import Final

import msgspec

from stream.contract.records import Flip

FIELDS: Final = ("rule", "kind", "type", "entity", "severity", "event")
"""Facts that every alert has, besides its labels."""


def fact(flip: Flip, name: str) -> str:
    """One of ``FIELDS``, else the label ``name``; empty where there is none. An alert alone is an event of its own."""
    match name:
        case "rule":
            return flip.rule_id
        case "kind":
            return flip.rule_kind
        case "event":
            return flip.event or flip.incident_id
        case "type" | "entity" | "severity":
            return str(getattr(flip, name))
        case _:
            return flip.labels.get(name, "")


def group_labels(flip: Flip) -> dict[str, str]:
    """What the alerts of a group have in common, by the names of ``group_by``; empty where an incident stands alone."""
    return {name: fact(flip, name) for name in flip.notice.group_by}


def group_of(flip: Flip) -> str:
    """Alerts of one group give the same text; without ``group_by`` an incident is a group of its own."""
    return _text(group_labels(flip)) or flip.incident_id


def place_of(flip: Flip) -> str:
    """Whoever delivers gets all alerts that give the same text: a group, or more where a severity divides it.

    The severity grows while an incident lasts, and its states must stay in their order.
    """
    lasting = {name: value for name, value in group_labels(flip).items() if name != "severity"}
    return _text(lasting) or flip.incident_id


def _text(labels: dict[str, str]) -> str:
    return msgspec.json.encode(labels, order="deterministic").decode() if labels else ""
