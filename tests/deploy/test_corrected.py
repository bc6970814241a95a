"""Corrected counts of a running system: API, pages, and an audit file that changes or breaks."""

from __future__ import annotations

import json
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest

from deploy.bias.auditfile import SETTLED_MS, AuditFile
from deploy.bias.live import TOO_MUCH
from deploy.errors import Failure
from index.messages import recognised, said
from index.rendering import grouped
from index.sqlite import SqliteIndex
from stream.bias.audit import Audit, Cell
from stream.bias.correction import Corrector
from stream.bias.strata import Stratum
from stream.runtime.sqlite import DATABASE
from tests.bias.streams import START, document, look
from tests.deploy.conftest import answer, weibowatch
from tests.deploy.processes import ended, started
from tests.index.corpus import point
from tests.index.serving import Served, served

HEADER = "type,popularity,sampled,correct,missed\n"
AUDIT = f"{HEADER}PER,0-9,400,360,40\nPER,10+,400,300,100\nLOC,*,20,19,1\n"
RANGE = "since=2022-02-28T16:00Z&until=2022-03-02T16:00Z"
PERSON, PLACE = quote("PER/张三"), quote("LOC/上海")


@pytest.fixture
def audit(tmp_path: Path) -> Path:
    path = tmp_path / "audit.csv"
    path.write_text(AUDIT, encoding="utf-8")
    return path


@pytest.fixture
async def server(tmp_path: Path, audit: Path) -> AsyncIterator[Served]:
    """Two days of posts, of which every other one grew popular."""
    (tmp_path / "store").mkdir()
    async with served(tmp_path / "store" / DATABASE, filled=False, audit=audit) as running:
        running.write(
            [document(number, "PER/张三", "LOC/上海", hour=number / 12, likes=5) for number in range(576)]
        )
        running.connection.execute("BEGIN")
        index = SqliteIndex(running.connection)
        index.notes([look(number, number / 12, 24, 500) for number in range(0, 576, 2)])
        index.points([point("PER/张三", START + place * 3_600_000, mentions=12) for place in range(48)])
        running.connection.execute("COMMIT")
        yield running


async def get(server: Served, path: str) -> Any:
    async with aiohttp.ClientSession() as session, session.get(server.base + path) as found:
        assert found.status == 200, await found.text()
        return await found.json()


async def page(server: Served, path: str) -> str:
    async with aiohttp.ClientSession() as session, session.get(server.base + path) as found:
        assert found.status == 200
        return " ".join((await found.text()).split())


# --- answers -----------------------------------------------------------------------------------------------------


async def test_an_entity_has_raw_and_corrected_counts_as_the_report_has_them(
    server: Served, tmp_path: Path, audit: Path
) -> None:
    found = await get(server, f"/api/entities/{PERSON}?{RANGE}")
    assert found["mentions"] == 576 and found["audit"] == {"file": "audit.csv", "problem": ""}
    assert found["corrected"]["low"] < found["corrected"]["value"] < found["corrected"]["high"]
    assert found["corrected"]["value"] == pytest.approx(288 + 288, rel=0.02)
    parts = [row["corrected"] for row in found["timeline"]["bins"]]
    assert len(parts) == 48 and {part["value"] is None for part in parts} == {False}
    assert sum(part["value"] for part in parts) == pytest.approx(found["corrected"]["value"], rel=1e-4)
    given = ("--since", "2022-02-28T16:00Z", "--until", "2022-03-02T16:00Z", "--audit", str(audit), "--json")
    report = answer("bias", "report", "--store", str(tmp_path / "store"), *given)
    [person] = [row for row in report["entities"] if row["entity"] == "PER/张三"]
    assert person["corrected"] == found["corrected"]
    assert [row["corrected"] for row in person["series"]] == parts


async def test_a_series_has_the_same_by_its_own_steps(server: Served) -> None:
    found = await get(server, f"/api/series?entity={PERSON}&{RANGE}&step=day")
    assert [row["mentions"] for row in found["bins"]] == [96, 288, 192] and found["mentions"] == 576
    assert [round(row["corrected"]["value"] / row["mentions"], 1) for row in found["bins"]] == [1.0, 1.0, 1.0]
    assert found["corrected"]["value"] == pytest.approx(576, rel=0.02) and found["audit"]["problem"] == ""


async def test_what_is_too_thin_is_refused_with_the_reason(server: Served, audit: Path) -> None:
    found = await get(server, f"/api/entities/{PLACE}?{RANGE}")
    thin = "the audit is too thin for LOC: 20 found and 20 real mentions, 50 are needed"
    assert found["corrected"] == {"value": None, "low": None, "high": None, "warnings": [thin]}
    assert all(row["corrected"]["value"] is None for row in found["timeline"]["bins"])
    shown = await page(server, f"/entities/{PLACE}?{RANGE}&lang=zh")
    assert "未作校正：LOC 的抽查太少：找到的 20 处、真实的 20 处，至少各需 50 处" in shown
    assert f"Not corrected: {thin}" in await page(server, f"/entities/{PLACE}?{RANGE}&lang=en")


