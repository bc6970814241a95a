"""The command line, each command as a user runs it, in its own process."""

from __future__ import annotations

import csv
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import typer
from typer.testing import CliRunner

from deploy.cli import app
from tests.corpus import demo_posts, write_jsonl
from tests.deploy.conftest import answer, weibowatch


def run_once(source: Path, store: Path) -> Any:
    return answer("run", "--source", f"jsonl:{source}", "--store", str(store), "--once", "--json")


def good(number: int, **more: object) -> dict[str, object]:
    return {"id": f"g{number}", "created_at": 1_650_000_000 + number, "text": f"第{number}条:周杰伦在上海", **more}


def test_run_prints_the_counts_of_the_contract(demo_store: Path, tmp_path: Path) -> None:
    found = run_once(write_jsonl(tmp_path / "p.jsonl", [good(1), good(2)]), tmp_path / "store")
    assert set(found) == {"posts", "documents", "mentions", "rejects", "alerts", "seconds", "posts_per_second"}
    assert (found["posts"], found["documents"], found["rejects"]) == (2, 2, 0)
    assert found["mentions"] >= 4


def test_a_second_run_of_a_drained_source_does_nothing(tmp_path: Path) -> None:
    source, store = write_jsonl(tmp_path / "p.jsonl", [good(1), good(2)]), tmp_path / "store"
    run_once(source, store)
    assert run_once(source, store)["posts"] == 0
    write_jsonl(source, [good(1), good(2), good(3)])
    assert run_once(source, store)["posts"] == 1, "a file that has grown gives its new lines"
    assert answer("search", "", "--store", str(store), "--json")["total"] == 3


def test_bad_input_goes_to_the_dead_letters_and_the_rest_flows(tmp_path: Path) -> None:
    lines = [
        json.dumps(good(1)).encode(),
        b'{"id": "bad-json", ',
        b'{"id": "enc", "created_at": 1650000000, "text": "\xff\xfe"}',
        b'{"id": "sur", "created_at": 1650000000, "text": "\\ud800"}',
        b'{"id": "nan", "created_at": 1650000000, "text": "x", "counts": {"likes": NaN}}',
        b'{"id": "no-text", "created_at": 1650000000}',
        b'{"created_at": 1650000000, "text": "no id"}',
        b'{"id": "no-time", "text": "x"}',
        b'{"id": "empty", "created_at": 1650000000, "text": ""}',
        b'{"id": "future", "created_at": "2999-01-01T00:00:00Z", "text": "x"}',
        b'{"id": "past", "created_at": "1999-01-01T00:00:00Z", "text": "x"}',
        json.dumps(good(2, text="长" * 1_000_000)).encode(),
        json.dumps(good(1)).encode(),
        json.dumps(good(3, text="", pictures=[{"id": "p", "url": "https://wx1.sinaimg.cn/large/p.jpg"}])).encode(),
    ]
    source, store = tmp_path / "p.jsonl", tmp_path / "store"
    source.write_bytes(b"\n".join(lines) + b"\n")
    found = run_once(source, store)
    assert (found["documents"], found["rejects"]) == (3, 10)
    listed = answer("rejects", "list", "--store", str(store), "--json")
    assert listed["by_reason"] == {
        "bad_encoding": 2, "bad_field": 4, "bad_json": 1, "empty": 1, "time_future": 1, "time_past": 1,
    }  # fmt: skip
    number = next(row["id"] for row in listed["rejects"] if row["reason"] == "bad_json")
    assert weibowatch("rejects", "show", str(number), "--raw", "--store", str(store)).stdout == lines[1]
    cut = answer("search", "长", "--store", str(store), "--json")["hits"][0]
    assert len(cut["text"]) == 20_000


def test_dead_letters_are_replayed_under_new_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, store = tmp_path / "p.jsonl", tmp_path / "store"
    source.write_text(json.dumps(good(1)) + "\n" + json.dumps(good(2, text="x" * 5000)) + "\n", encoding="utf-8")
    monkeypatch.setenv("WEIBOWATCH_EDGE__LINE_BYTES_MAX", "1000")
    assert run_once(source, store)["rejects"] == 1
    assert answer("rejects", "replay", "--store", str(store), "--json") == {"replayed": 0, "still_rejected": 1}
    monkeypatch.setenv("WEIBOWATCH_EDGE__LINE_BYTES_MAX", "100000")
    assert answer("rejects", "replay", "--store", str(store), "--json")["still_rejected"] == 1, "its bytes were cut"


