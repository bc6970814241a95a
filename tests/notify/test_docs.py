"""What docs/alerts.md says is so: its settings are read, its receiver accepts what we sign, its kinds are all there."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from deploy import rulefile, rulenotice
from deploy.settings import load
from stream.core.rules import RuleSet
from stream.notify.annotations import FACTS
from stream.notify.message import Style, compose
from stream.notify.settings import AnyChannel, ChannelSettings
from stream.notify.webhook import payload, signature
from tests.notify.alerts import alert, telling

PAGE = (Path(__file__).parents[2] / "docs" / "alerts.md").read_text(encoding="utf-8")
KINDS: dict[str, type[ChannelSettings]] = {kind.__struct_config__.tag: kind for kind in get_args(AnyChannel)}


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)


def test_its_settings_are_read(tmp_path: Path) -> None:
    found: list[tuple[str, AnyChannel]] = []
    for number, text in enumerate(blocks("toml")):
        path = tmp_path / f"{number}.toml"
        path.write_text(text, encoding="utf-8")
        found += load(path, {}).notify.channels.items()
    assert [name for name, _ in found] == ["ops", "mail", "phone", "kept", "stream"]


def test_its_rules_are_read_and_its_facts_are_all_that_there_are(tmp_path: Path) -> None:
    [text] = blocks("yaml")
    path = tmp_path / "rules.yaml"
    path.write_text(text, encoding="utf-8")
    payload, errors = rulefile.load(path, str)
    assert errors == [] and all(f"{name}:" in text for name in rulenotice.FIELDS)
    title = compose(telling(alert(notice=RuleSet.from_payload(payload).rules[0].notice)), Style("zh"), str).title
    assert title == "【触发】上海 ×13.1"
    listed = PAGE.partition("The facts: ")[2].partition("\n\n")[0]
    assert set(re.findall(r"`(\w+)`", listed)) == FACTS


def test_its_receiver_accepts_what_is_signed_and_nothing_else() -> None:
    [recipe] = blocks("python")
    names: dict[str, Any] = {}
    exec(recipe, names)  # what people copy
    body = b'{"a":1}'
    headers = {"X-Timestamp": "1700000000", "X-Signature": signature("SECtest", 1_700_000_000, body)}
    assert headers["X-Signature"] in PAGE
    genuine = names["genuine"]
    assert genuine("SECtest", headers, body, 1_700_000_100)
    assert not genuine("SECtest", headers, body + b" ", 1_700_000_100)
    assert not genuine("SECother", headers, body, 1_700_000_100)
    assert not genuine("SECtest", headers, body, 1_700_000_301)
    assert not genuine("SECtest", {**headers, "X-Timestamp": "1700000001"}, body, 1_700_000_100)
    assert not genuine("SECtest", {}, body)


def test_its_body_has_the_fields_of_the_real_one() -> None:
    [example] = [json.loads(text) for text in blocks("json")]
    real = json.loads(msgspec.json.encode(payload(telling(alert()), "hook", Style("both", "https://watch.example.org"))))
    assert example.keys() == real.keys() and example["alerts"][0].keys() == real["alerts"][0].keys()
    assert (
        example["groupKey"] == real["groupKey"]
        and example["commonAnnotations"].keys() == real["commonAnnotations"].keys()
    )
    assert example["alerts"][0]["generatorURL"] == real["alerts"][0]["generatorURL"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_stands_in_its_table_with_all_of_its_keys(kind: str) -> None:
    row = re.search(rf"^\| `{kind}` \|(.*)$", PAGE, flags=re.MULTILINE)
    assert row is not None
    settings = KINDS[kind]
    for field in msgspec.structs.fields(settings):
        if field.name not in ("language", "per_minute"):
            assert f"`{field.name}`" in row[1].split("|")[0 if field.required else 1], f"{kind}: {field.name}"
    default = {field.name: field.default for field in msgspec.structs.fields(settings)}["per_minute"]
    assert row[1].split("|")[2].strip().startswith(str(default) if default else "no limit")