async def test_the_page_shows_both_counts_in_both_languages(server: Served) -> None:
    found = (await get(server, f"/api/entities/{PERSON}?{RANGE}"))["corrected"]
    for language, title in (("zh", "校正后的提及"), ("en", "Mentions, corrected")):
        shown = await page(server, f"/entities/{PERSON}?{RANGE}&lang={language}")
        value, low, high = (grouped(found[name]) for name in ("value", "low", "high"))
        assert re.search(rf"<p>{title}</p><b>{value}</b><p>[^<]*{low}–{high}</p>", shown)
        by_hour = re.findall(r'<td class="num">12</td><td class="num">([\d.]+) \(([\d.]+)–([\d.]+)\)</td>', shown)
        assert len(by_hour) == 48 and all(float(low) < float(value) < float(high) for value, low, high in by_hour)


async def test_without_an_audit_nothing_is_said_of_it(tmp_path: Path) -> None:
    async with served(tmp_path / "store.db") as server:
        found = await get(server, f"/api/entities/{PLACE}")
        assert found["corrected"] is None and found["audit"] is None
        assert {row["corrected"] for row in found["timeline"]["bins"]} == {None}
        assert "校正" not in await page(server, f"/entities/{PLACE}?lang=zh")


async def test_a_file_that_breaks_leaves_the_audit_before_and_says_so(server: Served, audit: Path) -> None:
    before = (await get(server, f"/api/entities/{PERSON}?{RANGE}"))["corrected"]
    written_long_ago(audit, f"{HEADER}PER,0-9,400,500,40\n")
    found = await get(server, f"/api/entities/{PERSON}?{RANGE}")
    assert found["corrected"] == before
    assert "audit.csv, line 2: 500 correct of 400 sampled cannot be" in found["audit"]["problem"]
    assert "仍按此前读入的抽查校正：audit.csv, line 2" in await page(server, f"/entities/{PERSON}?{RANGE}&lang=zh")
    written_long_ago(audit, AUDIT.replace("360,40", "180,40"))
    found = await get(server, f"/api/entities/{PERSON}?{RANGE}")
    assert found["audit"]["problem"] == "" and found["corrected"]["value"] < before["value"]


def written_long_ago(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    os.utime(path, (1_000 + len(text), 1_000 + len(text)))


# --- the file ----------------------------------------------------------------------------------------------------


def test_a_file_is_read_again_once_nobody_writes_to_it(audit: Path) -> None:
    now = [audit.stat().st_mtime_ns // 1_000_000]
    file = AuditFile(audit, lambda: now[0])
    first = file.current()
    audit.write_text(HEADER + "PER,,100,90,10\n", encoding="utf-8")
    now[0] = audit.stat().st_mtime_ns // 1_000_000 + SETTLED_MS - 1
    assert file.current() is first
    now[0] += 1
    second = file.current()
    assert [cell.sampled for cell in second.corrections.audit.cells] == [100] and file.current() is second
    audit.unlink()
    gone = file.current()
    assert gone.corrections is second.corrections and "cannot be read" in gone.problem


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "cannot be read: No such file"),
        (f"{HEADER}PER,lots,1,1,1\n", "audit.csv, line 2: popularity is e.g. 0, 1-99"),
        (f"{HEADER}PER,0,2,1,0\n\nPER,0,9,x,0\n", "audit.csv, line 4: correct must be a whole number"),
    ],
)
def test_a_monitor_with_a_broken_audit_does_not_start(tmp_path: Path, text: str | None, told: str) -> None:
    path = tmp_path / "audit.csv"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    config = tmp_path / "weibowatch.toml"
    config.write_text(f"[bias]\naudit = {json.dumps(str(path))}\n", encoding="utf-8")
    with started(
        "run", "--source", "demo", "--store", str(tmp_path / "store"), "--port", "0", "--config", str(config)
    ) as process:
        code, _, error = ended(process)
    assert code != 0 and told in error and "Traceback" not in error
    checked = weibowatch("doctor", "--store", str(tmp_path / "store"), "--config", str(config), check=False)
    assert checked.returncode == 1 and f"BAD  audit: {told}" in checked.stdout.decode().replace(f"{path} ", "")
    with pytest.raises(Failure, match=re.escape(told)):
        AuditFile(path, lambda: 0)


def test_the_report_takes_the_audit_of_the_settings(demo_store: Path, audit: Path, tmp_path: Path) -> None:
    config = tmp_path / "weibowatch.toml"
    config.write_text(f"[bias]\naudit = {json.dumps(str(audit))}\n", encoding="utf-8")
    found = answer("bias", "report", "--store", str(demo_store), "--config", str(config), "--json")
    assert [row["type"] for row in found["audit"]] == ["LOC", "PER"]


# --- words -------------------------------------------------------------------------------------------------------


def test_every_reason_of_a_correction_is_told_in_chinese() -> None:
    def why(counts: dict[Cell | None, int], *cells: Cell) -> list[str]:
        return list(Corrector(Audit(cells), "PER").correct(counts).warnings)

    good = Cell(Stratum("PER"), 60, 55, 5)
    reasons = [
        *why({None: 1}), *why({None: 1}, Cell(Stratum("PER"), 20, 10, 3)),
        *why({None: 1}, Cell(Stratum("PER"), 900, 90, 900)), *why({good: 100, None: 900}, good), *why({good: 1}, good),
        TOO_MUCH,
    ]  # fmt: skip
    keys = [found[0] for reason in reasons if (found := recognised("corrected.why", reason))]
    assert [key.rpartition(".")[2] for key in keys] == ["no_rows", "thin", "noise", "unseen", "few", "too_much"]
    assert len(keys) == len(reasons)
    assert all(re.search("[一-鿿]", said("zh", "corrected.why", reason)) for reason in reasons)
