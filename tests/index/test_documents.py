"""The documents for users keep up with the code: the search language and the HTTP API."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from index import prose
from index.api import make_app
from index.live import Broadcast
from index.query import OPERATORS, QUERY_CHARS_MAX, QUERY_CLAUSES_MAX, Query, QueryError, parse
from index.sqlite import SqliteReader
from tests.index.serving import Served, served

ROOT = Path(__file__).parents[2]
API = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
LANGUAGES = prose.sections((ROOT / "index" / "query.md").read_text(encoding="utf-8"))
EXAMPLES = {
    "GET /api/search": "/api/search?q=" + quote("上海 演唱会"),
    "GET /api/entities/{key}": "/api/entities/" + quote("LOC/上海"),
    "GET /api/trends": "/api/trends",
    "GET /api/alerts": "/api/alerts",
    "GET /api/alerts/{id}": "/api/alerts/i1",
    "GET /api/rejects": "/api/rejects",
    "GET /api/rejects/{id}": "/api/rejects/1",
    "GET /api/stats": "/api/stats",
    "GET /api/coverage": "/api/coverage?source=weibo:search:" + quote("<b>上海</b>"),
    "GET /api/posts/{id}/history": "/api/posts/p3/history",
    "GET /api/hot": "/api/hot",
    "GET /api/hot/history": "/api/hot/history?word=" + quote("上海"),
    "GET /healthz": "/healthz",
    "GET /api/{rest}": "/api/nothing",
}
OPEN_KEYS = {
    "by_reason", "rules", "labels", "reason_values", "status", "window", "counts", "requests", "outcomes", "first_post",
}  # fmt: skip
"""What differs from run to run, or may be null."""
STATUS_KEYS = {"state", "problem", "lag_records", "watermark_ms", "posts", "expected"}


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Served]:
    async with served(tmp_path / "store.db") as running:
        yield running


# --- search language ---------------------------------------------------------------------------------------------


def fields_of(query: str) -> set[str]:
    return {name for name in OPERATORS if f"{name}:" in query}


def examples(part: str) -> Iterator[str]:
    """The first cell of each row of a table, and each line of a query fence."""
    for kind, lines in prose.blocks(part):
        if kind == "table":
            yield from (code for line in lines[2:] for code in prose.codes(prose.cells(line)[0]))
        if kind == "fence query":
            yield from lines


@pytest.mark.parametrize("part", LANGUAGES, ids=["en", "zh"])
def test_the_search_language_is_told_whole_in_both_languages(part: str) -> None:
    told = list(examples(part))
    for query in told:
        assert parse(query) != Query(), query
    assert set().union(*map(fields_of, told)) == set(OPERATORS)
    assert any(query.startswith("-") for query in told)
    assert any(query.startswith('"') for query in told)
    assert any(" OR " in query for query in told)
    assert {str(QUERY_CHARS_MAX), str(QUERY_CLAUSES_MAX)} <= set(re.findall(r"\d+", part))


@pytest.mark.parametrize("part", LANGUAGES, ids=["en", "zh"])
def test_the_error_told_is_the_error_given(part: str) -> None:
    told = [json.loads("\n".join(lines)) for kind, lines in prose.blocks(part) if kind == "fence json"]
    with pytest.raises(QueryError) as caught:
        parse("上海 OR")
    assert "`上海 OR`" in part
    assert told == [{"error": {"message": caught.value.message, "position": caught.value.position}}]


def test_every_code_in_the_search_language_is_a_query_or_a_name() -> None:
    names = {"OR", "position", "“…”", "：", "2022-01-01T08:00+08:00"}
    for code in {code for part in LANGUAGES for code in prose.codes(part)} - names - {"上海 OR"}:
        parse(code)


def test_our_markdown_is_escaped() -> None:
    text = '# a <b>\n\n`<i>` & c\n\n- one `x`\n  more\n- two\n\n| h |\n|---|\n| `<u>` |\n\n```query\n"a" <s>\n```\n'
    assert str(prose.html(text)).split("\n") == [
        "<h1>a &lt;b&gt;</h1>",
        "<p><code>&lt;i&gt;</code> &amp; c</p>",
        "<ul><li>one <code>x</code>",
        "  more</li><li>two</li></ul>",
        "<table><thead><tr><th>h</th></tr></thead><tbody><tr><td><code>&lt;u&gt;</code></td></tr></tbody></table>",
        '<ul class="queries"><li><a href="/search?q=%22a%22%20%3Cs%3E"><code>"a" &lt;s&gt;</code></a></li></ul>',
    ]


# --- HTTP API ----------------------------------------------------------------------------------------------------


def told_sections() -> dict[str, str]:
    """Route → the text under its heading, empty for a page."""
    parts = re.split(r"(?m)^#{2,3} (.*)$", API)
    found = {"".join(prose.codes(title)): body for title, body in zip(parts[1::2], parts[2::2], strict=True)}
    pages = re.findall(r"(?m)^\| `((?:GET|POST) /\S*)`", API)
    return {**{route: body for route, body in found.items() if route}, **dict.fromkeys(pages, "")}


def test_every_route_is_in_the_document_and_no_other(tmp_path: Path) -> None:
    reader = SqliteReader(tmp_path / "none.db")
    app = make_app(reader, Broadcast(), status=dict, metrics_registry=CollectorRegistry())
    routes = {
        f"{route.method} {route.resource.canonical}"
        for route in app.router.routes()
        if route.resource is not None and route.method != "HEAD"
    }
    assert set(told_sections()) == routes


@pytest.mark.parametrize("route", sorted(set(EXAMPLES) - {"GET /healthz", "GET /api/{rest}"}))
async def test_the_parameters_told_are_those_taken(server: Served, route: str) -> None:
    told = re.findall(r"(?m)^\| `(\w+)` \|", told_sections()[route])
    path = EXAMPLES[route].partition("?")[0]
    async with aiohttp.ClientSession() as client, client.get(f"{server.base}{path}?misspelt=1") as answer:
        message = (await answer.json())["error"]["message"]
    taken = message.partition("takes ")[2]
    assert sorted(told) == ([] if taken == "no parameters" else sorted(taken.split(", ")))


@pytest.mark.parametrize("route", sorted(EXAMPLES))
async def test_the_answers_told_have_the_shape_of_those_given(server: Served, route: str) -> None:
    told = json.loads(re.findall(r"(?s)```json\n(.*?)```", told_sections()[route])[0])
    async with aiohttp.ClientSession() as client, client.get(server.base + EXAMPLES[route]) as answer:
        given = await answer.json()
    if route == "GET /healthz":
        assert set(told) == STATUS_KEYS | {"status"} and set(given) <= set(told)
        return
    assert not list(differences(told, given, route))


def differences(told: Any, given: Any, where: str) -> Iterator[str]:
    """Places where the keys are not the same."""
    if isinstance(told, list) and isinstance(given, list) and told and given:
        yield from differences(told[0], given[0], f"{where}[0]")
    elif isinstance(told, dict) and isinstance(given, dict):
        if set(told) != set(given):
            yield f"{where}: {sorted(set(told) ^ set(given))}"
        for name in (set(told) & set(given)) - OPEN_KEYS:
            yield from differences(told[name], given[name], f"{where}.{name}")


async def test_the_action_told_can_be_asked_for(server: Served) -> None:
    body = told_sections()["POST /api/actions/{name}"]
    path, arguments = re.findall(r"Example: `(\S+)` with `(.*)`", body)[0]
    told = json.loads(re.findall(r"(?s)```json\n(.*?)```", body)[0])
    async with (
        aiohttp.ClientSession() as client,
        client.post(server.base + path, json=json.loads(arguments)) as answer,
    ):
        assert (answer.status, set(await answer.json())) == (200, set(told))