def test_a_dead_letter_that_can_be_used_now_goes_into_the_index_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, store = tmp_path / "p.jsonl", tmp_path / "store"
    write_jsonl(source, [good(1), good(2, created_at=4_000_000_000)])
    assert run_once(source, store)["rejects"] == 1
    monkeypatch.setenv("WEIBOWATCH_EDGE__FUTURE_S_MAX", str(100 * 365 * 86_400))
    assert answer("rejects", "replay", "--store", str(store), "--json") == {"replayed": 1, "still_rejected": 0}
    assert answer("rejects", "replay", "--store", str(store), "--json")["replayed"] == 1, "not taken yet"
    other = write_jsonl(tmp_path / "q.jsonl", [good(3)])
    assert run_once(other, store)["documents"] == 2, "the next run takes it, and takes it once"
    assert answer("rejects", "list", "--store", str(store), "--json")["by_reason"] == {}
    again = weibowatch("run", "--source", f"jsonl:{source}", "--store", str(store), "--once", check=False)
    assert (again.returncode, b"edge.* settings have changed" in again.stderr) == (1, True)


def test_search_finds_two_character_names_and_phrases(demo_store: Path) -> None:
    found = answer("search", "上海", "--store", str(demo_store), "--json", "--limit", "5")
    assert found["total"] == sum("上海" in post["text"] for post in demo_posts(pictures=False))
    assert all("上海" in hit["text"] for hit in found["hits"])
    typed = answer("search", "", "--type", "LOC", "--entity", "LOC/上海", "--store", str(demo_store), "--json")
    assert 0 < typed["total"] <= found["total"]
    assert all(any(m["entity"] == "LOC/上海" for m in hit["mentions"]) for hit in typed["hits"])


def test_search_limits_by_time(demo_store: Path) -> None:
    def total(*words: str) -> int:
        return int(answer("search", "", "--store", str(demo_store), "--json", *words)["total"])

    before, after = total("--until", "2022-05-01"), total("--since", "2022-05-01")
    assert before > 0
    assert after > 0
    assert before + after == 1006


def test_a_bad_query_points_at_its_error(demo_store: Path) -> None:
    done = weibowatch("search", '上海 "open', "--store", str(demo_store), check=False)
    assert done.returncode == 2
    assert b"^" in done.stderr


def test_trends_entity_and_alerts(demo_store: Path) -> None:
    trends = answer("trends", "--since", "2022-03-01", "--until", "2022-06-01", "--store", str(demo_store), "--json")
    top = trends["entities"][0]
    assert top["mentions"] >= 3
    entity = answer("entity", top["entity"], "--store", str(demo_store), "--json")
    assert entity["entity"] == top["entity"]
    assert entity["evidence"]
    alerts = answer("alerts", "--store", str(demo_store), "--json")["alerts"]
    assert alerts, "the demo raises alerts"
    fired = [alert for alert in alerts if alert["state"] == "firing"]
    assert fired
    assert all(alert["evidence"] for alert in fired)
    assert all(not alert["authors_known"] for alert in fired), "CMNER has no authors, and the alert says so"


def test_tag_from_argument_and_standard_input() -> None:
    text = "周杰伦在上海开演唱会"
    found = answer("tag", text, "--json")
    assert {"start", "end", "type", "text", "confidence"} == set(found[0])
    assert all(text[span["start"] : span["end"]] == span["text"] for span in found)
    assert ("LOC", "上海") in {(span["type"], span["text"]) for span in found}
    assert answer("tag", "-", "--json", stdin=text.encode()) == found
    assert answer("tag", "", "--json") == []


def test_evaluate_reports_strict_scores(tmp_path: Path) -> None:
    gold = tmp_path / "gold.txt"
    blocks = []
    for post in [post for post in demo_posts(pictures=False) if post["split"] == "dev"][:200]:
        rows = "".join(f"{char}\t{tag}\n" for char, tag in zip(post["text"], post["tags"].split(), strict=True))
        blocks.append(f"WID:{post['bid']}\n{rows}\n")
    gold.write_text("".join(blocks), encoding="utf-8")
    found = answer("evaluate", "--data", str(gold), "--json")
    assert {"micro", "per_type", "seen", "unseen", "pictures_left_out"} == set(found)
    assert set(found["per_type"]) == {"PER", "LOC", "ORG", "MISC"}
    assert 0.7 < found["micro"]["f1"] < 1
    gold.write_text("no\ttag\there\n", encoding="utf-8")
    assert weibowatch("evaluate", "--data", str(gold), check=False).returncode == 1


