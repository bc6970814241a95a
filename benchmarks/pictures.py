"""Pictures a second: 1 MP JPEGs from a host on loopback, fetched and made small (256 px) in processes of their own.

The host shares the machine, and its time counts. ``python -m benchmarks.pictures [--pictures 600]``
"""

from __future__ import annotations

import argparse
import asyncio
import io
import subprocess
import sys
import time
from pathlib import Path

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


async def measured(port: int, count: int, processes: int) -> tuple[float, PictureFetcher]:
    """Pictures per second."""
    settings = PictureSettings(allow=("127.0.0.1/32",), processes=processes, per_host=8)
    async with PictureFetcher(settings, EdgeSettings()) as fetcher:
        warm = [Picture(id=f"w{n}", url=f"http://127.0.0.1:{port}/{10**6 + n}") for n in range(8)]
        await fetcher.fetch(warm, "https://weibo.com/")
        fetcher.fetch_s = fetcher.decode_s = 0.0
        started = time.perf_counter()
        for first in range(0, count, 40):
            wanted = [Picture(id=f"{n}", url=f"http://127.0.0.1:{port}/{n}") for n in range(first, first + 40)]
            made = await fetcher.fetch(wanted, "https://weibo.com/")
            assert not [one.problem for one in made if one.problem]
        return count / (time.perf_counter() - started), fetcher


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=600)
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
            rate, fetcher = asyncio.run(measured(port, chosen.pictures, processes))
            busy = fetcher.fetch_s + fetcher.decode_s
            shares = f"{fetcher.fetch_s / busy:.0%} fetching, {fetcher.decode_s / busy:.0%} decoding"
            print(f"{processes} decoder(s)  {rate:6.1f} pictures/s (goal {GOAL:g}); of what they waited {shares}")
        server.stdin.close()


if __name__ == "__main__":
    main()
