"""What docs/rules.md shows is a rules file, and names every kind and every field."""

from __future__ import annotations

import re
from pathlib import Path

from deploy import rulefile
from stream.core.rules import KINDS, RuleSet

DOC = (Path(__file__).parents[2] / "docs" / "rules.md").read_text(encoding="utf-8")


def test_the_example_is_in_order_and_has_every_kind(tmp_path: Path) -> None:
    [example] = re.findall(r"```yaml\n(.*?)```", DOC, re.DOTALL)
    path = tmp_path / "rules.yaml"
    path.write_text(example, encoding="utf-8")
    payload, errors = rulefile.load(path, str)
    assert errors == []
    assert {rule.kind for rule in RuleSet.from_payload(payload).rules} == set(KINDS)


def test_every_kind_and_match_is_told() -> None:
    assert [kind for kind in KINDS if f"| `{kind}` |" not in DOC] == []
    fields = ("type", "entity", "exclude", "entity_re", "source", "picture_only", "alias", "with")
    assert [field for field in fields if f"`{field}`" not in DOC] == []
