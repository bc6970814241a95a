"""``weibowatch backtest`` over the store of a real run."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from deploy.backtest.facts import StoreFacts
from deploy.backtest.run import Course, replayed
from deploy.cli import app
from index.sqlite import SqliteIndex
from stream.contract import codec
from stream.core.settings import CoreSettings
from stream.runtime.sqlite import DATABASE
from tests.deploy.conftest import answer

FOR_EVER = 1 << 62
BURSTS = """
version: 1
rules:
  - id: burst
    kind: burst
    windows: [1d, 7d]
    significance: {alerts_per_day: 0.05, min_count: %d, min_authors: 3, min_lift: 3.0}
    resolve: {below: 0.5, of: threshold, for: 2d}
    cooldown: 14d
"""


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with the demo corpus."""
    store = tmp_path_factory.mktemp("backtest") / "store"
    assert answer("run", "--source", "demo", "--store", str(store), "--once", "--json")["alerts"] > 5
    return store


@pytest.fixture
def copy(demo: Path, tmp_path: Path) -> Path:
    """The same, to be changed."""
    return Path(shutil.copytree(demo, tmp_path / "copy"))


@contextlib.contextmanager
def database(store: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(store / DATABASE, isolation_level=None)) as connection:
        yield connection


def backtest(store: Path, *words: str) -> Any:
    return json.loads(said(store, "--json", *words))


def said(store: Path, *words: str, code: int = 0) -> str:
    """Standard output, or standard error where it fails."""
    done = CliRunner().invoke(app, ["backtest", "--store", str(store), *words])
    assert done.exit_code == code, done.stderr
    return done.stderr if code else done.stdout


def rules(folder: Path, name: str = "rules.yaml", least: int = 4) -> str:
    (folder / name).write_text(BURSTS % least)
    return str(folder / name)


# --- as it was ---------------------------------------------------------------------------------------------------


def test_the_flips_are_those_of_the_live_run_byte_for_byte(demo: Path) -> None:
    with contextlib.closing(StoreFacts(demo / DATABASE, CoreSettings())) as facts:
        outcome = replayed(facts, Course(FOR_EVER))
    with database(demo) as connection:
        live = dict(connection.execute("SELECT id, record FROM flips"))
    assert {flip.id: codec.encode(flip) for flip in outcome.flips} == live
    assert len(live) > 10
    assert (outcome.posts, outcome.counts["gone"]) == (1006, 0)


def test_a_run_that_was_cut_short_and_went_on_replays_as_one(tmp_path: Path) -> None:
    """Lone posts and ends in between: what the journal holds does not depend on how it came."""
    source, store = tmp_path / "posts.jsonl", tmp_path / "store"
    lines = [
        json.dumps({"id": f"p{n}", "created_at": 1_650_000_000 + 600 * n, "author": f"a{n % 7}", "text": text(n)})
        for n in range(60)
    ]
    for count in (3, 31, 60):
        source.write_text("\n".join(lines[:count]) + "\n")
        answer("run", "--source", f"jsonl:{source}", "--store", str(store), "--once", "--json")
    found = backtest(store)
    assert found["live"] == {"same": found["live"]["same"], "different": 0, "only_live": 0, "only_replay": 0}
    assert found["facts"]["posts"] == 60
    assert found["facts"]["whole"]


def text(number: int) -> str:
    return f"第{number}条:周杰伦在上海" if number % 3 else f"第{number}条:今天天气不错"


def test_the_answer_says_what_was_told_and_by_which_rules(demo: Path) -> None:
    found = backtest(demo)
    assert found["alerts"] == len(found["list"]) == sum(one["alerts"] for one in found["days"])
    assert found["alerts"] == sum(found["by_rule"].values()) == sum(found["by_severity"].values())
    assert found["live"]["same"] > found["alerts"]
    assert found["top"][0]["alerts"] >= found["top"][-1]["alerts"]
    assert {one["reason"] != "" for one in found["list"]} == {True}
    lines = said(demo)
    assert f"{found['alerts']} alerts in" in lines
    assert f"the live run told the same: {found['live']['same']} changes" in lines


