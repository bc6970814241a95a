"""Pictures over HTTP from a host that is up to no good."""

from __future__ import annotations

import asyncio
import contextlib
import io
import ssl
from collections.abc import Sequence
from typing import Any, Final

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey
from PIL import Image

from ingest.clean import EdgeSettings
from ingest.picture_fetch import PictureFetcher, _Lately, asked
from ingest.picture_http import NoPicture, PictureHttp, _no_picture
from ingest.picture_settings import PictureSettings
from stream.contract.records import Picture
from tests.ingest.hostile import Host, hosting
from tests.ingest.wires import Names

REFERER: Final = "https://m.weibo.cn/detail/1"
ALLOW: Final = ("127.0.0.1/32",)
HERE: Final = PictureSettings(allow=ALLOW)
WORDS: Final = frozenset(
    ["address", "broken", "decoder", "network", "packed", "redirects", "size", "slow", "status", "timeout"]
)


async def fetched(names: Sequence[str], settings: PictureSettings = HERE) -> tuple[list[Picture], Host, PictureFetcher]:
    async with hosting() as host, PictureFetcher(settings, EdgeSettings()) as fetcher:
        pictures = [Picture(id=name, url=f"{host.url}/{name}") for name in names]
        return list(await fetcher.fetch(pictures, REFERER)), host, fetcher


async def one(name: str, settings: PictureSettings = HERE) -> Picture:
    [found], _, _ = await fetched([name], settings)
    return found


GOOD: Final = ["good.jpg", "png-called-jpg.jpg", "animated.gif", "referer.jpg", "to?place=/good.jpg"]


@pytest.mark.parametrize("name", GOOD)
async def test_pictures_come_small_whatever_they_are_called(name: str) -> None:
    found = await one(name)
    assert not found.problem and found.sha256
    with Image.open(io.BytesIO(found.jpeg)) as image:
        assert image.format == "JPEG" and min(image.size) == 256
    assert (found.width, found.height) == ((300, 300) if name.endswith("gif") else (400, 300))


async def test_the_first_frame_of_an_animation_stands_for_it() -> None:
    with Image.open(io.BytesIO((await one("animated.gif")).jpeg)) as image:
        red, green, blue = image.convert("RGB").getpixel((10, 10))  # type: ignore[misc]
    assert red > 200 and green < 60 and blue < 60


async def test_a_tiny_placeholder_stays_what_it_is() -> None:
    found = await one("one-pixel.gif")
    assert not found.problem and (found.width, found.height) == (1, 1)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("cut.jpg", "its end is missing"),
        ("cut.png", "its end is missing"),
        ("nothing.jpg", "an empty file"),
        ("page.jpg", "not a JPEG"),
        ("bomb.png", "pixels"),
        ("rotten.jpg", "broken picture"),
        ("none.jpg", "HTTP 404"),
        ("busy.jpg", "HTTP 503"),
        ("packed.jpg", "packed"),
        ("says-too-much.jpg", "more than"),
        ("endless.jpg", "more than"),
        ("breaks-off.jpg", "not fetched"),
        ("round.jpg", "sent on more than 3 times"),
        ("to?place=file:///etc/passwd", "none of the web"),
        ("to?place=ftp://127.0.0.1/x.jpg", "none of the web"),
        ("to?place=http://user:secret@127.0.0.1/x.jpg", "none of the web"),
        ("to?place=http://[::1", "none of the web"),
        ("to?place=http://10.0.0.1/x.jpg", "10.0.0.1 is not public"),
        ("to?place=http://[::1]/x.jpg", "is this machine"),
    ],
)
async def test_what_is_wrong_is_said_and_counted_and_nothing_raised(name: str, problem: str) -> None:
    [found], _, fetcher = await fetched([name])
    assert problem in found.problem and not found.jpeg and found.url
    [(word, count)] = fetcher.problems.items()
    assert word in WORDS and count == 1


@pytest.mark.parametrize("name", ["drop-by-drop.jpg", "stalls.jpg"])
async def test_slow_hosts_are_cut_off(name: str) -> None:
    async with hosting() as host, PictureHttp(HERE, grace_s=0.3) as http:
        with pytest.raises(NoPicture, match="less than 2000 bytes a second"):
            await http.data(f"{host.url}/{name}", REFERER)


@pytest.mark.parametrize("name", ["never.jpg", "to?place=/never.jpg", "stalls.jpg"])
async def test_hosts_that_never_answer_are_given_up(name: str) -> None:
    settings = PictureSettings(allow=ALLOW, timeout_s=0.5, slow_bytes_per_s=0)
    assert "within 0.5 s" in (await one(name, settings)).problem


