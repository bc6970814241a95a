"""Pictures a second: 1 MP JPEGs from a host on loopback, fetched and made small (256 px) in processes of their own.

The host shares the machine, and its time counts. ``python -m benchmarks.pictures [--pictures 600] [--rounds 3]``
"""

from __future__ import annotations

import argparse
import asyncio
import io
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFilter

from ingest.clean import EdgeSettings
from ingest.picture_fetch import PictureFetcher
from ingest.picture_settings import PictureSettings
from stream.contract.records import Picture

GOAL = 80.0
KINDS = 40


def jpeg(number: int) -> bytes:
    """A megapixel with structure like a photograph's: smooth areas, edges, some noise; about 120 kB."""
    draw = np.random.default_rng(number)
    few = Image.fromarray(draw.integers(0, 255, (27, 36, 3), dtype=np.uint8))
    small = few.resize((1155, 866), Image.Resampling.BICUBIC)
    noise = Image.fromarray(draw.integers(0, 40, (866, 1155, 3), dtype=np.uint8)).filter(ImageFilter.GaussianBlur(1))
    buffer = io.BytesIO()
    Image.blend(small, noise, 0.3).save(buffer, "JPEG", quality=88)
    return buffer.getvalue()


def host() -> None:
    """Serve them until standard input ends."""
    from aiohttp import web

    files = [jpeg(number) for number in range(KINDS)]

    async def answer(request: web.Request) -> web.Response:
        number = int(request.match_info["number"])
        # No two are alike by content, though they are by look.
        return web.Response(body=files[number % KINDS] + str(number).encode() + b"\xff\xd9", content_type="image/jpeg")

    async def serve() -> None:
        app = web.Application()
        app.router.add_get("/{number}", answer)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        print(runner.addresses[0][1], sum(map(len, files)) // KINDS, flush=True)
        await asyncio.to_thread(sys.stdin.read)

    asyncio.run(serve())


class Measured(NamedTuple):
    """Of one round: pictures per second, and per picture the milliseconds in requests and in decoders.

    Several requests run at once, and each counts. ``busy``: the share of the time that a decoder worked.
    """

    rate: float
    fetch_ms: float
    decode_ms: float
    busy: float


async def measured(port: int, count: int, processes: int) -> Measured:
    """``count`` pictures with all settings but one as they are by default, posts of 18 pictures and four at once."""
    settings = PictureSettings(allow=("127.0.0.1/32",), processes=processes)
    async with PictureFetcher(settings, EdgeSettings()) as fetcher:

        async def post(numbers: Sequence[int]) -> None:
            wanted = [Picture(id=f"{n}", url=f"http://127.0.0.1:{port}/{n}") for n in numbers]
            made = await fetcher.fetch(wanted, "https://weibo.com/")
            assert all(picture.jpeg for picture in made), made

        await post(range(10**6, 10**6 + 18))
        fetched_s, decoded_s, started = fetcher.fetch_s, fetcher.decode_s, time.perf_counter()
        for first in range(0, count, 72):
            firsts = range(first, min(first + 72, count), 18)
            await asyncio.gather(*(post(range(one, min(one + 18, count))) for one in firsts))
        took_s = time.perf_counter() - started
        assert fetcher.fetched == count + 18 and not fetcher.problems
        fetch_s, decode_s = fetcher.fetch_s - fetched_s, fetcher.decode_s - decoded_s
        return Measured(
            count / took_s, 1000 * fetch_s / count, 1000 * decode_s / count, decode_s / took_s / processes
        )  # fmt: skip


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=3, help="the one in the middle is told")
    parser.add_argument("--host", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.host:
        host()
        return
    words = [sys.executable, "-m", "benchmarks.pictures", "--host"]
    root = Path(__file__).parents[1]
    with subprocess.Popen(words, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None and server.stdin is not None
        port, size = map(int, server.stdout.readline().split())
        print(f"1 MP JPEGs of {size // 1000} kB on average")
        for processes in (1, 2):
            rounds = [asyncio.run(measured(port, chosen.pictures, processes)) for _ in range(chosen.rounds)]
            rates = sorted(one.rate for one in rounds)
            middle = sorted(rounds)[len(rounds) // 2]
            spread = f"{middle.rate:6.1f} pictures/s ({rates[0]:.1f} to {rates[-1]:.1f}, goal {GOAL:g})"
            parts = f"{middle.fetch_ms:.1f} ms fetching, {middle.decode_ms:.1f} ms decoding"
            print(f"{processes} decoder(s)  {spread}  each {parts}; decoders busy {middle.busy:.0%}")
        server.stdin.close()


if __name__ == "__main__":
    main()
