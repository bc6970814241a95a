"""Generic webhooks: Alertmanager's body, the signature, what comes of answers."""

from __future__ import annotations

import hashlib
import hmac
import json
import subprocess
from typing import Any

import msgspec
import pytest
from hypothesis import given

from stream.contract.ports import DeliveryError
from stream.notify.message import Style
from stream.notify.settings import WebhookSettings
from stream.notify.webhook import Webhook, payload, signature
from tests.notify.alerts import AT_MS, HOSTILE, TEXTS, alert, evidence, hostile, telling
from tests.notify.fakes import PUBLIC_URL, Hook, tools

SCHEMA: dict[str, Any] = {
    "type": "object", "additionalProperties": False,
    "required": ["version", "groupKey", "truncatedAlerts", "status", "receiver", "groupLabels", "commonLabels",
                 "commonAnnotations", "externalURL", "alerts", "x_evidence"],
    "properties": {
        "version": {"const": "4"}, "groupKey": {"type": "string"}, "truncatedAlerts": {"type": "integer"},
        "status": {"enum": ["firing", "resolved"]}, "receiver": {"type": "string"},
        "groupLabels": {"$ref": "#/$defs/words"}, "commonLabels": {"$ref": "#/$defs/words"},
        "commonAnnotations": {"$ref": "#/$defs/words"}, "externalURL": {"type": "string"},
        "alerts": {"type": "array", "minItems": 1, "items": {
            "type": "object", "additionalProperties": False,
            "required": ["status", "labels", "annotations", "startsAt", "endsAt", "generatorURL", "fingerprint"],
            "properties": {
                "status": {"enum": ["firing", "resolved"]}, "labels": {"$ref": "#/$defs/words"},
                "annotations": {"$ref": "#/$defs/words"}, "startsAt": {"$ref": "#/$defs/time"},
                "endsAt": {"$ref": "#/$defs/time"}, "generatorURL": {"type": "string"},
                "fingerprint": {"type": "string", "pattern": "^[0-9a-f]{16}$"},
            },
        }},
        "x_evidence": {"type": "array", "items": {"type": "object"}},
    },
    "$defs": {
        "words": {"type": "object", "additionalProperties": {"type": "string"},
                  "propertyNames": {"pattern": "^[a-zA-Z_][a-zA-Z0-9_]*$"}},
        "time": {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$"},
    },
}  # fmt: skip
"""What Alertmanager's ``notify/webhook`` and ``template.Data`` write, read from its source."""


def valid(body: dict[str, Any]) -> None:
    import jsonschema

    jsonschema.validate(body, SCHEMA)


def test_the_signature_of_the_design() -> None:
    assert signature("SECtest", 1_700_000_000, b'{"a":1}') == (
        "v1=fcb51ec4942f871bf6bb7039d37a5ac7dd46311afc0620d07c5c84f8958cb4d1"
    )


def test_the_signature_is_what_openssl_makes_of_it() -> None:
    signed = subprocess.run(
        ["openssl", "dgst", "-sha256", "-hmac", "s3cret"],
        input="1700000001.正文".encode(),
        capture_output=True,
        check=True,
    )
    assert signature("s3cret", 1_700_000_001, "正文".encode()) == f"v1={signed.stdout.split()[-1].decode()}"


def test_firing_escalated_and_resolved_are_one_incident_in_alertmanager_s_words() -> None:
    style = Style("both", PUBLIC_URL)
    bodies = [payload(telling(alert(state=state)), "ops", style) for state in ("firing", "escalated", "resolved")]
    for body in bodies:
        valid(json.loads(msgspec.json.encode(body)))
    assert [body["status"] for body in bodies] == ["firing", "firing", "resolved"]
    assert len({(body["groupKey"], body["alerts"][0]["fingerprint"]) for body in bodies}) == 1
    firing, _, resolved = (body["alerts"][0] for body in bodies)
    assert (firing["startsAt"], firing["endsAt"]) == ("2023-11-14T22:08:20.000Z", "0001-01-01T00:00:00Z")
    assert resolved["endsAt"] == "2023-11-14T22:13:20.000Z"
    assert firing["labels"] == {
        "alertname": "org-burst", "entity": "LOC/上海", "severity": "warning", "team": "pr", "type": "LOC"
    }  # fmt: skip
    assert firing["annotations"]["observed"] == "42" and "实际 42，预期 3.20" in firing["annotations"]["description"]
    assert bodies[0]["groupKey"] == '{}:{alertname="org-burst", entity="LOC/上海"}'
    assert bodies[0]["externalURL"] == PUBLIC_URL
    assert firing["generatorURL"] == f"{PUBLIC_URL}/entities/LOC/%E4%B8%8A%E6%B5%B7"


def test_evidence_is_as_it_was_written() -> None:
    [found] = payload(telling(alert(evidence=(evidence("a\n<b>\u202e"),))), "ops", Style("en"))["x_evidence"]
    assert (found["excerpt"], found["post_id"], found["created_at"]) == (
        "a\n<b>\u202e", "weibo:0", "2023-11-14T22:13:20.000Z"
    )  # fmt: skip


@given(TEXTS)
def test_any_words_make_a_valid_body_with_annotations_in_plain_lines(text: str) -> None:
    text = text.encode("utf-8", "replace").decode()
    body = json.loads(msgspec.json.encode(payload(telling(hostile(text)), "ops", Style("both"))))
    valid(body)
    said = body["commonAnnotations"]
    assert "\n" not in said["summary"] and said["description"].count("\n") == 3
    assert said["summary"].isprintable() and "://" not in said["summary"]


async def test_a_receiver_can_prove_who_sent_it() -> None:
    hook = Hook()
    async with hook.serving() as url:
        channel = Webhook("ops", WebhookSettings(url=f"{url}/in", secret="SECtest"), tools(AT_MS))
        assert await channel.deliver(telling(alert())) == "HTTP 200: thank you"
    [(_, headers, body)] = hook.asked
    expected = hmac.new(b"SECtest", headers["X-Timestamp"].encode() + b"." + body, hashlib.sha256).hexdigest()
    assert headers["X-Signature"] == f"v1={expected}"
    assert (headers["X-Timestamp"], headers["X-Alert-Id"]) == ("1700000000", alert().id)
    valid(json.loads(body))
    assert json.loads(body)["receiver"] == "ops"


async def test_without_a_secret_nothing_is_signed() -> None:
    hook = Hook()
    async with hook.serving() as url:
        await Webhook("ops", WebhookSettings(url=url), tools(AT_MS)).deliver(telling(alert(rule_kind="test")))
    [(_, headers, body)] = hook.asked
    assert "X-Signature" not in headers and headers["X-Timestamp"]
    assert json.loads(body)["commonLabels"]["test"] == "true"


async def test_a_refusal_is_lasting_and_tells_no_key() -> None:
    hook = Hook()
    hook.faults = ["404", "503"]
    async with hook.serving() as url:
        channel = Webhook("ops", WebhookSettings(url=f"{url}/in/{'k' * 20}"), tools(AT_MS))
        for lasting in (True, False):
            with pytest.raises(DeliveryError) as caught:
                await channel.deliver(telling(alert()))
            assert caught.value.lasting is lasting and "k" * 20 not in str(caught.value)


@pytest.mark.parametrize("text", HOSTILE)
async def test_hostile_words_arrive_as_data(text: str) -> None:
    text = text.encode("utf-8", "replace").decode()
    hook = Hook()
    async with hook.serving() as url:
        await Webhook("ops", WebhookSettings(url=url), tools(AT_MS)).deliver(telling(hostile(text)))
    body = json.loads(hook.asked[0][2])
    assert body["x_evidence"][0]["excerpt"] == text and body["commonLabels"]["entity"] == f"PER/{text}"
