"""The bias report as users run it: on a store, to the terminal, to JSON, to one file of HTML."""

from __future__ import annotations

import json
import re
import sqlite3
from datetime import datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deploy.bias.gather import Range, gathered
from deploy.bias.values import report
from index.bias_report import html
from index.drift import drift_of
from index.messages import MESSAGES, recognised
from index.reader import SqliteReader, TooSlow
from index.rows import document_of
from index.sqlite import SqliteIndex, create_schema
from stream.bias.audit import Audit, Cell
from stream.bias.correction import Corrector
from stream.bias.posts import Gathering
from stream.bias.strata import Stratum
from stream.contract.records import Document, Drift, Observation
from stream.core.drift import COUNT_MIN
from stream.runtime.sqlite import DATABASE
from tests.bias.streams import HOUR, START, document, look
from tests.deploy.conftest import answer, weibowatch

HOSTILE = 'PER/<script>alert("x")</script>&'
AUDIT = "type,popularity,sampled,correct,missed\nPER,0-9,400,360,40\nPER,10+,400,300,100\nLOC,*,20,19,1\n"
RANGE = ("--since", "2022-02-28T16:00Z", "--until", "2022-03-10T16:00Z")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten days of a stream whose popular posts name more, with looks at posts as they grow."""
    draws = np.random.default_rng(1)
    documents, looks = [], []
    for number in range(1_500):
        likes, hour = int(draws.lognormal(4, 1.2)), float(draws.uniform(0, 240))
        names = ["PER/张三", "LOC/上海", HOSTILE][: int(draws.integers(0, 4 if likes > 55 else 2))]
        author = f"u{int(draws.pareto(1.5) * 20)}"
        documents.append(document(number, *names, hour=hour, author=author, likes=likes // 3, seen_after_h=0.25))
        looks += [look(number, hour, after, likes * after // 72) for after in (1, 3, 6, 24, 72) if hour % 100 < 90]
    return stored(tmp_path_factory.mktemp("bias") / "store", documents, looks)


def stored(folder: Path, documents: list[Document], looks: list[Observation]) -> Path:
    """A store of these in ``folder``, which is made."""
    folder.mkdir()
    connection = sqlite3.connect(folder / DATABASE, isolation_level=None)
    create_schema(connection)
    connection.execute("BEGIN")
    index = SqliteIndex(connection)
    index.documents(documents)
    index.notes(looks)
    connection.execute("COMMIT")
    connection.close()
    return folder


@pytest.fixture
def audit(tmp_path: Path) -> Path:
    path = tmp_path / "audit.csv"
    path.write_text(AUDIT, encoding="utf-8")
    return path


def said(*options: str) -> str:
    """What the report says on a terminal, its lines joined."""
    return " ".join(weibowatch("bias", "report", *options).stdout.decode().split())


def test_json_tells_shares_growth_audit_and_every_form(store: Path, audit: Path) -> None:
    found = answer("bias", "report", "--store", str(store), *RANGE, "--audit", str(audit), "--json")
    assert found["posts"] == 1_500 and found["mentions"] == sum(row["mentions"] for row in found["entities"])
    shares = found["shares"]
    assert shares["observed"] > shares["by_chance"]["high"] and shares["divergence"]["low"] > 0
    assert shares["popularity"][-1]["low"] > 1 > shares["popularity"][0]["high"]
    assert len(shares["cells"]) == len(shares["popularity"]) and {len(row) for row in shares["cells"]} == {24}
    assert [point["age_ms"] for point in found["growth"]][-1] == 72 * HOUR
    assert [(row["type"], bool(row["refused"])) for row in found["audit"]] == [("LOC", True), ("PER", False)]
    person = next(row for row in found["entities"] if row["entity"] == "PER/张三")
    assert person["ranks"] == {"mentions": 1, "authors": 1, "weighted": 1, "corrected": 1}
    assert person["authors"] < person["mentions"] < person["weighted"]
    corrected = person["corrected"]
    assert corrected["low"] < corrected["value"] < corrected["high"]
    assert sum(row["mentions"] for row in person["series"]) == person["mentions"]
    place = next(row for row in found["entities"] if row["type"] == "LOC")
    assert place["corrected"]["value"] is None and "too thin" in place["corrected"]["warnings"][0]
    assert place["ranks"]["corrected"] is None


def test_the_same_store_gives_the_same_report(store: Path, audit: Path) -> None:
    asked = ("bias", "report", "--store", str(store), *RANGE, "--audit", str(audit), "--json", "--type", "per")
    assert answer(*asked) == answer(*asked)
    assert {row["type"] for row in answer(*asked)["entities"]} == {"PER"}


class Elements(HTMLParser):
    """What the file would load or run, and its visible texts."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.loads: list[str] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.loads += [value or "" for name, value in attrs if name in ("src", "href", "style") or name[:2] == "on"]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_the_file_is_whole_and_safe_and_in_both_languages(store: Path, audit: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "bias.html"
    told = said("--store", str(store), *RANGE, "--audit", str(audit), "--out", str(out))
    assert "bits apart" in told and "PER/张三" in told and "bias.html" in told
    page = out.read_text(encoding="utf-8")
    read = Elements()
    read.feed(page)
    assert not read.tags & {"script", "link", "img", "iframe", "object"} and read.loads == []
    assert HOSTILE in read.texts and "<script" not in page
    assert "偏差报告" in page and "Bias report" in page and "nan" not in " ".join(read.texts)
    assert page.count('<svg class="plot"') == 2 * 6
    assert json.loads(out.with_suffix(".json").read_text(encoding="utf-8"))["posts"] == 1_500


