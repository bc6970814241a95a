"""The whole embedded pipeline against the bare tagger on the same posts, in turn, each in a fresh process.

Also: memory of the running monitor, and the time from process start to the first indexed post.
"""

from __future__ import annotations

import json
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[1]
PAIRS = 5
BARE = """
import time
from pathlib import Path
from deploy.settings import Settings
from tests.corpus import demo_posts
from deploy import wiring
from stream.contract.ports import TagInput
posts = [TagInput(post["text"]) for post in demo_posts(pictures=False)]
tagger = wiring.load_tagger(Settings())
size = Settings().worker.batch_posts_max
started = time.perf_counter()
for start in range(0, len(posts), size):
    prepared = tagger.prepare(posts[start:start + size])
    tagger.decode(prepared, tagger.infer(prepared))
print(len(posts) / (time.perf_counter() - started))
"""


def main() -> None:
    """Print the table."""
    pairs = [(whole(), bare()) for _ in range(PAIRS)]
    ratios = [pipeline / tagger for pipeline, tagger in pairs]
    print(f"pipeline     {statistics.median(pipeline for pipeline, _ in pairs):8.0f} posts/s (median of {PAIRS})")
    print(f"bare tagger  {statistics.median(tagger for _, tagger in pairs):8.0f} posts/s")
    print(f"ratio        {statistics.median(ratios):8.3f} (min {min(ratios):.3f}, max {max(ratios):.3f}; goal 0.85)")
    first_s, memory = first_post_and_memory()
    print(f"first post   {first_s:8.2f} s from process start (goal 6)")
    print(f"memory       {memory / (1 << 20):8.0f} MiB resident at the end of the demo (goal 1229)")


def whole() -> float:
    """Posts per second that one run over the demo reports."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(command(folder, "--once"), cwd=ROOT, check=True, capture_output=True, text=True)
    return float(json.loads(done.stdout.splitlines()[-1])["posts_per_second"])


def bare() -> float:
    """Posts per second of the tagger alone, in batches of the worker's size."""
    return float(
        subprocess.run([sys.executable, "-c", BARE], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    )


def first_post_and_memory() -> tuple[float, int]:
    """Seconds to the first indexed post of ``run`` with dashboard, and resident bytes once the demo is through."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        process = subprocess.Popen(
            command(folder, "--port", "0", "--speed", "max"),
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_for(Path(folder), 1)
            first_s = time.monotonic() - started
            wait_for(Path(folder), 1000)
            time.sleep(1)
            return first_s, psutil.Process(process.pid).memory_info().rss
        finally:
            process.terminate()
            process.wait(30)


def command(store: str, *more: str) -> list[str]:
    """``weibowatch run`` over the demo."""
    return [sys.executable, "-m", "deploy.cli", "run", "--source", "demo", "--store", store, "--json", *more]


def wait_for(store: Path, documents: int) -> None:
    """Until the store holds ``documents``. Raises ``TimeoutError`` after a minute."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            connection = sqlite3.connect(f"file:{store / 'weibowatch.db'}?mode=ro", uri=True)
            found = connection.execute("SELECT count(*) FROM documents").fetchone()[0]
            connection.close()
            if found >= documents:
                return
        except sqlite3.OperationalError:
            pass
        time.sleep(0.02)
    raise TimeoutError(f"fewer than {documents} documents after a minute")


if __name__ == "__main__":
    main()
