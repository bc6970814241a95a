"""Drift in the API and on its page, from notes that the pipeline itself made."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from index.drift import DAYS_MAX, drift_of
from index.notes import DAY_MS
from index.parameters import BadParameter
from index.reader import SqliteReader
from index.sqlite import SqliteIndex
from stream.core import drift
from tests.bias.test_drift import DAY, START, run
from tests.index.serving import Served, served


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Served]:
    _, notes = run(16 * DAY, lambda hour: -2.0 if hour >= 15 * DAY else 0.0)
    async with served(tmp_path / "store.db", filled=False) as running:
        running.connection.execute("BEGIN")
        SqliteIndex(running.connection).notes(notes)
        running.connection.execute("COMMIT")
        yield running


async def get(server: Served, path: str, status: int = 200, language: str = "en") -> Any:
    headers = {"Accept-Language": language}
    async with aiohttp.ClientSession() as session, session.get(server.base + path, headers=headers) as answer:
        assert answer.status == status, await answer.text()
        return await (answer.json() if path.startswith("/api") else answer.text())


async def test_the_newest_week_by_type(server: Served) -> None:
    found = await get(server, "/api/drift")
    assert [row["type"] for row in found["types"]] == ["PER", None]
    person, bare = found["types"]
    assert (person["state"], bare["state"], person["model"]) == ("alert", "ok", "m")
    assert person["psi"] > person["noise"] + 0.25 and person["mean"] < person["mean_before"]
    assert len(person["recent"]) == len(person["reference"]) == len(found["edges"]) + 1 == drift.PLACES
    assert person["entities"] == sum(person["recent"]) and len(bare["recent"]) == 2
    assert len(person["history"]) == 7 * DAY
    assert [row["at"] for row in person["history"]] == sorted(row["at"] for row in person["history"])


async def test_a_range_and_a_type(server: Served) -> None:
    found = await get(server, "/api/drift?type=none&since=2021-05-10&until=2021-05-11")
    assert [row["type"] for row in found["types"]] == [None] and len(found["types"][0]["history"]) == DAY
    assert (await get(server, "/api/drift?type=loc"))["types"] == []
    for wrong, told in (("since=2020-01-01&until=2021-01-01", "92 days"), ("kind=PER", "unknown")):
        refused = await get(server, f"/api/drift?{wrong}", 400)
        assert told in refused["error"]["message"]


@pytest.mark.parametrize(("language", "words"), [("en", "Posts without entities"), ("zh", "无实体的帖子")])
async def test_the_page_has_numbers_and_pictures(server: Served, language: str, words: str) -> None:
    page = await get(server, "/drift", language=language)
    assert words in page
    assert page.count('<svg class="plot"') == 4 and "nan" not in page
    assert 'class="tag drift-alert"' in page
    assert "style=" not in page, "the dashboard's policy for content forbids it"


async def test_without_notes_it_says_how_to_get_some(tmp_path: Path) -> None:
    async with served(tmp_path / "empty.db", filled=False) as empty:
        assert (await get(empty, "/api/drift"))["types"] == []
        assert "needs two days to judge" in await get(empty, "/drift")


def test_too_long_a_range_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadParameter, match=f"{DAYS_MAX} days"):
        drift_of(SqliteReader(tmp_path / "none.db"), START, START + (DAYS_MAX + 1) * DAY_MS)
