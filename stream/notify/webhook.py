"""A generic webhook: the body of Alertmanager (version 4), so that what takes that takes this, signed.

Strangers' words are data here. Annotations are what templates put into messages, so they are plain text; labels and the
excerpts in ``x_evidence`` are as they are, and whoever shows them has to escape them.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from stream.contract.ports import Telling
from stream.contract.records import RESOLVED, Evidence, Flip
from stream.core.grouping import group_labels, group_of
from stream.notify.annotations import rendered
from stream.notify.channel import Tools
from stream.notify.http import judged, keys_of
from stream.notify.message import TEST_KIND, Style, compose, link_to, over
from stream.notify.settings import WebhookSettings
from stream.notify.words import iso

NEVER: Final = "0001-01-01T00:00:00Z"
"""How Go, and so Alertmanager, writes a time that is not set."""
FINGERPRINT_CHARS: Final = 16


def signature(secret: str, timestamp_s: int, body: bytes) -> str:
    """``v1=`` and the hexadecimal HMAC-SHA256 of ``TIMESTAMP.BODY``."""
    return "v1=" + hmac.new(secret.encode(), f"{timestamp_s}.".encode() + body, hashlib.sha256).hexdigest()


class Webhook:
    """Delivers to one address."""

    def __init__(self, name: str, settings: WebhookSettings, tools: Tools) -> None:
        self._name = name
        self._settings = settings
        self._tools = tools
        self._secrets = keys_of(settings.url, settings.secret)

    async def deliver(self, telling: Telling) -> str:
        """What was answered. Raises ``DeliveryError``."""
        style = Style(self._settings.language, self._tools.public_url)
        body = msgspec.json.encode(payload(telling, self._name, style))
        timestamp_s = self._tools.now_ms() // 1000
        headers = {"X-Timestamp": str(timestamp_s), "X-Alert-Id": telling.id}
        if self._settings.secret:
            headers["X-Signature"] = signature(self._settings.secret, timestamp_s, body)
        return judged(await self._tools.http.post(self._settings.url, body, headers), self._secrets)


def payload(telling: Telling, receiver: str, style: Style) -> dict[str, Any]:
    """The body. The same group has the same ``groupKey`` and the same incident the same ``fingerprint`` throughout."""
    flips = telling.flips
    alerts = [_alert(flip, style) for flip in flips]
    group = _group(flips)
    pairs = ", ".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in group.items())
    return {
        "version": "4",
        "groupKey": f"{{}}:{{{pairs}}}",
        "truncatedAlerts": 0,
        "status": "resolved" if over(flips) else "firing",
        "receiver": receiver,
        "groupLabels": group,
        "commonLabels": _common([one["labels"] for one in alerts]),
        "commonAnnotations": _common([one["annotations"] for one in alerts]),
        "externalURL": style.public_url,
        "alerts": alerts,
        "x_evidence": [_evidence(one, flip) for flip in flips for one in flip.evidence],
    }


def _alert(flip: Flip, style: Style) -> dict[str, Any]:
    status = "resolved" if flip.state == RESOLVED else "firing"
    return {
        "status": status,
        "labels": _labels(flip),
        "annotations": _annotations(flip, style),
        "startsAt": iso(flip.first_ms),
        "endsAt": iso(flip.at_ms) if status == "resolved" else NEVER,
        "generatorURL": link_to(flip, style.public_url),
        "fingerprint": _fingerprint(flip),
    }


def _group(flips: Sequence[Flip]) -> dict[str, str]:
    """What the alerts were gathered by; a digest of what was muted has nothing in common."""
    if all(group_of(flip) == group_of(flips[0]) for flip in flips):
        named = {"alertname" if name == "rule" else name: value for name, value in group_labels(flips[0]).items()}
        return named or {"alertname": flips[0].rule_id, "entity": flips[0].entity}
    return {}


def _common(parts: Sequence[Mapping[str, str]]) -> dict[str, str]:
    return {name: value for name, value in parts[0].items() if all(part.get(name) == value for part in parts)}


def _fingerprint(flip: Flip) -> str:
    return flip.incident_id[:FINGERPRINT_CHARS]


def _labels(flip: Flip) -> dict[str, str]:
    return {
        **flip.labels,
        "alertname": flip.rule_id,
        "entity": flip.entity,
        "type": flip.type,
        "severity": flip.severity,
        **({"test": "true"} if flip.rule_kind == TEST_KIND else {}),
    }


def _annotations(flip: Flip, style: Style) -> dict[str, str]:
    message = compose(Telling(flip.id, (flip,)), style, str)
    found = {"summary": message.title, "description": "\n".join(message.facts), "state": flip.state}
    window = flip.window
    if window is not None:
        found |= {
            "window_s": f"{window.window_ms / 1000:g}", "authors": str(window.authors),
            "mentions": str(window.mentions), "observed": str(window.observed), "expected": f"{window.expected:.6g}",
            "lift": f"{window.lift:.6g}", "score": f"{window.score / 1000:g}",
            "origin": window.origin,
        }  # fmt: skip
    return {**found, **rendered(flip, str)}


def _evidence(one: Evidence, flip: Flip) -> dict[str, Any]:
    return {**msgspec.structs.asdict(one), "created_at": iso(one.created_ms), "fingerprint": _fingerprint(flip)}