def test_without_audit_authors_counts_or_looks_it_says_what_is_missing(demo_store: Path, tmp_path: Path) -> None:
    out = tmp_path / "bias.html"
    told = said("--store", str(demo_store), "--since", "2021-01-01", "--out", str(out))
    for missing in ("100 % of the posts are unknown", "100 % of the posts show no", "no growth curve"):
        assert missing in told
    found = json.loads(out.with_suffix(".json").read_text(encoding="utf-8"))
    assert found["audit"] is None and found["growth"] == []
    assert {row["corrected"] for row in found["entities"]} == {None}
    assert found["shares"]["popularity"][0]["label"] == "unknown" and "没有核查文件" in out.read_text(encoding="utf-8")


def test_names_are_no_markup_of_the_terminal(tmp_path: Path) -> None:
    names = ("PER/[/x]", "PER/[red]y")
    folder = stored(tmp_path / "store", [document(number, *names) for number in range(20)], [])
    told = said("--store", str(folder), *RANGE)
    assert all(name in told for name in names)


def test_looks_are_read_in_as_many_parts_as_the_index_needs(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = SqliteReader(store / DATABASE)
    asked = Range(START, START + 48 * HOUR)
    whole_days: list[int] = []
    parts: list[int] = []
    whole = gathered(reader, asked, lambda done, _: whole_days.append(done))
    monkeypatch.setattr("index.reader.NOTES_MAX", 100)
    halved = gathered(reader, asked, lambda done, _: parts.append(done))
    assert len(parts) > len(whole_days) and parts == sorted(parts)
    assert {name: sorted(seen) for name, seen in halved.snapshots.items()} == {
        name: sorted(seen) for name, seen in whole.snapshots.items()
    }
    monkeypatch.setattr("index.reader.NOTES_MAX", 0)
    with pytest.raises(TooSlow, match="shorter range"):
        gathered(reader, asked, lambda done, _: None)
    reader.close()


def test_where_only_young_posts_name_entities_that_is_what_is_said() -> None:
    old = [document(number, likes=30, seen_after_h=0.25) for number in range(20)]
    gathering = Gathering()
    gathering.add([*old, *(document(100 + number, "PER/a", seen_after_h=0.01) for number in range(5))])
    gathering.see(look(number, 0, hours, likes) for number in range(20)
                  for hours, likes in ((1, 60), (3, 90), (6, 120), (24, 140), (72, 150)))  # fmt: skip
    found = report(gathering, Range(START, START + HOUR), utc_offset_ms=0, type=None, limit=5, audit=None)
    assert found["shares"] is None and found["mentions"] == 5
    assert [one["key"] for one in found["warnings"]] == ["unknown_authors", "young"]


def test_weeks_of_a_long_range_begin_on_mondays() -> None:
    gathering = Gathering()
    gathering.add([document(1, "PER/a"), document(2, "PER/a", hour=200 * 24)])
    asked = Range(START, START + 201 * 24 * HOUR)
    [row] = report(gathering, asked, utc_offset_ms=0, type=None, limit=5, audit=None)["entities"]
    assert {datetime.fromisoformat(one["at"]).weekday() for one in row["series"]} == {0}
    assert (row["series"][0]["mentions"], row["series"][-1]["mentions"]) == (1, 1)


def test_a_range_without_posts_is_told(store: Path, tmp_path: Path) -> None:
    out = tmp_path / "bias.html"
    told = said("--store", str(store), "--since", "2030-01-01", "--until", "2030-02-01", "--out", str(out))
    assert "There are no posts in this range" in told
    assert "该时段没有帖子" in out.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("options", "code", "told"),
    [
        (("--audit", "{bad}"), 2, "line 2: 9 correct of 1 sampled"),
        (("--audit", "{none}"), 1, "cannot be read"),
        (("--out", "report.pdf"), 2, "ends in .html"),
        (("--out", "/proc/none/bias.html"), 1, "cannot be written"),
        (("--since", "2022-03-09", "--until", "2022-03-01"), 2, "later than --since"),
        (("--since", "soon"), 2, "is no time"),
    ],
)
def test_mistakes_are_told(store: Path, tmp_path: Path, options: tuple[str, ...], code: int, told: str) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text("type,sampled,correct,missed\nPER,1,9,0\n", encoding="utf-8")
    given = [one.format(bad=bad, none=tmp_path / "none.csv") for one in options]
    done = weibowatch("bias", "report", "--store", str(store), *given, check=False)
    assert (done.returncode, told in done.stderr.decode()) == (code, True), done.stderr.decode()
    assert b"Traceback" not in done.stderr


