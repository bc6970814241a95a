"""Who was told of an alert first, and when, beside when it should have fired and when it did: API and page."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from deploy import deliveries as deliveries_
from deploy.deliveries import FRESH_S, OfCluster, OfStore, by_flip
from index.messages import recognised
from index.present import iso
from stream.contract.ports import EngineError, Result
from stream.contract.records import Flip, replace
from stream.runtime import telling
from stream.runtime.outbox import Delivery
from stream.runtime.sqlite import DATABASE, Store
from stream.runtime.sqlite_outbox import SqliteOutbox
from tests.index.corpus import MARCH
from tests.index.serving import Served, served
from tests.index.test_incidents import alerts

CLOCK = 1_800_000_000_000
"""By the clock it is years later than in the stream."""


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Served]:
    async with served(tmp_path / DATABASE, filled=False, deliveries=OfStore(tmp_path)) as running:
        yield running


def outbox(folder: Path, flips: Sequence[Flip], channels: Sequence[str], results: dict[str, Result]) -> None:
    """Takes ``flips`` in, and notes the same ``results`` of the first one for each channel."""
    store = Store(folder)
    with store.transaction():
        SqliteOutbox(store).enqueue(flips, channels, now_ms=CLOCK)
    for channel, result in results.items():
        SqliteOutbox(store).settle(channel, {flips[0].id: result})
    store.close()


async def get(server: Served, path: str) -> Any:
    async with aiohttp.ClientSession() as session, session.get(server.base + path) as answer:
        assert answer.status == 200, await answer.text()
        return await (answer.json() if path.startswith("/api") else answer.text())


async def page(server: Served, language: str) -> str:
    return " ".join((await get(server, f"/alerts/j1?lang={language}")).split())


async def test_who_was_told_first_stands_beside_when_it_fired(server: Served, tmp_path: Path) -> None:
    flips = alerts()
    server.write([], flips)
    results = {"mail": Result("sent", CLOCK + 9_000), "ops": Result("sent", CLOCK + 4_000),
               "hook": Result("failed", CLOCK, "HTTP 404")}  # fmt: skip
    outbox(tmp_path, flips[:1], ("mail", "ops", "hook"), results)
    found = await get(server, "/api/alerts/j1")
    assert (found["first_told_at"], found["first_told_by"]) == (iso(CLOCK + 4_000), "ops")
    assert found["told_at"] == iso(flips[0].at_ms) and found["deliveries_problem"] == ""
    assert found["made_at"] == found["alerts"][0]["made_at"] is not None
    hook, mail, ops = found["alerts"][0]["deliveries"]
    assert ops == {
        "channel": "ops", "status": "told", "first_told_at": iso(CLOCK + 4_000), "last_told_at": iso(CLOCK + 4_000),
        "due_at": None, "tries": 0, "why": "",
    }  # fmt: skip
    assert mail["first_told_at"] == iso(CLOCK + 9_000)
    assert (hook["status"], hook["why"], hook["first_told_at"]) == ("failed", "HTTP 404", None)
    assert found["alerts"][1]["deliveries"] == []
    for language, told, given_up in (("zh", "首次通知", "投递失败，已放弃"), ("en", "First told", "given up")):
        shown = await page(server, language)
        assert f'<dt>{told}</dt><dd><time datetime="{iso(CLOCK + 4_000)}">' in shown and "· ops</span>" in shown
        assert f"hook: {given_up} (HTTP 404)" in shown


@pytest.mark.parametrize(
    ("held", "results", "chinese", "english"),
    [
        ("silence 3f2a", {}, "未通知任何人 <span class=\"muted\">· silence 3f2a", "silence 3f2a"),
        (
            "", {"ops": Result("skipped", CLOCK, telling.UNHEARD)}, "ops: 未通知 (没有人被告知其开始)",
            "ops: was not told (nobody",
        ),
        ("", {"ops": Result("due", CLOCK + 5, "HTTP 500")}, "ops: 等待至 <time", "ops: waits until <time"),
        ("", {}, "没有投递记录", "no delivery is known"),
    ],
)  # fmt: skip
async def test_of_what_nobody_was_told_the_reason_is_told(
    server: Served, tmp_path: Path, held: str, results: dict[str, Result], chinese: str, english: str
) -> None:
    flips = [replace(alerts()[0], held=held)]
    server.write([], flips)
    outbox(tmp_path, flips, tuple(results), results)
    found = await get(server, "/api/alerts/j1")
    assert (found["first_told_at"], found["first_told_by"]) == (None, "")
    assert chinese in await page(server, "zh") and english in await page(server, "en")


async def test_a_place_that_is_away_is_told_and_the_page_stays(tmp_path: Path) -> None:
    class Away:
        def of(self, flip_ids: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
            raise EngineError("no broker answers at 127.0.0.1:1")

    async with served(tmp_path / DATABASE, filled=False, deliveries=Away()) as server:
        server.write([], alerts())
        found = await get(server, "/api/alerts/j1")
        assert found["deliveries_problem"] == "no broker answers at 127.0.0.1:1" and found["state"] == "resolved"
        assert '<dd>未知 <span class="muted">· no broker answers' in await page(server, "zh")


def test_what_an_outbox_says_is_in_the_dictionary() -> None:
    reasons = (telling.BEHIND, telling.UNHEARD, "muted", "group_wait", "group_interval", "j1-2 is told instead",
               "resolved before anybody was told")  # fmt: skip
    assert [reason for reason in reasons if recognised("delivery.why", reason) is None] == []


# --- a cluster ---------------------------------------------------------------------------------------------------


def delivery(flip_id: str, **changes: Any) -> Delivery:
    told = Delivery(flip_id, "ops", "sent", tries=0, due_ms=1, first_told_ms=MARCH, told_ms=MARCH, why="")
    return msgspec.structs.replace(told, **changes)


def test_the_whole_outbox_of_a_cluster_is_read_once_in_a_while() -> None:
    now, read = [0.0], list[int]()

    def every() -> list[Delivery]:
        read.append(1)
        return [delivery("a"), delivery("b", status="due", due_ms=MARCH + 1, first_told_ms=0, told_ms=0)]

    of = OfCluster(every, lambda: now[0])
    assert of.of(["a", "c"]) == by_flip([delivery("a")], ["a", "c"]) and of.of(["c"]) == {"c": []}
    assert [row["status"] for row in of.of(["b"])["b"]] == ["waiting"] and len(read) == 1
    now[0] = FRESH_S
    assert of.of(["b"])["b"][0]["due_at"] == iso(MARCH + 1) and len(read) == 2


def test_a_cluster_that_is_away_or_slow_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    gate, away = threading.Event(), list[str]()

    def every() -> list[Delivery]:
        gate.wait()
        if away:
            raise EngineError(away[0])
        return [delivery("a")]

    monkeypatch.setattr(deliveries_, "WAIT_S", 0.05)
    now = [0.0]
    of = OfCluster(every, lambda: now[0])
    with pytest.raises(EngineError, match="has not told yet"):
        of.of(["a"])
    gate.set()
    monkeypatch.setattr(deliveries_, "WAIT_S", 10.0)
    assert len(of.of(["a"])["a"]) == 1
    now[0], away[:] = FRESH_S, ["no broker answers"]
    with pytest.raises(EngineError, match="no broker answers"):
        of.of(["a"])


def test_what_is_told_again_later_has_been_told() -> None:
    [row] = by_flip([delivery("a", status="due", due_ms=MARCH + 9)], ["a"])["a"]
    assert (row["status"], row["due_at"]) == ("told", iso(MARCH + 9))
