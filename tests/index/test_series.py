"""The course of one entity in its forms."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest

from index.sqlite import SqliteIndex
from stream.contract.records import replace
from tests.index.corpus import HOUR, MARCH, document, point
from tests.index.serving import Served, served

NAME = quote("LOC/上海")
POINTS = [
    replace(
        point("LOC/上海", MARCH + place * 300_000, mentions=place + 1, score=place),
        authors=1, weighted=1.5 + place, engagement=10 * place, image_only=place % 2,
    )
    for place in range(13)
]  # fmt: skip


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Served]:
    async with served(tmp_path / "store.db", filled=False) as running:
        running.write([document("p", "上海", "LOC/上海", at_ms=MARCH + 2 * HOUR)])
        running.connection.execute("BEGIN")
        SqliteIndex(running.connection).points([*POINTS, point("LOC/北京", MARCH)])
        running.connection.execute("COMMIT")
        yield running


async def get(server: Served, path: str, status: int = 200) -> Any:
    async with aiohttp.ClientSession() as session, session.get(server.base + path) as answer:
        assert answer.status == status, await answer.text()
        return await answer.json()


async def test_all_forms_by_hour(server: Served) -> None:
    found = await get(server, f"/api/series?entity={NAME}&step=hour")
    assert (found["entity"], found["type"], found["step_ms"]) == ("LOC/上海", "LOC", HOUR)
    first, second = found["bins"]
    assert first == {
        "at": "2022-03-01T00:00:00Z", "mentions": sum(range(1, 13)), "authors": 12, "weighted": 18.0 + sum(range(12)),
        "engagement": 10 * sum(range(12)), "image_only": 6, "late": 0, "score": 0.011, "corrected": None,
    }  # fmt: skip
    assert (second["at"], second["mentions"]) == ("2022-03-01T01:00:00Z", 13)


@pytest.mark.parametrize(("step", "bins"), [("bin", 13), ("day", 1)])
async def test_steps(server: Served, step: str, bins: int) -> None:
    found = await get(server, f"/api/series?entity={NAME}&step={step}")
    assert len(found["bins"]) == bins
    assert sum(row["mentions"] for row in found["bins"]) == sum(one.mentions for one in POINTS)


async def test_a_range_decides_the_step(server: Served) -> None:
    found = await get(server, f"/api/series?entity={NAME}&since=2022-03-01T00:30Z&until=2022-03-01T02:00Z")
    assert [row["mentions"] for row in found["bins"]] == [sum(range(7, 13)), 13]


@pytest.mark.parametrize(
    ("query", "status", "told"),
    [
        ("", 400, "must be given"),
        (f"?entity={NAME}&since=2022-01-01&until=2022-03-01", 400, "31 days"),
        (f"?entity={NAME}&step=week", 400, "one of"),
        (f"?entity={quote('LOC/广州')}", 404, "no trend points"),
        (f"?entity={NAME}&form=raw", 400, "unknown"),
    ],
)
async def test_refusals(server: Served, query: str, status: int, told: str) -> None:
    assert told in (await get(server, f"/api/series{query}", status))["error"]["message"]