NO_HTTP: Final = {
    "nothing": b"",
    "garbage": bytes(range(256)) * 40,
    "a banner": b"220 mail.example ESMTP\r\n",
    "a negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
    "a length in words": b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 50000\r\n\r\nabcde",
    "a chunk without size": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n",
    "an endless chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"f" * 40 + b"\r\nabc",
    "an endless header": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1_000_000,
    "endless headers": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100_000,
    "a place in no encoding": b"HTTP/1.1 302 Found\r\nLocation: http://\xff\xfe\xc0/\r\nContent-Length: 0\r\n\r\n",
    "a place nowhere": b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n",
    "another protocol": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    "to be continued": b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000,
    "deflated under another name": b"HTTP/1.1 200 OK\r\nContent-Encoding: x-unknown\r\nContent-Length: 1\r\n\r\nx",
    "deflated on the way": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("said", NO_HTTP.values(), ids=NO_HTTP)
async def test_what_is_no_http_is_a_problem_like_any_other(said: bytes) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(said)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server, PictureFetcher(PictureSettings(allow=ALLOW, timeout_s=5), EdgeSettings()) as fetcher:
        port = server.sockets[0].getsockname()[1]
        [found] = await fetcher.fetch([Picture(id="x", url=f"http://127.0.0.1:{port}/a.jpg")], REFERER)
    assert found.problem and set(fetcher.problems) <= WORDS


async def test_a_host_that_speaks_no_tls_is_a_problem_of_the_network() -> None:
    async with hosting() as host, PictureFetcher(HERE, EdgeSettings()) as fetcher:
        [found] = await fetcher.fetch([Picture(id="x", url=host.url.replace("http:", "https:"))], REFERER)
    assert found.problem.startswith("not fetched: ") and fetcher.problems == {"network": 1}


def test_a_certificate_that_does_not_hold_is_one_too() -> None:
    """Python calls it a ValueError as well, as it does an address that is none."""
    key = ConnectionKey("x.example", 443, True, True, None, None, None)
    wrong = aiohttp.ClientConnectorCertificateError(key, ssl.SSLCertVerificationError("self-signed"))
    assert _no_picture(wrong).word == "network"
    assert _no_picture(aiohttp.InvalidURL("http://127.1/")).word == "address"


async def test_what_hosts_are_told_of_us() -> None:
    async with hosting() as host, PictureFetcher(HERE, EdgeSettings()) as fetcher:
        for name in ("cookie.jpg", "good.jpg"):
            await fetcher.fetch([Picture(id="x", url=f"{host.url}/{name}")], REFERER)
    assert len(host.headers) == 2
    for headers in host.headers:
        assert headers["Referer"] == REFERER and headers["Accept-Encoding"] == "identity"
        assert headers["User-Agent"].startswith("weibowatch/") and "Cookie" not in headers


async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert not (await one("good.jpg")).problem


# --- how many at once --------------------------------------------------------------------------------------------


async def test_a_host_has_so_many_requests_at_once_and_each_picture_is_fetched_once() -> None:
    names = [f"slowly/{number % 20}.jpg" for number in range(60)]
    found, host, fetcher = await fetched(names, PictureSettings(allow=ALLOW, per_host=3, concurrent=6))
    assert not any(picture.problem for picture in found)
    assert host.at_once == 3 and set(host.asked.values()) == {1}
    assert fetcher.fetched == 20 and len({picture.sha256 for picture in found}) == 1


async def test_all_hosts_together_have_so_many_at_once() -> None:
    settings = PictureSettings(allow=ALLOW, per_host=2, concurrent=5)
    async with hosting() as host, PictureFetcher(settings, EdgeSettings(), resolver=Names("127.0.0.1")) as fetcher:
        port = host.url.rpartition(":")[2]
        wanted = [
            Picture(id=f"{n}", url=f"http://h{n % 10}.example:{port}/slowly/{n}.jpg") for n in range(30)
        ]  # fmt: skip
        found = await fetcher.fetch(wanted, REFERER)
    assert not [picture.problem for picture in found if picture.problem]
    assert host.at_once == 5


async def test_a_host_that_never_answers_stops_no_other() -> None:
    settings = PictureSettings(allow=ALLOW, per_host=2, concurrent=4)
    async with hosting() as host, PictureFetcher(settings, EdgeSettings(), resolver=Names("127.0.0.1")) as fetcher:
        port = host.url.rpartition(":")[2]
        stuck = [Picture(id=f"{n}", url=f"http://stuck.example:{port}/never.jpg?{n}") for n in range(18)]
        waiting = asyncio.create_task(fetcher.fetch(stuck, REFERER))
        while host.asked["never.jpg"] < 2:
            await asyncio.sleep(0.01)
        [found] = await fetcher.fetch([Picture(id="x", url=f"http://well.example:{port}/good.jpg")], REFERER)
        assert not found.problem and not waiting.done()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)


async def test_one_who_is_cancelled_takes_the_picture_from_no_other() -> None:
    async with hosting() as host, PictureFetcher(HERE, EdgeSettings()) as fetcher:
        picture = Picture(id="x", url=f"{host.url}/held.jpg")
        first = asyncio.create_task(fetcher.fetch([picture], REFERER))
        while not host.asked["held.jpg"]:
            await asyncio.sleep(0.01)
        second = asyncio.create_task(fetcher.fetch([picture], REFERER))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        host.opened.set()
        [found] = await second
    assert first.cancelled() and not found.problem and host.asked["held.jpg"] == 1


