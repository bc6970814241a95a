"""Charts in mails over a real SMTP server: what arrives, and what is too large, too late or broken."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Iterator
from email.message import EmailMessage
from html.parser import HTMLParser
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from deploy import charts as drawn_
from deploy.charts import AlertCharts
from index.reader import SqliteReader
from stream.contract.records import Flip
from stream.notify import email
from stream.notify.channel import Chart, Tools
from stream.notify.email import CHARTS_MAX
from stream.notify.settings import Language
from tests.index.test_incidents import alerts, points
from tests.index.test_sqlite import SqliteStore
from tests.notify import mail
from tests.notify.alerts import AT_MS, HOSTILE, alert, hostile, telling
from tests.notify.fakes import PUBLIC_URL, tools
from tests.notify.mail import Mailbox
from tests.notify.test_email import channel

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    made = SqliteStore(tmp_path / "index.db")
    made.writer.points(points())
    made.writer.flips(alerts())
    yield made
    made.close()


def drawing(chart: Chart | None) -> Tools:
    return msgspec.structs.replace(tools(AT_MS), chart=chart)


def charts(folder: Path) -> AlertCharts:
    return AlertCharts(lambda: SqliteReader(folder / "index.db"), 28_800)


async def sent(chart: Chart | None, *flips: Flip, language: Language = "both") -> EmailMessage:
    box = Mailbox()
    async with mail.serving(box) as port:
        await channel(port, drawing(chart), language=language).deliver(telling(*flips))
    [found] = box.mails
    assert not found.defects
    return found


class Page(HTMLParser):
    """Tags with their attributes, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def values(self, name: str) -> list[str | None]:
        return [attributes[name] for _, attributes in self.tags if name in attributes]


def parts(found: EmailMessage) -> tuple[str, Page, dict[str, bytes]]:
    """(the plain text, the page, its pictures by content id) of a mail with charts."""
    assert found.get_content_type() == "multipart/alternative"
    text, related = found.iter_parts()
    assert (text.get_content_type(), related.get_content_type()) == ("text/plain", "multipart/related")
    page, *pictures = related.iter_parts()
    assert page.get_content_type() == "text/html"
    for one in pictures:
        assert (one.get_content_type(), one.get_content_disposition()) == ("image/png", "inline")
    return text.get_content(), Page(page.get_content()), {one["Content-ID"]: one.get_content() for one in pictures}


async def test_the_course_of_the_alert_is_in_the_mail(store: SqliteStore, tmp_path: Path) -> None:
    flip = alerts()[0]
    text, page, pictures = parts(await sent(charts(tmp_path), flip))
    assert text == (await sent(None, flip)).get_content(), "who reads plain text misses nothing else"
    [(name, picture)] = pictures.items()
    assert picture.startswith(PNG) and 10_000 < len(picture) < 200_000
    assert page.values("src") == [f"cid:{name.strip('<>')}"] and "【触发 firing】" in str(page.values("alt")[0])
    assert page.values("href") == [f"{PUBLIC_URL}/entities/PER/%E5%BC%A0%E4%B8%89"]
    for line in text.split("\n"):
        assert line.rpartition(": http")[0] in page.text or line in page.text


async def test_languages_have_charts_of_their_own(store: SqliteStore, tmp_path: Path) -> None:
    drawn = charts(tmp_path)
    chinese, english, both = [await drawn(alerts()[0], language) for language in get_args(Language)]
    assert chinese == both != english


async def test_an_alert_that_no_search_finds_yet_is_looked_for_and_then_drawn_all_the_same(
    store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drawn_, "LOOK_S", 0.01)
    newest = msgspec.structs.replace(alerts()[1], id="j1-9", sequence=9, at_ms=alerts()[2].at_ms + 1)
    assert await charts(tmp_path)(newest, "zh") not in (None, await charts(tmp_path)(alerts()[0], "zh"))


async def test_what_has_no_course_is_told_in_plain_text(
    store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drawn_, "LOOK_S", 0.01)
    found = await sent(charts(tmp_path), alert())
    assert found.get_content_type() == "text/plain" and "上海今天下雨了" in found.get_content()


async def test_several_alerts_have_the_charts_of_the_first(store: SqliteStore, tmp_path: Path) -> None:
    asked = list[str]()

    async def chart(flip: Flip, language: Language) -> bytes | None:
        asked.append(flip.id)
        return PNG + flip.id.encode()

    flips = [alert(id=f"{number}-0", incident_id=str(number)) for number in range(6)]
    _, page, pictures = parts(await sent(chart, alert(id="0-x", incident_id="0"), *flips))
    assert asked == ["0-0", "1-0", "2-0"] and len(pictures) == CHARTS_MAX == len(page.values("src"))
    assert list(pictures.values()) == [PNG + name.encode() for name in asked]


async def test_a_chart_that_cannot_be_had_stops_no_mail(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async def fails(flip: Flip, language: Language) -> bytes | None:
        raise RuntimeError("no font")

    async def hangs(flip: Flip, language: Language) -> bytes | None:
        await asyncio.sleep(60)
        return None

    async def large(flip: Flip, language: Language) -> bytes | None:
        return PNG + bytes(email.CHART_BYTES_MAX)

    monkeypatch.setattr(email, "CHART_S_MAX", 0.5)
    for chart in (fails, hangs, large, charts(tmp_path / "no index there")):
        found = await sent(chart, alert())
        assert found.get_content_type() == "text/plain" and "上海今天下雨了" in found.get_content()


async def test_reading_and_drawing_hold_up_nobody(store: SqliteStore, tmp_path: Path) -> None:
    threads = set[int]()

    def reader() -> SqliteReader:
        threads.add(threading.get_ident())
        return SqliteReader(tmp_path / "index.db")

    longest, last = 0.0, asyncio.get_running_loop().time()
    drawing_ = asyncio.ensure_future(AlertCharts(reader, 0)(alerts()[0], "en"))
    while not drawing_.done():
        await asyncio.sleep(0.001)
        now = asyncio.get_running_loop().time()
        longest, last = max(longest, now - last), now
    assert await drawing_ is not None and threads and threading.get_ident() not in threads
    assert longest < 1.0


@pytest.mark.parametrize("text", HOSTILE)
async def test_hostile_words_are_no_markup(text: str) -> None:
    async def chart(flip: Flip, language: Language) -> bytes | None:
        return PNG

    _, page, pictures = parts(await sent(chart, hostile(text)))
    assert {tag for tag, _ in page.tags} <= {
        "html", "head", "meta", "body", "h3", "p", "img", "a", "blockquote",
    }  # fmt: skip
    assert page.values("src") == [f"cid:{name.strip('<>')}" for name in pictures] and len(pictures) == 1
    assert all(str(link).startswith(f"{PUBLIC_URL}/entities/") for link in page.values("href"))
    assert [name for _, given in page.tags for name in given if name.startswith("on")] == []
    assert not re.search(r"\x1b|\u202e|https?://", page.text)
