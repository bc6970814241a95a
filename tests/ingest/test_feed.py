"""What stands in documents of RSS and Atom: items, encodings, times, markup, and what is hostile about them."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import msgspec
import pytest

from ingest.clean import EdgeSettings
from ingest.feed_times import feed_time_ms
from ingest.markup import html_text, image_urls
from ingest.sources import parse_again
from stream.contract.ports import Chunk, Source
from stream.contract.records import End, Observation, Post
from tests.ingest.corpus import NOW_MS, PSEUDONYM, check_reach, chunks, posts, records, rejects, source
from tests.ingest.feeds import MINUTE, FakeFeed, Time, atom, lines, rss, serving

DATE = "Tue, 14 Nov 2023 22:00:00 GMT"
DATE_MS = NOW_MS - 800_000


def over(base: str, time: Time, **options: Any) -> Source:
    return source(f"rss:{base}/feed", now_ms=time, sleep=time.sleep, **options)


async def read(body: bytes, content_type: str = "application/xml") -> list[Chunk]:
    """What a source gives for a feed that is ``body``, in one look."""
    time = Time()
    fake = FakeFeed(time)
    fake.body, fake.content_type = body, content_type
    async with serving(fake) as base:
        return await chunks(over(base, time, once=True))


# --- what is in a feed ----------------------------------------------------------------------------------------------


async def test_an_item_of_rss_becomes_a_post() -> None:
    item = (
        f"<item><title>A &amp; B</title><link>/p/1</link><guid isPermaLink='false'>77</guid><pubDate>{DATE}</pubDate>"
        "<dc:creator>Wang</dc:creator><description>short</description><media:title>no</media:title>"
        "<content:encoded><![CDATA[<p>雨&nbsp;大<br>风</p><script>x<y</script>"
        "<p>完<img src='/i/2.png?a=1&amp;b=2'></p>]]></content:encoded>"
        "<enclosure url='https://x.example/1.jpg' type='image/jpeg' length='3'/>"
        "<enclosure url='https://x.example/1.mp3' type='audio/mpeg' length='3'/>"
        "<media:content url='https://x.example/3.jpg' medium='image' width='640' height='480'/></item>"
    )
    taken = await read(rss(item))
    [post] = posts(taken)
    assert post.text == "A & B\n雨\xa0大\n风\n\n完"
    assert post.author == PSEUDONYM("rss:127.0.0.1/wang")
    assert (post.created_ms, post.observed_ms) == (DATE_MS, NOW_MS)
    assert [(one.url.rpartition("/")[2], one.width) for one in post.pictures] == [
        ("1.jpg", 0), ("3.jpg", 640), ("2.png?a=1&b=2", 0),
    ]  # fmt: skip
    assert post.pictures[2].url.startswith("http://127.0.0.1:")
    [seen] = [one for one in records(taken) if isinstance(one, Observation)]
    assert (seen.post_id, seen.text) == (post.id, post.text)
    assert taken[-1].end
    assert isinstance(taken[-1].records[-1], End)
    check_reach(taken)


async def test_entries_of_atom_become_posts_whatever_their_content_is() -> None:
    entries = [
        "<title>t</title><content type='html'>&lt;p&gt;a&lt;/p&gt;&lt;p&gt;b&lt;/p&gt;</content>",
        "<title type='text'>1 &lt; 2</title><summary>s &lt;b&gt;</summary>",
        "<title>x</title><content type='xhtml'><div xmlns='http://www.w3.org/1999/xhtml'><p>c<br/>d</p>e</div></content>",
    ]
    body = "".join(
        f"<entry><id>urn:uuid:{n}</id><published>2023-11-14T22:00:0{n}Z</published><updated>2023-11-14T22:00:0{n}Z"
        f"</updated><author><name>李</name><uri>https://a.example/LI</uri></author>{entry}</entry>"
        for n, entry in enumerate(entries)
    )
    given = posts(await read(atom(body)))
    assert [post.text for post in given] == ["t\na\n\nb", "1 < 2\ns <b>", "x\nc\nd\ne"]
    assert {post.author for post in given} == {PSEUDONYM("rss:127.0.0.1/https://a.example/li")}
    assert [post.created_ms for post in given] == [DATE_MS + n * 1000 for n in range(3)]


async def test_items_of_rss_1_stand_beside_their_channel() -> None:
    body = (
        "<rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#' xmlns='http://purl.org/rss/1.0/'"
        " xmlns:dc='http://purl.org/dc/elements/1.1/'><channel><title>f</title></channel>"
        "<item rdf:about='https://x.example/1'><title>一</title><link>https://x.example/1</link>"
        "<dc:date>2023-11-14T22:00:00Z</dc:date></item></rdf:RDF>"
    )
    [post] = posts(await read(body.encode()))
    assert (post.text, post.created_ms, post.author_known) == ("一", DATE_MS, False)


async def test_a_title_that_the_body_begins_with_is_not_said_twice() -> None:
    item = f"<item><title>今天下雨…</title><description>今天下雨，明天晴</description><pubDate>{DATE}</pubDate></item>"
    assert [post.text for post in posts(await read(rss(item)))] == ["今天下雨，明天晴"]


async def test_ids_are_the_same_in_every_feed_when_they_are_addresses_and_name_nobody() -> None:
    def item(guid: str) -> str:
        return f"<item><guid>{guid}</guid><title>t</title><pubDate>{DATE}</pubDate></item>"

    time = Time()
    fake = FakeFeed(time)
    fake.body = rss(item("https://weibo.example/u/1234567") + item("42"))
    async with serving(fake) as base:
        one = posts(await chunks(source(f"rss:{base}/a", now_ms=time, sleep=time.sleep, once=True)))
        two = posts(await chunks(source(f"rss:{base}/b", now_ms=time, sleep=time.sleep, once=True)))
    assert len({post.id for post in one} & {post.id for post in two}) == 1
    assert not any("1234567" in post.id for post in one)


@pytest.mark.parametrize(
    ("encoding", "declared", "content_type"),
    [
        ("gb18030", "GB2312", "text/xml"), ("gbk", "gbk", "text/xml"), ("big5", "Big5", "application/xml"),
        ("utf-16", "utf-16", "application/xml"), ("gbk", "utf-8", "text/xml; charset=GBK"),
        ("utf-8-sig", "utf-8", "text/xml; charset=iso-8859-1"), ("utf-8", "gbk", "text/xml; charset=utf-8"),
        ("utf-8", "no-such", "text/xml; charset=rot13"),
    ],
)  # fmt: skip
async def test_every_encoding_of_chinese_is_read(encoding: str, declared: str, content_type: str) -> None:
    text = (
        f'<?xml version="1.0" encoding="{declared}"?><rss><channel><item><title>中文</title>'
        f"<pubDate>{DATE}</pubDate></item></channel></rss>"
    )
    assert [post.text for post in posts(await read(text.encode(encoding), content_type))] == ["中文"]


async def test_feeds_that_break_the_rules_of_xml_a_little_are_read() -> None:
    item = f"<item><title>a\x0bb&nbsp;c&hellip; &lt;&amp;</title><pubDate>{DATE}</pubDate></item>"
    [post] = posts(await read(b"\n " + rss(item)))
    assert post.text == "a b\xa0c… <&"


# --- what is hostile ------------------------------------------------------------------------------------------------

_BOMB = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10 if n else "ha"}">' for n in range(10))


@pytest.mark.parametrize(
    ("prolog", "title"),
    [
        (f"<!DOCTYPE rss [{_BOMB}]>", "&a9;"),
        ('<!DOCTYPE rss [<!ENTITY x SYSTEM "file:///etc/passwd">]>', "&x;"),
        ('<!DOCTYPE rss [<!ENTITY x SYSTEM "http://127.0.0.1:1/x">]>', "t"),
        ('<!DOCTYPE rss [<!ENTITY % p SYSTEM "http://127.0.0.1:1/x.dtd"> %p;]>', "t"),
        (f'<!DOCTYPE rss [<!ENTITY q "{"x" * 100_000}">]>', "&q;" * 10_000),
    ],
)
async def test_entities_are_refused_whole_and_the_source_goes_on(prolog: str, title: str) -> None:
    time = Time()
    fake = FakeFeed(time)
    item = "<item><title>{}</title><pubDate>" + DATE + "</pubDate></item>"
    fake.body = f"{prolog}<rss><channel>{item.format(title)}</channel></rss>".encode()
    async with serving(fake) as base:
        first = await chunks(over(base, time), limit=1)
        fake.body = rss(item.format("good"))
        second = await chunks(over(base, time), first[-1].cursor, limit=1)
    [line] = lines(first)
    assert line.outcome == "parse_error"
    assert "refused" in line.detail
    assert not posts(first)
    assert [post.text for post in posts(second)] == ["good"]


async def test_a_dtd_that_declares_nothing_is_no_harm() -> None:
    doctype = '<!DOCTYPE rss PUBLIC "-//Netscape Communications//DTD RSS 0.91//EN" "http://127.0.0.1:1/rss-0.91.dtd">'
    body = f"{doctype}<rss><channel><item><title>t</title><pubDate>{DATE}</pubDate></item></channel></rss>"
    assert len(posts(await read(body.encode()))) == 1


@pytest.mark.parametrize(
    "body", [b"", b"<html><body>no</body></html>", b"not xml", b"<rss><channel><item>", b"\xff\xfe\x00", b"{}"]
)
async def test_what_is_no_feed_is_told_in_the_ledger(body: bytes) -> None:
    time = Time()
    fake = FakeFeed(time)
    fake.body = body
    async with serving(fake) as base:
        [chunk] = await chunks(over(base, time), limit=1)
    [line] = lines([chunk])
    assert (line.outcome, line.endpoint) == ("parse_error", "feed")
    assert line.detail


async def test_bad_items_are_dead_letters_once_and_the_rest_goes_on() -> None:
    good = f"<item><guid>https://x.example/g</guid><title>good</title><pubDate>{DATE}</pubDate></item>"
    deep = "<b>" * 3000 + "x" + "</b>" * 3000
    bad = [
        "<item><guid>1</guid><title>t</title><pubDate>gestern</pubDate></item>",
        f"<item><guid>2</guid><title></title><pubDate>{DATE}</pubDate></item>",
        "<item><guid>3</guid><title>t</title><pubDate>Tue, 14 Nov 2033 22:00:00 GMT</pubDate></item>",
        f"<item><guid>4</guid><description>{deep}</description><pubDate>{DATE}</pubDate></item>",
        "<item><guid>5</guid><title>t</title><pubDate>Tue, 14 Nov 2023 22:00:00 CEST</pubDate></item>",
    ]
    time = Time()
    fake = FakeFeed(time)
    fake.body, fake.validators = rss("".join(bad) + good), False
    async with serving(fake) as base:
        taken = await chunks(over(base, time), limit=4)
        letters = rejects(taken)
        assert [post.text for post in posts(taken)] == ["good"]
        assert sorted(letter.reason for letter in letters) == [
            "bad_field", "bad_field", "bad_field", "empty", "time_future",
        ]  # fmt: skip
        assert any(b"gestern" in letter.raw for letter in letters)
        assert any("CEST" in letter.detail for letter in letters)
        # The feed's author mends one: it is a post now.
        fake.body = rss("".join(bad).replace("gestern", DATE) + good)
        later = await chunks(over(base, time), taken[-1].cursor, limit=2)
    assert len(posts(later)) == 1
    assert not rejects(later)


async def test_a_dead_letter_can_be_read_again() -> None:
    future = "Tue, 14 Nov 2023 23:00:00 GMT"
    taken = await read(rss(f"<item><guid>3</guid><title>t</title><pubDate>{future}</pubDate></item>"))
    [letter] = rejects(taken)
    options: Any = {"edge": EdgeSettings(), "pseudonym": PSEUDONYM}
    post = parse_again(letter, now_ms=lambda: NOW_MS + 60 * MINUTE, **options)
    assert isinstance(post, Post)
    assert post.text == "t"
    assert parse_again(letter, now_ms=lambda: NOW_MS, **options) == letter
    broken = parse_again(msgspec.structs.replace(letter, raw=b"<item"), now_ms=lambda: NOW_MS, **options)
    assert not isinstance(broken, Post)
    assert broken.reason == "bad_record"


async def test_only_the_item_that_is_not_in_its_encoding_is_refused() -> None:
    items = "".join(f"<item><guid>{n}</guid><title>t{n}</title><pubDate>{DATE}</pubDate></item>" for n in range(3))
    taken = await read(rss(items).replace(b"t1", b"t\xff1"))
    assert [post.text for post in posts(taken)] == ["t2", "t0"], "of one time, the lower in the feed is older"
    assert [letter.reason for letter in rejects(taken)] == ["bad_encoding"]


# --- the parts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Thu, 26 Nov 2026 08:00:00 GMT", "2026-11-26T08:00:00"), ("26 Nov 26 08:00 EST", "2026-11-26T13:00:00"),
        ("Thu, 26 Nov 2026 08:00:00 +0800", "2026-11-26T00:00:00"),
        ("Thu,26 Nov 2026 8:00:00 Z", "2026-11-26T08:00:00"),
        ("26 November 2026 08:00:00 UT", "2026-11-26T08:00:00"),
        ("Thu, 26 Nov 2026 08:00 -0000", "2026-11-26T08:00:00"),
        ("Thu, 26 Nov 2026 08:00:60 PDT", "2026-11-26T15:00:59"), ("26 Nov 99 08:00:00 GMT", "1999-11-26T08:00:00"),
        ("Thu, 26 Nov 2026 08:00:00 +0800 (CST)", "2026-11-26T00:00:00"),
        ("Thursday, 26-Nov-26 08:00:00 GMT", "2026-11-26T08:00:00"), ("26 Nov 2026", "2026-11-25T16:00:00"),
        ("Thu, 26 Nov 2026 08:00:00", "2026-11-26T00:00:00"), ("Thu Nov 26 08:00:00 2026", "2026-11-26T00:00:00"),
        ("Thu Nov 26 10:00:00 CST 2026", "2026-11-26T02:00:00"), ("2026-11-26T08:00Z", "2026-11-26T08:00:00"),
        ("2026-11-26T08:00:00.5+08:00", "2026-11-26T00:00:00.500000"), ("2026-11-26t08:00:00z", "2026-11-26T08:00:00"),
        ("2026-11-26 08:00:00 +0800", "2026-11-26T00:00:00"), ("2026-11-26", "2026-11-25T16:00:00"),
        ("2026-11", "2026-10-31T16:00:00"), ("2026", "2025-12-31T16:00:00"), ("1790000000", "2026-09-21T14:13:20"),
        ("Tue Jun 08 09:35:04 +0800 2021", "2021-06-08T01:35:04"), ("\n 2026-11-26T08:00Z ", "2026-11-26T08:00:00"),
    ],
)  # fmt: skip
def test_every_form_of_a_time_is_read(text: str, expected: str) -> None:
    assert datetime.fromtimestamp(feed_time_ms(text) / 1000, timezone.utc).isoformat()[:26] == expected + (
        "" if "." in expected else "+00:00"
    )


@pytest.mark.parametrize(
    "text",
    ["", "gestern", "Thu, 32 Nov 2026 08:00:00 GMT", "26 Foo 2026 08:00:00 GMT", "Thu, 26 Nov 2026 8:00 PM", "0000",
     "2026-13-01", "26 Nov 2026 25:00:00 GMT", "26 Nov 2026 08:00:00 +9900"],
)  # fmt: skip
def test_what_is_no_time_is_said(text: str) -> None:
    with pytest.raises(ValueError, match="is no time"):
        feed_time_ms(text)


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("a\nb", "a\nb"), ("<p>a\nb</p>c", "a b\nc"), ("<!-- x -->a<style>p{}</style>b", "ab"), ("1 &lt; 2", "1 < 2"),
        ("<ul><li>a</li><li>b</li></ul>", "a\n\nb"), ("<td>a</td><td>b</td>", "a b"),
        ("a<br/><br/><br/><br/>b", "a\n\nb"),
        ("<pre>x</pre>y", "x\ny"), ("<script>", ""), ("a < b", "a < b"), ("<picture>a</picture>", "a"),
    ],
)  # fmt: skip
def test_html_is_read_as_people_read_it(html: str, text: str) -> None:
    assert html_text(html) == text


@pytest.mark.parametrize("part", ["<script>", "<!--", "<p ", "<img src=", "<td", "</script", "<br", "&#"])
def test_hostile_markup_costs_no_more_than_its_length(part: str) -> None:
    # In quadratic time this would take hours; a test that hangs is one that fails.
    html_text(part * 300_000)
    image_urls(part * 300_000, 5)
