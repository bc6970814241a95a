"""A name means the same in files of rules, aliases and labels, however it is written."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import yaml

from deploy import aliasfile, rulefile
from deploy.backtest import labelfile
from deploy.names import named
from deploy.wiring import traditional_to_simplified
from stream.core.entities import Aliases
from stream.core.rules import RuleSet

NAMES = [
    ("PER/張三", "PER/张三"),
    ("張三", "张三"),
    ("ORG/ＩＢＭ", "ORG/ibm"),
    ("《三体》", "三体"),
    ("per/張三", "per/张三"),
    ("MISC/a/b", "MISC/a/b"),
    ("PER/", "per/"),
]


@pytest.mark.parametrize(("written", "expected"), NAMES)
def test_one_name_in_three_files(written: str, expected: str, tmp_path: Path) -> None:
    t2s = traditional_to_simplified()
    assert named(written, t2s) == expected
    rule = {"id": "r", "kind": "burst", "match": {"entity": [written]}}
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"version": 1, "rules": [rule]}))
    payload, errors = rulefile.load(tmp_path / "rules.yaml", t2s)
    assert errors == [] and RuleSet.from_payload(payload, 1).rules[0].match.entity == (expected,)
    with (tmp_path / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("entity", "start", "end"), (f" {written} ", "2022-03-01", "2022-03-02")])
    assert [label.entity for label in labelfile.load(tmp_path / "labels.csv", t2s)] == [expected]
    merge = {"entity": "LOC/上海", "names": [written]}
    (tmp_path / "aliases.yaml").write_text(yaml.safe_dump({"version": 1, "merge": [merge]}))
    payload, errors = aliasfile.load(tmp_path / "aliases.yaml", t2s)
    typed = written.partition("/")[0].isupper() and bool(written.partition("/")[2])
    assert errors == [] and set(Aliases.from_payload(payload).names) == {expected if typed else f"*/{expected}"}
