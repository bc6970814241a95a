"""Silences from what people write to what is in force: by command, API and page, at once and one after the other."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry
from typer.testing import CliRunner, Result

from deploy import orders, wiring
from deploy.cli import app
from deploy.settings import Settings
from deploy.silencing import InCluster, InStore, Place, Silencing, Unusable, parsed, written
from index.api import make_app
from index.live import Broadcast
from index.schema import create_schema
from index.sqlite import SqliteReader
from stream.contract import codec
from stream.contract.records import Control
from stream.core.silences import SILENCES_MAX, TOPIC, Silence, from_payload, silenced, to_payload
from stream.runtime.settings import KafkaSettings
from stream.runtime.sqlite import DATABASE, Store
from tests.notify.alerts import alert

NOW_MS = 1_795_766_400_000
HOUR_MS = 3_600_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    store = Store(tmp_path / "store")
    create_schema(store.connection)
    store.close()
    return tmp_path / "store"


def desk(folder: Path, now_ms: int = NOW_MS) -> Silencing:
    return Silencing(InStore(folder), lambda: now_ms)


@pytest.mark.parametrize(
    ("texts", "holds"),
    [
        (["entity=LOC/上海"], True),
        (["entity = LOC/上海", "rule=org-burst"], True),
        (["entity=LOC/北京"], False),
        (["rule=~org-.*", "type!=PER"], True),
        (["rule=~org"], False),
        (["team=pr"], True),
        (["kind=burst", "entity!~LOC/.*"], False),
        (["severity=~(info|warning)"], True),
        (["entity=~(?i).*(?:上海|北京).*"], True),
        ([r"rule=~org[-*+?(\]{]burs."], True),
        ([r"rule=~org\(\?burst"], False),
        (["event=0123456789abcdef01234567"], True),
    ],
)
def test_matchers_as_people_write_them(texts: list[str], holds: bool) -> None:
    matchers = parsed(texts)
    assert [written(one) for one in matchers] == [text.replace(" ", "") for text in texts]
    silence = Silence(id="s", matchers=matchers, from_ms=0, until_ms=2**60, reason="x")
    assert bool(silenced(alert(), from_payload(to_payload([silence])))) is holds


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        ([], "write 1 to 10 matchers"),
        (["上海"], '"上海" is no matcher; write name=value'),
        (["entity="], "is no matcher"),
        (["entity=~.*"], "hold back everything"),
        (["entity!=x", "rule=~.*"], "hold back everything"),
        (["entity!~LOC/.*"], "hold back everything"),
        (["rule=~("], "is no regular expression"),
        (["rule=~(a+)+"], "may take too long"),
        (["rule=~a*b*c*d"], "may take too long"),
        (["rule=~" + "a?" * 28 + "a" * 28], "may take too long"),
        (["rule=~" + "(a|aa)" * 28], "may take too long"),
        (["rule=~((a|aa)|a)b"], "may take too long"),
        (["rule=~(a|b)?"], "may take too long"),
        (["rule=~(?=a)(?=b).*"], "may take too long"),
        (["rule=~(?=a).*"], "may take too long"),
        ([r"rule=~[\][](a|aa)(a|aa)(a|aa)]"], "may take too long"),
        (["entity=" + "x" * 301], "up to 300 characters"),
        (["a=b"] * 11, "write 1 to 10 matchers"),
    ],
)
def test_what_is_no_matcher(texts: list[str], words: str) -> None:
    with pytest.raises(Unusable, match=words):
        parsed(texts)


def test_silences_come_go_and_are_forgotten(folder: Path) -> None:
    first = desk(folder).add(["entity=PER/甲"], NOW_MS + HOUR_MS, "known\nevent", "li")
    second = desk(folder).add(["rule=r"], NOW_MS + 2 * HOUR_MS, "x")
    assert [one["id"] for one in desk(folder).listed()] == [second["id"], first["id"]]
    assert (first["matchers"], first["reason"], first["active"]) == (["entity=PER/甲"], "known event", True)
    assert desk(folder, NOW_MS + 60_000).expire(first["id"]) is not None
    assert desk(folder, NOW_MS + 60_000).expire(first["id"]) is None and desk(folder).expire("nobody") is None
    later = desk(folder, NOW_MS + 60_000).listed()
    assert {one["id"]: one["active"] for one in later} == {first["id"]: False, second["id"]: True}
    much_later = NOW_MS + 8 * 24 * HOUR_MS
    third = desk(folder, much_later).add(["rule=q"], much_later + 1, "x")
    assert [one["id"] for one in desk(folder, much_later).listed()] == [third["id"]]


@pytest.mark.parametrize(
    ("until_ms", "reason", "words"),
    [
        (NOW_MS, "x", "in the future"),
        (NOW_MS + 400 * 24 * HOUR_MS, "x", "within 366"),
        (NOW_MS + 1, " ", "a reason must"),
    ],
)
def test_what_is_no_silence(folder: Path, until_ms: int, reason: str, words: str) -> None:
    with pytest.raises(Unusable, match=words):
        desk(folder).add(["rule=r"], until_ms, reason)
    assert desk(folder).listed() == []


async def test_orders_at_the_same_time_are_all_kept(folder: Path) -> None:
    await asyncio.gather(
        *(asyncio.to_thread(desk(folder).add, [f"rule=r{number}"], NOW_MS + HOUR_MS, "x") for number in range(20))
    )
    assert len(desk(folder).listed()) == 20


class Topic:
    """The controls of a cluster; ``before`` is what somebody else writes right before the next order is seen."""

    def __init__(self) -> None:
        self.kept: dict[str, Control] = {}
        self.others: list[Control] = []

    def put(self, control: Control) -> None:
        self.kept[control.topic] = self.others.pop() if self.others else control


def test_in_a_cluster_what_another_has_overwritten_is_written_again() -> None:
    topic = Topic()
    silencing = Silencing(InCluster(topic.kept.get, topic.put), lambda: NOW_MS)
    silencing.add(["rule=one"], NOW_MS + 1, "x")
    others = [*from_payload(topic.kept[TOPIC].payload)]
    topic.others = [Control(topic=TOPIC, version=2, payload=to_payload(others))]
    silencing.add(["rule=two"], NOW_MS + 1, "x")
    assert {one["matchers"][0] for one in silencing.listed()} == {"rule=one", "rule=two"}
    assert topic.kept[TOPIC].version == 3


def test_there_is_an_upper_limit() -> None:
    topic = Topic()
    made = parsed(["rule=r"])
    many = [Silence(id=str(n), matchers=made, from_ms=0, until_ms=NOW_MS + 1, reason="x") for n in range(SILENCES_MAX)]
    topic.put(Control(topic=TOPIC, version=1, payload=to_payload(many)))
    with pytest.raises(Unusable, match="there are 1000 silences already"):
        Silencing(InCluster(topic.kept.get, topic.put), lambda: NOW_MS).add(["rule=r"], NOW_MS + 1, "x")


def long_values(number: int) -> list[str]:
    return [f"entity!={number}-{place}-" + "上" * 280 for place in range(9)] + ["rule=r"]


def test_a_list_that_cannot_travel_is_refused(folder: Path) -> None:
    many = [
        Silence(id=str(n), matchers=parsed(long_values(n)), from_ms=0, until_ms=NOW_MS + 1, reason="x")
        for n in range(120)
    ]
    with Store(folder).transaction() as connection:
        connection.execute(
            "INSERT INTO inbox (record) VALUES (?)",
            (codec.encode(Control(topic=TOPIC, version=1, payload=to_payload(many))),),
        )
    kept = 120
    with pytest.raises(Unusable, match="too many silences"):
        for number in range(kept, 150):
            desk(folder).add(long_values(number), NOW_MS + 1, "x")
            kept += 1
    topic = Topic()
    topic.put(Control(topic=TOPIC, version=1, payload=to_payload(InStore(folder).in_force())))
    with pytest.raises(Unusable, match="too many silences"):
        Silencing(InCluster(topic.kept.get, topic.put), lambda: NOW_MS).add(long_values(kept), NOW_MS + 1, "x")
    assert len(desk(folder).listed()) == kept and topic.kept[TOPIC].version == 1


# --- commands ----------------------------------------------------------------------------------------------------


def silences(*words: str) -> Result:
    return CliRunner().invoke(app, ["silences", *words])


def test_the_commands(folder: Path) -> None:
    store = ("--store", str(folder))
    made = silences("add", "entity=LOC/上海", "rule=~b.*", "--for", "2h", "--reason", "known", "--json", *store)
    assert made.exit_code == 0, made.output
    found = json.loads(made.stdout)
    assert found["until_ms"] > found["from_ms"] + HOUR_MS
    assert json.loads(silences("list", "--json", *store).stdout)["silences"] == [found]
    assert found["id"] in silences("list", *store).stdout
    assert silences("expire", found["id"], *store).stdout == f"{found['id']}: over\n"
    assert json.loads(silences("list", "--json", *store).stdout) == {"silences": []}
    assert len(json.loads(silences("list", "--all", "--json", *store).stdout)["silences"]) == 1
    assert silences("expire", found["id"], *store).exit_code == 1


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("add", "rule=r", "--reason", "x"), "say for how long"),
        (("add", "rule=r", "--reason", "x", "--for", "2"), "write a length such as 30m"),
        (("add", "rule", "--reason", "x", "--for", "2h"), "is no matcher"),
        (("list", "--cluster"), "name one: --store FOLDER, or --cluster"),
    ],
)
def test_mistakes_are_usage_errors(folder: Path, words: tuple[str, ...], told: str) -> None:
    done = silences(*words, "--store", str(folder))
    assert done.exit_code == 2 and told in done.output


# --- HTTP --------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def served(folder: Path, place: Place) -> AsyncIterator[str]:
    silencing = Silencing(place, wiring.now_ms)
    reader = SqliteReader(folder / DATABASE)
    made = make_app(reader, Broadcast(), status=dict, metrics_registry=CollectorRegistry(), silences=silencing)
    runner = web.AppRunner(made, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
        reader.close()


@pytest.fixture
async def base(folder: Path) -> AsyncIterator[str]:
    async with served(folder, InStore(folder)) as address:
        yield address


async def asked(base: str, method: str, path: str, **options: Any) -> tuple[int, Any]:
    async with aiohttp.ClientSession() as client, client.request(method, base + path, **options) as answer:
        return answer.status, await (answer.json() if answer.content_type == "application/json" else answer.text())


async def test_the_api(base: str) -> None:
    body = {"matchers": ["entity=PER/甲"], "for_s": 60, "reason": "known"}
    status, made = await asked(base, "POST", "/api/silences", json=body)
    assert status == 201 and made["matchers"] == ["entity=PER/甲"] and 0 < made["until_ms"] - made["from_ms"] <= 61_000
    assert await asked(base, "GET", "/api/silences") == (200, {"silences": [made]})
    assert (await asked(base, "DELETE", f"/api/silences/{made['id']}"))[1]["active"] is False
    assert (await asked(base, "DELETE", f"/api/silences/{made['id']}"))[0] == 404
    wrongs: list[Any] = [{}, [], *({**body, **changes} for changes in (
        {"for_s": "1"}, {"for_s": -1}, {"matchers": "x"}, {"until": 3}, {"reason": ""}, {"matchers": ["x"]}, {"more": 1}
    ))]  # fmt: skip
    for wrong in wrongs:
        status, told = await asked(base, "POST", "/api/silences", json=wrong)
        assert status == 400 and told["error"]["message"], wrong
    assert (await asked(base, "POST", "/api/silences", data="x"))[0] == 415
    assert (await asked(base, "POST", "/api/silences", json=body, headers={"Origin": "https://evil.example"}))[0] == 403


async def test_the_page_of_alerts_makes_and_ends_them(base: str) -> None:
    _, page = await asked(base, "GET", "/alerts?lang=zh&match=entity%3DLOC/上海")
    assert "静默（0）" in page and "entity=LOC/上海</textarea>" in page
    form = {"matchers": "entity=<b>\r\n\r\nrule=~x.*", "for": "4h", "reason": "<i>"}
    status, page = await asked(base, "POST", "/silences", data=form)
    assert status == 200 and "entity=&lt;b&gt; rule=~x.*" in page and "&lt;i&gt;" in page
    [made] = (await asked(base, "GET", "/api/silences"))[1]["silences"]
    status, page = await asked(base, "POST", "/silences/expire", data={"id": made["id"]})
    assert status == 200 and made["id"] not in page
    assert (await asked(base, "POST", "/silences", data={**form, "for": "1y"}))[0] == 400
    assert (await asked(base, "POST", "/silences", data=form, headers={"Sec-Fetch-Site": "cross-site"}))[0] == 403


async def test_alerts_are_shown_also_when_kafka_is_away(folder: Path) -> None:
    with socket.socket() as held:  # bound, and nobody listens
        held.bind(("127.0.0.1", 0))
        settings = Settings(kafka=KafkaSettings(bootstrap=f"127.0.0.1:{held.getsockname()[1]}"))
        place = InCluster(partial(orders.in_force, settings), partial(orders.put_in_force, settings))
        async with served(folder, place) as base:
            status, page = await asked(base, "GET", "/alerts?lang=en")
            assert status == 200 and "Silences cannot be read now: " in page
            assert (await asked(base, "GET", "/api/silences"))[0] == 503