def test_series_scores_row_for_row(tmp_path: Path) -> None:
    stamps = [f"2022-01-{1 + hour // 24:02}T{hour % 24:02}:00:00Z" for hour in range(600)]
    rows = [(stamp, 40 if hour == 400 else hour % 5) for hour, stamp in enumerate(stamps)]
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text("timestamp,value\n" + "".join(f"{stamp},{value}\n" for stamp, value in rows))
    weibowatch("series", "--input", str(source), "--output", str(target))
    scored = list(csv.DictReader(target.read_text(encoding="utf-8").splitlines()))
    assert [row["timestamp"] for row in scored] == [stamp for stamp, _ in rows]
    values = [float(row["score"]) for row in scored]
    assert all(0 <= value <= 1 for value in values)
    assert values.index(max(values)) == 400


def test_rules_and_aliases_name_line_and_field(tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text("version: 1\nrules:\n  - id: a\n    kind: burst\n    windows: [5x]\n")
    done = weibowatch("rules", "check", str(rules), check=False)
    assert done.returncode == 1
    assert b'rules.yaml:5: rules[0].windows: "5x" is no duration' in done.stderr
    rules.write_text("version: 1\nrules:\n  - id: a\n    kind: burst\n    windws: [5m]\n")
    assert b"windws" in weibowatch("rules", "check", str(rules), check=False).stderr
    aliases = tmp_path / "aliases.yaml"
    merges = "".join(f"  - entity: {entity}\n    names: [LOC/沪]\n" for entity in ("LOC/上海", "LOC/广州"))
    aliases.write_text("version: 1\nmerge:\n" + merges, encoding="utf-8")
    done = weibowatch("aliases", "check", str(aliases), check=False)
    assert done.returncode == 1
    assert "aliases.yaml:6: merge[1].names[0]: LOC/沪".encode() in done.stderr


@pytest.mark.parametrize("name", ["demo_rules.yaml", "default_rules.yaml"])
def test_the_rules_that_ship_are_valid(name: str) -> None:
    weibowatch("rules", "check", f"deploy/{name}")


def test_aliases_take_effect_for_what_comes_after(tmp_path: Path) -> None:
    source, store, aliases = tmp_path / "p.jsonl", tmp_path / "store", tmp_path / "aliases.yaml"
    run_once(write_jsonl(source, [good(1)]), store)
    aliases.write_text("version: 1\nmerge:\n  - entity: LOC/魔都\n    names: [LOC/上海]\n", encoding="utf-8")
    weibowatch("aliases", "apply", str(aliases), "--store", str(store))
    run_once(write_jsonl(source, [good(1), good(2)]), store)
    hits = answer("search", "", "--store", str(store), "--json")["hits"]
    places = [{m["entity"] for m in hit["mentions"] if m["surface"] == "上海"} for hit in hits]
    assert places == [{"LOC/魔都"}, {"LOC/上海"}]


def test_backup_is_a_whole_store(demo_store: Path, tmp_path: Path) -> None:
    target = tmp_path / "restored" / "weibowatch.db"
    target.parent.mkdir()
    weibowatch("backup", str(target), "--store", str(demo_store))
    assert sqlite3.connect(target).execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert answer("search", "", "--store", str(target.parent), "--json")["total"] == 1006


def test_doctor_and_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checks = answer("doctor", "--store", str(tmp_path), "--json")
    assert all(check["ok"] for check in checks)
    monkeypatch.setenv("WEIBOWATCH_WEB__TOKEN", "hush")
    assert answer("config", "show", "--json")["web.token"] == "***"
    assert b"hush" not in weibowatch("config", "show").stdout


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["run"], 2),
        (["run", "--source", "nonsense", "--once"], 2),
        (["run", "--source", "jsonl:/nowhere.jsonl", "--once"], 1),
        (["run", "--source", "demo", "--speed", "-1", "--once"], 2),
        (["search", "x", "--since", "someday"], 2),
        (["tag", "x", "--model", "/nowhere"], 1),
        (["nonsense"], 2),
        (["--version"], 0),
        (["--help"], 0),
    ],
)
def test_exit_codes(words: list[str], code: int, tmp_path: Path) -> None:
    store = ["--store", str(tmp_path / "store")] if words[0] in ("run", "search") else []
    done = weibowatch(*words, *store, check=False)
    assert done.returncode == code
    assert b"Traceback" not in done.stderr


def helped(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every command and group of ``command``."""
    yield words
    for name, sub in getattr(command, "commands", {}).items():
        yield from helped(sub, (*words, name))


EVERY: Final = sorted(helped(typer.main.get_command(app)))


@pytest.mark.parametrize("words", EVERY, ids=" ".join)
def test_every_command_helps(words: tuple[str, ...]) -> None:
    done = CliRunner().invoke(app, [*words, "--help"])
    assert done.exit_code == 0, done.output
    assert "Usage:" in done.output
    # What looks like markup to the terminal would be left out.
    assert "HOST/TAG" in done.output or words not in (("run",), ("ingest",))
