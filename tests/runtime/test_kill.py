"""kill -9 at random points of a real run: nothing lost, nothing doubled, the file whole, quickly back."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.corpus import write_many

ROOT = Path(__file__).parents[2]
POSTS = 3_000
ENVIRONMENT = {**os.environ, "WEIBOWATCH_PRIVACY__AUTHOR_KEY": "the same pseudonyms in every store"}
FACTS = {
    "documents": "SELECT id, doc, record FROM documents JOIN document_records USING (doc) ORDER BY id",
    "mentions": "SELECT * FROM mentions ORDER BY entity, doc",
    "totals": "SELECT * FROM entities ORDER BY id",
    "trend points": "SELECT entity, bin_ms, mentions, authors, weighted, late, score, window_ms, observed, expected"
    " FROM trend_points ORDER BY entity, bin_ms",
    "alerts": "SELECT id, record FROM flips ORDER BY id",
    "text": 'SELECT count(*) FROM posts_text WHERE posts_text MATCH \'"上" + "海"\'',
}


def command(source: Path, store: Path) -> list[str]:
    return [sys.executable, "-m", "deploy.cli", "run", "--source", f"jsonl:{source}", "--store", str(store),
            "--once", "--json"]  # fmt: skip


def facts(store: Path) -> dict[str, list[tuple[object, ...]]]:
    connection = sqlite3.connect(store / "weibowatch.db")
    found = {name: connection.execute(query).fetchall() for name, query in FACTS.items()}
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    return found


def progress(store: Path) -> int:
    """Offset that the worker has committed, 0 before there is a file."""
    path = store / "weibowatch.db"
    if not path.exists():
        return 0
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        row = connection.execute("SELECT value FROM meta WHERE key = 'worker_offset'").fetchone()
    except sqlite3.OperationalError:
        return 0
    finally:
        connection.close()
    return int(row[0]) if row else 0


def run_and_kill(source: Path, store: Path, chance: random.Random) -> float | None:
    """Start, wait until it makes progress, kill it a moment later. Seconds to the first progress; None: it was done."""
    before = progress(store)
    started = time.monotonic()
    process = subprocess.Popen(
        command(source, store), cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    while progress(store) == before:
        if process.poll() is not None:
            assert process.returncode == 0, process.stderr.read().decode() if process.stderr else ""
            return None
        time.sleep(0.005)
    seconds = time.monotonic() - started
    time.sleep(chance.random() * 0.25)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return seconds


def check_kills(tmp_path: Path, kills: int, seed: int) -> None:
    chance = random.Random(seed)
    source = write_many(tmp_path / "posts.jsonl", POSTS)
    calm = tmp_path / "calm"
    subprocess.run(command(source, calm), cwd=ROOT, env=ENVIRONMENT, check=True, stdout=subprocess.DEVNULL)
    expected = facts(calm)
    assert len(expected["documents"]) == POSTS
    waits: list[float] = []
    rounds = 0
    while len(waits) < kills:
        rounds += 1
        store = tmp_path / f"killed{rounds}"
        done = 0
        while len(waits) < kills and (waited := run_and_kill(source, store, chance)) is not None:
            waits.append(waited)
            done += 1
            check_file(store)
        subprocess.run(command(source, store), cwd=ROOT, env=ENVIRONMENT, check=True, stdout=subprocess.DEVNULL)
        assert facts(store) == expected, f"after {done} kills (seed {seed})"
    waits.sort()
    print(f"kills {kills}, lost 0, doubled 0, restart to first commit: median {waits[len(waits) // 2]:.2f} s, "
          f"max {waits[-1]:.2f} s (seed {seed})")  # fmt: skip


def check_file(store: Path) -> None:
    connection = sqlite3.connect(store / "weibowatch.db")
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


def test_kill_9_eight_times(tmp_path: Path) -> None:
    check_kills(tmp_path, kills=8, seed=1)


@pytest.mark.soak
def test_kill_9_fifty_times(tmp_path: Path) -> None:
    check_kills(tmp_path, kills=50, seed=2)