def test_a_period_tells_its_own_alerts_and_learns_from_what_was_before(demo: Path) -> None:
    whole = backtest(demo)
    middle = whole["list"][len(whole["list"]) // 2]["at"]
    first, second = backtest(demo, "--to", middle), backtest(demo, "--from", middle)
    assert named(first) + named(second) == named(whole)
    assert second["from"] == first["to"] == middle
    assert second["facts"]["since"] == whole["facts"]["since"]
    early = backtest(demo, "--from", "2020-01-01")
    assert named(early) == named(whole)
    assert early["notes"][0].startswith("note: nothing is kept before 2021-11-03")


def named(found: Any) -> list[tuple[str, str, str]]:
    """Which alerts: an end that comes later is not known before."""
    return [(one["at"], one["rule"], one["entity"]) for one in found["list"]]


# --- other rules -------------------------------------------------------------------------------------------------


def test_rules_of_a_file_give_what_a_live_run_with_them_gives(demo: Path, tmp_path: Path) -> None:
    file = rules(tmp_path)
    found = backtest(demo, "--rules", file)
    store = tmp_path / "live"
    answer("run", "--source", "demo", "--store", str(store), "--once", "--json", "--rules", file)
    live = backtest(store)
    assert found["list"] == live["list"] != []
    assert live["live"]["only_live"] == live["live"]["only_replay"] == live["live"]["different"] == 0
    assert "live" not in found


def test_two_files_are_compared(demo: Path, tmp_path: Path) -> None:
    few, many = rules(tmp_path, "few.yaml", 12), rules(tmp_path, "many.yaml", 4)
    found = backtest(demo, "--diff", few, many)
    assert (found["old"]["name"], found["new"]["name"]) == (few, many)
    assert found["old"]["alerts"] < found["new"]["alerts"]
    assert len(found["diff"]["only_old"]) + len(found["diff"]["both"]) == found["old"]["alerts"]
    assert len(found["diff"]["only_new"]) + len(found["diff"]["both"]) == found["new"]["alerts"]
    same = backtest(demo, "--diff", many, many)["diff"]
    assert (same["only_old"], same["only_new"]) == ([], [])
    assert {one["minutes_later"] for one in same["both"]} == {0}
    lines = said(demo, "--diff", few, many)
    assert f"in {many} only, not in {few}" in lines


def test_labels_give_precision_recall_and_lead(demo: Path, tmp_path: Path) -> None:
    alerts = backtest(demo)["list"]
    one, other = alerts[0], alerts[-1]
    rows = [f"{one['entity']},{one['at']},{one['at']}", f"PER/nobody,{other['at']},{other['at']}"]
    (tmp_path / "labels.csv").write_text("\n".join(["entity,start,end", *rows]))
    (tmp_path / "labels.jsonl").write_text(
        json.dumps({"entity": other["entity"].partition("/")[2], "start": other["at"], "end": other["at"]}) + "\n"
    )
    found = backtest(demo, "--labels", str(tmp_path / "labels.csv"))["labels"]
    assert (found["recall"]["hits"], found["recall"]["of"], found["recall"]["value"]) == (1, 2, 0.5)
    assert (found["precision"]["hits"], found["precision"]["of"]) == (1, len(alerts))
    assert found["lead_minutes"] == [0, 0, 0]
    assert [missed["entity"] for missed in found["missed"]] == ["PER/nobody"]
    assert backtest(demo, "--labels", str(tmp_path / "labels.jsonl"))["labels"]["recall"]["value"] == 1
    assert "recall: 1 of 2, 0.500" in said(demo, "--labels", str(tmp_path / "labels.csv"))


# --- other names, another model ----------------------------------------------------------------------------------


def test_aliases_tell_which_alerts_they_would_change(demo: Path, tmp_path: Path) -> None:
    told = backtest(demo)["list"]
    renamed = told[0]["entity"]
    kind = renamed.partition("/")[0]
    file = tmp_path / "aliases.yaml"
    file.write_text(f'version: 1\nmerge:\n  - entity: {kind}/another\n    names: ["{renamed}"]\n')
    found = backtest(demo, "--aliases", str(file))
    entities = {one["entity"] for one in found["new"]["list"]}
    assert f"{kind}/another" in entities and renamed not in entities
    assert found["old"]["list"] == told
    assert (found["diff"]["only_old"], found["diff"]["only_new"]) == ([], [])
    assert any(one["entity"] == f"{kind}/another" for one in found["diff"]["both"])


def test_the_same_model_changes_nothing_and_pictures_that_are_gone_are_counted(copy: Path) -> None:
    with database(copy) as connection:
        connection.execute("DELETE FROM pictures")
        [(pictured,)] = connection.execute("SELECT count(DISTINCT doc) FROM picture_uses")
    found = backtest(copy, "--model", "nlp/default")
    assert (found["diff"]["only_old"], found["diff"]["only_new"]) == ([], [])
    assert {one["minutes_later"] for one in found["diff"]["both"]} == {0}
    assert pictured > 0
    assert any(f"{pictured} posts are read without their pictures" in note for note in found["notes"])


# --- what is not there -------------------------------------------------------------------------------------------


def test_what_deleted_posts_mentioned_is_not_counted_and_that_is_said(copy: Path) -> None:
    before = backtest(copy)
    entity = before["list"][0]["entity"]
    with database(copy) as connection:
        query = (
            "SELECT documents.id FROM mentions JOIN documents USING (doc)"
            " JOIN entities ON entities.id = mentions.entity WHERE entities.entity = ?"
        )
        wanted = [post_id for (post_id,) in connection.execute(query, (entity,))]
        connection.execute("BEGIN")
        SqliteIndex(connection).delete(wanted)
        connection.execute("COMMIT")
    found = backtest(copy)
    assert found["facts"]["gone"] == len(wanted) > 3
    assert entity in {one["entity"] for one in before["list"]} - {one["entity"] for one in found["list"]}
    assert any(f"{len(wanted)} posts are not stored any more" in note for note in found["notes"])
    assert any("the live run told otherwise" in note for note in found["notes"])


def test_a_beginning_that_is_not_kept_any_more_is_said(copy: Path) -> None:
    with database(copy) as connection:
        connection.execute("DELETE FROM journal WHERE id = (SELECT min(id) FROM journal)")
    found = backtest(copy)
    assert not found["facts"]["whole"]
    assert found["alerts"] > 0, "under the rules in force now"
    assert any("the beginning is no longer kept" in note for note in found["notes"])
    assert any("the rules of the beginning are not kept" in note for note in found["notes"])


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("--from", "2022-03-02", "--to", "2022-03-01"), 2, "--to 2022-03-01 is not after --from 2022-03-02"),
        (("--from", "soon"), 2, "'soon' is no time"),
        (("--from", "2031-01-01"), 1, "no facts in this period; there are some from 2021-11-03"),
        (("--diff", "a.yaml", "b.yaml", "--rules", "c.yaml"), 2, "leave out --rules"),
        (("--rules", "nowhere.yaml"), 1, "nowhere.yaml"),
        (("--labels", "nowhere.csv"), 1, "nowhere.csv cannot be read"),
        (("--model", "nowhere"), 1, "nowhere"),
        (("--cluster",), 2, "name one: --store FOLDER, or --cluster"),
    ],
)
def test_what_makes_no_sense_is_said_in_a_line(demo: Path, words: tuple[str, ...], code: int, says: str) -> None:
    error = said(demo, *words, code=code)
    assert says in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("l.csv", "name,from\na,b\n", "the first line must name the columns entity, start, end"),
        ("l.csv", "entity,start,end\nPER/a,2022-03-01,x\n", "l.csv:2: end: 'x' is no time"),
        ("l.csv", "entity,start,end\nPER/a,2022-03-02,2022-03-01\n", "l.csv:2: end: is before start"),
        ("l.csv", "entity,start,end\n", "holds no labels"),
        ("l.csv", "entity,start,end\n,2022-03-01,2022-03-01\n", "l.csv:2: entity: must be a name"),
        ("l.jsonl", '{"entity": "a"}\n{broken\n', "l.jsonl:2: is no JSON object"),
        ("l.jsonl", "[]\n" * 12, "and 2 more"),
    ],
)
def test_a_broken_label_file_is_told_by_line(demo: Path, tmp_path: Path, name: str, content: str, says: str) -> None:
    (tmp_path / name).write_text(content)
    assert says in said(demo, "--labels", str(tmp_path / name), code=1)


def test_an_empty_store_has_nothing_to_replay(tmp_path: Path) -> None:
    (tmp_path / "posts.jsonl").write_text("")
    store = tmp_path / "store"
    answer("run", "--source", f"jsonl:{tmp_path / 'posts.jsonl'}", "--store", str(store), "--once", "--json")
    assert "nothing to replay" in said(store, code=1)
    assert "no store in" in said(tmp_path / "nowhere", code=1)
    with database(store) as connection:
        connection.execute("DROP TABLE journal")
    assert "written by an older weibowatch" in said(store, code=1)
