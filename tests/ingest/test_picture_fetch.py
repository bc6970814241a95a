"""Pictures over HTTP from a host that is up to no good, and addresses that must never be connected to."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, Final

import pytest
from PIL import Image

from ingest import picture_fetch
from ingest.clean import EdgeSettings
from ingest.guard import forbidden
from ingest.picture_fetch import PictureFetcher
from ingest.picture_settings import PictureSettings
from stream.contract.records import Picture
from tests.ingest.hostile import hosting

REFERER: Final = "https://m.weibo.cn/detail/1"
HERE: Final = PictureSettings(allow=("127.0.0.1/32",), timeout_s=20.0)


async def fetched(names: Sequence[str], settings: PictureSettings = HERE) -> tuple[list[Picture], Any, PictureFetcher]:
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
        ("packed.jpg", "packed"),
        ("says-too-much.jpg", "more than"),
        ("endless.jpg", "more than"),
        ("breaks-off.jpg", "not fetched"),
        ("round.jpg", "sent on more than 3 times"),
        ("to?place=file:///etc/passwd", "none of the web"),
        ("to?place=ftp://127.0.0.1/x.jpg", "none of the web"),
        ("to?place=http://user:secret@127.0.0.1/x.jpg", "none of the web"),
        ("to?place=http://10.0.0.1/x.jpg", "10.0.0.1 is not public"),
        ("to?place=http://[::1]/x.jpg", "is this machine"),
    ],
)
async def test_what_is_wrong_is_said_and_nothing_raised(name: str, problem: str) -> None:
    found = await one(name)
    assert problem in found.problem and not found.jpeg and found.url


async def test_slow_hosts_are_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture_fetch, "GRACE_S", 0.3)
    assert "bytes a second" in (await one("drop-by-drop.jpg")).problem


async def test_hosts_that_never_answer_are_given_up() -> None:
    settings = PictureSettings(allow=("127.0.0.1/32",), timeout_s=0.5)
    assert "within 0.5 s" in (await one("never.jpg", settings)).problem


async def test_a_host_has_so_many_requests_at_once_and_each_picture_is_fetched_once() -> None:
    names = [f"slowly/{number % 20}.jpg" for number in range(60)]
    found, host, fetcher = await fetched(names, PictureSettings(allow=("127.0.0.1/32",), per_host=3, concurrent=6))
    assert not any(picture.problem for picture in found)
    assert host.at_once <= 3 and set(host.asked.values()) == {1}
    assert fetcher.fetched == 20 and len({picture.sha256 for picture in found}) == 1
    for headers in host.headers:
        assert headers["Referer"] == REFERER and "Cookie" not in headers
        assert headers["User-Agent"].startswith("weibowatch/")


async def test_any_picture_host_of_weibo_gives_the_same_picture_in_the_size_that_is_wanted() -> None:
    async with hosting() as host, PictureFetcher(
        PictureSettings(allow=("127.0.0.1/32",), base_url=host.url), EdgeSettings()
    ) as fetcher:
        pictures = [Picture(id=f"{n}", url=f"https://wx{n}.sinaimg.cn/large/006QZngZgy1.jpg") for n in (1, 2, 3)]
        await fetcher.fetch(pictures, REFERER)
    assert host.asked == {"orj360/006QZngZgy1.jpg": 1}


async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert not (await one("good.jpg")).problem


# --- addresses ---------------------------------------------------------------------------------------------------

NAMES: Final = [
    "http://127.0.0.1/x", "http://localhost/x", "http://2130706433/x", "http://0x7f000001/x", "http://127.1/x",
    "http://0177.0.0.1/x", "http://[::1]/x", "http://[::ffff:127.0.0.1]/x", "http://[::ffff:7f00:1]/x",
    "http://169.254.169.254/latest/meta-data", "http://10.1.2.3/x", "http://192.168.1.1/x", "http://172.16.0.1/x",
    "http://100.64.0.1/x", "http://0.0.0.0/x", "http://224.0.0.1/x", "http://[fe80::1]/x", "http://[fc00::1]/x",
    "http://[64:ff9b::7f00:1]/x", "http://[2002:7f00:1::]/x", "http://8.8.8.8:6379/x",
]  # fmt: skip


@pytest.mark.parametrize("url", NAMES)
async def test_forbidden_addresses_are_never_connected_to(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    connected: list[Any] = []

    def connect(*args: Any) -> None:
        connected.append(args)
        raise AssertionError("somebody connected")

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(asyncio.get_running_loop(), "sock_connect", connect, raising=False)
    async with PictureFetcher(PictureSettings(), EdgeSettings()) as fetcher:
        [found] = await fetcher.fetch([Picture(id="x", url=url)], REFERER)
    assert found.problem and not connected


class Rebinding:
    """A resolver that names a public address first, and then this machine."""

    def __init__(self, *answers: str) -> None:
        self._answers = list(answers)

    async def resolve(self, host: str, port: int = 0, family: int = socket.AF_INET) -> list[dict[str, Any]]:
        address = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        return [{"hostname": host, "host": address, "port": port, "family": socket.AF_INET, "proto": 0, "flags": 0}]

    async def close(self) -> None: ...


async def test_a_name_that_changes_its_mind_leads_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is judged is the address that is connected to, not an earlier answer for the same name."""
    judged: list[str] = []

    def judge(address: str, port: int, allow: Any) -> str:
        judged.append(address)
        return forbidden(address, port, allow) or "a test connects to nobody"

    monkeypatch.setattr(picture_fetch, "forbidden", judge)
    resolver = Rebinding("93.184.215.14", "127.0.0.1")
    async with PictureFetcher(PictureSettings(), EdgeSettings(), resolver=resolver) as fetcher:
        for said in ("a test connects to nobody", "is this machine"):
            [found] = await fetcher.fetch([Picture(id="x", url="http://pictures.example/x.jpg")], REFERER)
            assert said in found.problem
            fetcher._http._connector.clear_dns_cache()  # type: ignore[union-attr]
    assert judged == ["93.184.215.14", "127.0.0.1"]