def test_what_is_said_of_audits_has_its_words_in_both_languages() -> None:
    stratum = Stratum("PER")
    thin, poor, few = (Cell(stratum, *numbers) for numbers in ((30, 29, 1), (400, 100, 100), (100, 60, 20)))
    good = Cell(stratum, 400, 300, 50)
    texts = [
        *Corrector(Audit(()), "PER").correct({None: 9}).warnings,
        *Corrector(Audit((thin,)), "PER").correct({thin: 9}).warnings,
        *Corrector(Audit((poor,)), "PER").correct({poor: 9}).warnings,
        *Corrector(Audit((few,)), "PER").correct({few: 1}).warnings,
        *Corrector(Audit((good,)), "PER").correct({good: 50, None: 50}).warnings,
    ]
    keys = [found[0] for text in texts for found in [recognised("audit", text)] if found]
    assert sorted(keys) == sorted(key for key in MESSAGES if key.startswith("audit."))


def test_every_word_of_the_templates_is_in_the_dictionary() -> None:
    root = Path(__file__).parents[2] / "index" / "templates"
    used = {
        key
        for name in ("bias.html", "bias_body.html", "drift.html")
        for key in re.findall(r"t\('([\w.]+)'[,)]", (root / name).read_text(encoding="utf-8"))
    }
    assert used and used <= set(MESSAGES)


def test_values_without_anything_make_a_page() -> None:
    nothing: dict[str, Any] = {
        "since": "2022-01-01T00:00:00Z", "until": "2022-01-02T00:00:00Z", "posts": 0, "mentions": 0, "shares": None,
        "growth": [], "audit": None, "entities": [], "warnings": [{"key": "no_posts"}], "utc_offset_s": 0,
    }  # fmt: skip
    assert "There are no posts" in html(nothing)


def test_a_run_writes_down_how_sure_the_model_was(calm: Path) -> None:
    """Ten hours of posts: enough entities to tell, too few days to judge."""
    reader = SqliteReader(calm / DATABASE)
    found = drift_of(reader)
    notes = [note for note in reader.notes("drift") if isinstance(note, Drift)]
    stats = reader.stats()
    reader.close()
    assert found["types"] and {row["state"] for row in found["types"]} == {"learning"}
    assert {row["type"] for row in found["types"]} >= {"PER", None}
    assert all(sum(note.recent) >= COUNT_MIN for note in notes)
    newest = next(row for row in found["types"] if row["type"] is None)
    assert 0 < newest["entities"] <= stats["posts"], "posts of the hours that have ended"
    with sqlite3.connect(calm / DATABASE) as connection:
        [record] = connection.execute("SELECT record FROM document_records LIMIT 1").fetchone()
    assert newest["model"] == document_of(record).model_version
