"""Addresses that must never be connected to, however they are written, named or come to. Nothing leaves a test."""

from __future__ import annotations

import asyncio
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.clean import EdgeSettings
from ingest.picture_fetch import PictureFetcher
from ingest.picture_settings import PictureSettings
from stream.contract.records import Picture
from tests.ingest.wires import Names, cut

REFERER: Final = "https://m.weibo.cn/detail/1"
ADDRESSES: Final = [
    "127.0.0.1", "127.255.0.3", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
    "224.0.0.1", "240.0.0.1", "255.255.255.255", "198.18.0.1", "::1", "::", "fe80::1", "fc00::1", "fec0::1", "ff02::1",
    "::ffff:127.0.0.1", "::ffff:a9fe:a9fe", "64:ff9b::7f00:1", "64:ff9b:1:a00:1:100:808:808", "2002:7f00:1::1",
    "2002:808:808::1", "2001:0:1::80ff:fffe", "::127.0.0.1",
]  # fmt: skip


async def problem(url: str, resolver: Names | None = None) -> str:
    async with PictureFetcher(PictureSettings(), EdgeSettings(), resolver=resolver) as fetcher:
        [found] = await fetcher.fetch([Picture(id="x", url=url)], REFERER)
    assert not found.jpeg and set(fetcher.problems) <= {"address", "network"}
    return found.problem


@pytest.mark.parametrize("address", ADDRESSES)
async def test_forbidden_addresses_are_never_connected_to(address: str) -> None:
    tried = cut(asyncio.get_running_loop())
    literal = f"[{address}]" if ":" in address else address
    for url, resolver in ((f"http://{literal}/x", None), ("https://pictures.example/x", Names(address))):
        assert (await problem(url, resolver)).startswith("its address is forbidden: ")
    assert not tried


@pytest.mark.parametrize(
    "url",
    [
        "http://2130706433/x", "http://0x7f000001/x", "http://0x7f.1/x", "http://017700000001/x", "http://0177.0.0.1/x",
        "http://127.1/x", "http://localhost/x", "http://127.0.0.1./x", "http://127。0。0。1/x", "http://①②⑦.0.0.1/x",
        "http://pictures.example@127.0.0.1/x", "http://127.0.0.1@pictures.example/x", "http://127.0.0.1\\@x.example/x",
        "http://8.8.8.8:6379/x", "http://8.8.8.8:22/x", "http://127.0.0.1:80:80/x", "http:///127.0.0.1/x",
        "http:////[x", "http:////127.0.0.1/x",
        "file:///etc/passwd", "ftp://8.8.8.8/x", "gopher://8.8.8.8/x", "data:image/gif;base64,R0lGODlhAQ", "unix:/x",
    ],
)  # fmt: skip
async def test_forms_of_writing_lead_nowhere(url: str) -> None:
    tried = cut(asyncio.get_running_loop())
    assert (await problem(url)).startswith("its address is ")
    assert not tried


async def test_a_name_that_changes_its_mind_leads_nowhere() -> None:
    """What is judged is the address that is connected to, not an earlier answer for the same name."""
    tried = cut(asyncio.get_running_loop())
    resolver = Names("93.184.215.14", "127.0.0.1")
    url = "http://pictures.example/x"
    assert await problem(url, resolver) == "not fetched: ClientConnectorError"
    assert await problem(url, resolver) == "its address is forbidden: 127.0.0.1 is this machine"
    assert tried == ["93.184.215.14"]


async def test_of_several_addresses_only_the_public_ones_are_tried() -> None:
    tried = cut(asyncio.get_running_loop())
    assert await problem("http://pictures.example/x", Names("10.0.0.1,93.184.215.14,::1"))
    assert set(tried) == {"93.184.215.14"}
    told = await problem("http://pictures.example/x", Names("10.0.0.1,::1"))
    assert told.startswith("its address is forbidden: ")
    assert set(tried) == {"93.184.215.14"}


PIECES: Final = st.sampled_from(
    ["http:", "https:", "ftp:", "//", "/", "@", ":", "[", "]", "::1", "127.0.0.1", "1.2.3.4", "wx1.sinaimg.cn",
     "large", "a.jpg", "%", "%00", "?", "#", "\\", "\r\n", "\0", " ", ".", "..", "℀", "\udcff", "é", "ß", "80",
     "99999999", "x" * 70]
)  # fmt: skip
URLS: Final = st.one_of(
    st.text(max_size=60),
    st.lists(PIECES, max_size=9).map("".join),
    st.lists(PIECES, max_size=7).map(lambda pieces: "http://" + "".join(pieces)),
    st.lists(PIECES, max_size=7).map(lambda pieces: "https://wx2.sinaimg.cn/large/" + "".join(pieces)),
)


@settings(deadline=None)
@given(st.lists(URLS, max_size=12), st.booleans(), st.text(max_size=20))
def test_no_url_and_no_referer_raises_anything(urls: list[str], based: bool, referer: str) -> None:
    async def run() -> None:
        tried = cut(asyncio.get_running_loop())
        chosen = PictureSettings(base_url="http://127.0.0.1:1" if based else "")
        async with PictureFetcher(chosen, EdgeSettings(), resolver=Names("127.0.0.1")) as fetcher:
            found = await fetcher.fetch([Picture(id="x", url=url) for url in urls], referer)
        assert all(bool(picture.problem) == bool(url) for picture, url in zip(found, urls, strict=True))
        assert set(tried) <= {"1.2.3.4"}

    asyncio.run(run())