# --- the decoder -------------------------------------------------------------------------------------------------


async def test_a_decoder_that_dies_costs_one_picture() -> None:
    async with hosting() as host, PictureFetcher(HERE, EdgeSettings()) as fetcher:
        [first] = await fetcher.fetch([Picture(id="a", url=f"{host.url}/good.jpg")], REFERER)
        process = fetcher._decoders._free.get_nowait()
        assert process is not None and not first.problem
        os.kill(process.pid, signal.SIGSTOP)
        fetcher._decoders._free.put_nowait(process)
        fetcher._decoders._decode_s_max = 0.5
        [second] = await fetcher.fetch([Picture(id="b", url=f"{host.url}/png-called-jpg.jpg")], REFERER)
        fetcher._decoders._decode_s_max = 10.0
        [third] = await fetcher.fetch([Picture(id="c", url=f"{host.url}/animated.gif")], REFERER)
    assert "took over 0.5 s" in second.problem and not third.problem and fetcher._decoders.lost == 1


async def test_a_decoder_has_no_files_and_little_memory() -> None:
    code = (
        "import ingest.decoder as d, resource; d._limit();"
        "print(resource.getrlimit(resource.RLIMIT_AS)[0], resource.getrlimit(resource.RLIMIT_FSIZE)[0]);"
        "\ntry:\n bytearray(2 << 30)\nexcept MemoryError:\n print('no memory')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(1 << 30), "0", "no", "memory"]


@pytest.mark.parametrize(
    "wrong", [{"per_host": 0}, {"timeout_s": 0}, {"size": "../x"}, {"allow": ("nowhere",)}, {"bytes_max": 0}], ids=str
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"pictures\."):
        PictureSettings(**wrong)