async def test_closing_ends_whoever_waits_and_leaves_nothing() -> None:
    async with hosting() as host:
        before = asyncio.all_tasks()
        async with PictureFetcher(HERE, EdgeSettings()) as fetcher:
            wanted = [Picture(id=f"{n}", url=f"{host.url}/never.jpg?{n}") for n in range(9)]
            waiting = asyncio.create_task(fetcher.fetch(wanted, REFERER))
            while not host.asked["never.jpg"]:
                await asyncio.sleep(0.01)
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert not fetcher._under_way and not fetcher._at_host
        left = [task for task in asyncio.all_tasks() - before if "RequestHandler" not in repr(task)]  # the host's own
        assert not left


# --- what is known already ---------------------------------------------------------------------------------------


async def test_the_same_content_is_decoded_once() -> None:
    async with hosting() as host, PictureFetcher(HERE, EdgeSettings()) as fetcher:
        [first] = await fetcher.fetch([Picture(id="a", url=f"{host.url}/good.jpg")], REFERER)
        busy_s = fetcher.decode_s
        [second] = await fetcher.fetch([Picture(id="b", url=f"{host.url}/slowly/1.jpg")], REFERER)
    assert first.jpeg == second.jpeg and second.id == "b"
    assert fetcher.decode_s == busy_s > 0 and fetcher.fetched == 2


async def test_what_is_gone_is_not_asked_for_again_at_once_but_what_was_busy_is() -> None:
    async with hosting() as host, PictureFetcher(HERE, EdgeSettings()) as fetcher:
        for _ in range(2):
            for name in ("none.jpg", "busy.jpg"):
                [found] = await fetcher.fetch([Picture(id="x", url=f"{host.url}/{name}")], REFERER)
                assert "HTTP" in found.problem
    assert host.asked == {"none.jpg": 1, "busy.jpg": 2}


async def test_pictures_with_bytes_and_those_without_a_url_stay_and_sizes_of_the_source_stand() -> None:
    async with hosting() as host, PictureFetcher(HERE, EdgeSettings()) as fetcher:
        given = [
            Picture(id="has", url=f"{host.url}/none.jpg", jpeg=b"x"),
            Picture(id="sized", url=f"{host.url}/good.jpg", width=4000, height=3000, problem="not fetched"),
            Picture(id="nowhere", problem="neither data, path nor url"),
        ]
        has, sized, nowhere = await fetcher.fetch(given, REFERER)
    assert has == given[0] and nowhere == given[2]
    assert (sized.width, sized.height, sized.problem) == (4000, 3000, "") and sized.jpeg


def test_what_was_used_last_is_kept() -> None:
    lately: _Lately[str, int] = _Lately(2)
    lately.put("a", 1)
    lately.put("b", 2)
    assert lately.get("a") == 1
    lately.put("c", 3)
    assert (lately.get("a"), lately.get("b"), lately.get("c")) == (1, None, 3)


# --- addresses and settings --------------------------------------------------------------------------------------


async def test_any_picture_host_of_weibo_gives_the_same_picture_in_the_size_that_is_wanted() -> None:
    async with hosting() as host:
        settings = PictureSettings(allow=ALLOW, base_url=host.url)
        async with PictureFetcher(settings, EdgeSettings()) as fetcher:
            pictures = [Picture(id=f"{n}", url=f"https://wx{n}.sinaimg.cn/large/006QZngZgy1.jpg") for n in (1, 2, 3)]
            await fetcher.fetch(pictures, REFERER)
    assert host.asked == {"orj360/006QZngZgy1.jpg": 1}


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://wx4.sinaimg.cn/large/a.jpg", "https://wx1.sinaimg.cn/orj360/a.jpg"),
        ("//TVAX2.sinaimg.cn/crop.0.0.180/a.jpg?KID=1#x", "https://wx1.sinaimg.cn/orj360/a.jpg?KID=1"),
        ("https://n.sinaimg.cn/news/2026/a.jpg", "https://n.sinaimg.cn/news/2026/a.jpg"),
        ("https://wx1.sinaimg.cn/a.jpg", "https://wx1.sinaimg.cn/a.jpg"),
        ("https://wx1.sinaimg.cn.evil.example/large/a.jpg", "https://wx1.sinaimg.cn.evil.example/large/a.jpg"),
        ("https://evil.example@wx1.sinaimg.cn/large/a.jpg", "https://evil.example@wx1.sinaimg.cn/large/a.jpg"),
        ("http://[::1", ""),
    ],
)
def test_which_url_is_asked(url: str, expected: str) -> None:
    assert asked(url, PictureSettings()) == expected


@pytest.mark.parametrize(
    "wrong",
    [
        {"per_host": 0}, {"concurrent": 0}, {"processes": 0}, {"timeout_s": 0}, {"timeout_s": float("nan")},
        {"timeout_s": float("inf")}, {"size": "../x"}, {"allow": ("nowhere",)}, {"bytes_max": 0},
        {"bytes_max": 1 << 30}, {"redirects_max": -1}, {"slow_bytes_per_s": -1}, {"base_url": "127.0.0.1:80"},
        {"base_url": "http://[::1"}, {"base_url": "http://x:99999"},
    ],
    ids=str,
)  # fmt: skip
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"pictures\."):
        PictureSettings(**wrong)
