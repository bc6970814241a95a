"""Measures the SQLite index: time to index a post with three mentions, and time to answer searches.

``python -m benchmarks.search [--posts 200000] [--json]``. Posts are synthetic: Han characters and names drawn by
Zipf's law, one post every two seconds on average, arriving slightly out of order, in batches of 64.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from index.query import Filters
from index.sqlite import SqliteIndex, SqliteReader, create_schema
from stream.contract.records import Counts, Document, Mention, Post

BATCH_POSTS: Final = 64
NAMES: Final = 5_000
CHARS: Final = 3_000
START_MS: Final = 1_646_000_000_000
TYPES: Final = ("PER", "LOC", "ORG", "MISC")


def synthetic(posts: int, seed: int = 1) -> Iterator[Document]:
    """``posts`` documents of about 80 characters with three mentions each; the same for the same seed."""
    random_ = random.Random(seed)
    chars = [chr(0x4E00 + place) for place in range(CHARS)]
    char_weights = list(itertools.accumulate(1 / (place + 8) for place in range(CHARS)))
    names = ["".join(random_.choices(chars, k=random_.choice((2, 2, 3, 3, 4)))) for _ in range(NAMES)]
    name_weights = list(itertools.accumulate(1 / (place + 3) for place in range(NAMES)))
    for number in range(posts):
        picked = random_.choices(range(NAMES), cum_weights=name_weights, k=3)
        parts = ["".join(random_.choices(chars, cum_weights=char_weights, k=random_.randint(8, 28))) for _ in range(4)]
        yield _document(number, parts, [(names[place], TYPES[place % 4]) for place in picked], random_)


def _document(number: int, parts: list[str], named: list[tuple[str, str]], random_: random.Random) -> Document:
    text, mentions = parts[0], []
    created_ms = START_MS + number * 2_000 + random_.randint(0, 30) * 1000
    post_id, author = f"weibo:{4_700_000_000_000_000 + number}", f"a{random_.randint(1, 20_000):x}"
    for (name, kind), part in zip(named, parts[1:], strict=True):
        mentions.append(
            Mention(
                post_id=post_id,
                root_id=post_id,
                author=author,
                created_ms=created_ms,
                observed_ms=created_ms,
                type=kind,
                surface=name,
                raw_key=f"{kind}/{name}",
                entity=f"{kind}/{name}",
                start=len(text),
                end=len(text) + len(name),
                confidence=0.93,
                simhash=number,
                model_version="bench-1",
            )
        )
        text += name + "，" + part
    post = Post(
        id=post_id,
        source="bench",
        author=author,
        created_ms=created_ms,
        observed_ms=created_ms,
        text=text,
        root_id=post_id,
        bid=f"L{number:x}",
        counts=Counts(reposts=number % 90, comments=3, likes=8),
        region="上海",
    )
    return Document(post=post, mentions=tuple(mentions), model_version="bench-1")


def build(path: Path, posts: int) -> dict[str, float]:
    """Index ``posts`` documents into a new database. Times exclude their making; commits are told apart."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA cache_size = -32000")
    create_schema(connection)
    index = SqliteIndex(connection)
    made = synthetic(posts)
    inside = commits = 0.0
    while batch := list(itertools.islice(made, BATCH_POSTS)):
        connection.execute("BEGIN IMMEDIATE")
        started = time.perf_counter()
        index.documents(batch)
        written = time.perf_counter()
        connection.execute("COMMIT")
        commits += time.perf_counter() - written
        inside += written - started
    size = connection.execute("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size").fetchone()[0]
    connection.close()
    return {
        "index_us_per_post": inside / posts * 1e6,
        "commit_us_per_post": commits / posts * 1e6,
        "bytes_per_post": size / posts,
    }


def queries(posts: int) -> list[tuple[str, str, Filters]]:
    """(kind, query text, filters) as people ask: rare and common words, names, fields, ranges, everything."""
    sample = list(itertools.islice(synthetic(posts), 400))
    random_ = random.Random(2)
    found: list[tuple[str, str, Filters]] = [("everything", "", Filters())] * 10
    for document in random_.sample(sample, 40):
        one, two, _ = document.mentions
        text = document.post.text
        start = random_.randrange(len(text) - 4)
        found += [
            ("name", one.surface, Filters()),
            ("entity", f'entity:"{one.entity}"', Filters()),
            ("two names or", f"{one.surface} OR {two.surface}", Filters()),
            ("name and type", f"{one.surface} type:PER -entity:{two.surface}", Filters()),
            ("two characters", text[start : start + 2].replace("，", ""), Filters()),
            ("common pair", chr(0x4E00 + random_.randrange(5)) + chr(0x4E00 + random_.randrange(5)), Filters()),
            ("day", one.surface, Filters(since_ms=START_MS, until_ms=START_MS + 86_400_000)),
            ("type", "type:LOC", Filters(since_ms=START_MS + posts * 1_000)),
            ("common character", chr(0x4E00 + random_.randrange(3)), Filters()),
        ]
    return found


def search(path: Path, posts: int) -> dict[str, dict[str, float]]:
    """Milliseconds of the first page with exact total, highlights and facets, by kind of query and over all."""
    reader = SqliteReader(path)
    times: dict[str, list[float]] = {}
    for kind, text, filters in queries(posts):
        started = time.perf_counter()
        reader.search(text, filters, limit=20)
        spent = (time.perf_counter() - started) * 1000
        times.setdefault(kind, []).append(spent)
        times.setdefault("all", []).append(spent)
    reader.close()
    return {kind: {"p50_ms": _quantile(spent, 0.5), "p95_ms": _quantile(spent, 0.95)} for kind, spent in times.items()}


def _quantile(values: Sequence[float], share: float) -> float:
    if len(values) < 2:
        return values[0]
    return statistics.quantiles(values, n=100, method="inclusive")[round(share * 100) - 1]


def measure(posts: int = 200_000) -> dict[str, Any]:
    """Build and search an index of ``posts`` posts in a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "search.db"
        built = build(path, posts)
        return {"posts": posts, **built, "search": search(path, posts)}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--posts", type=int, default=200_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    found = measure(options.posts)
    if options.json:
        sys.stdout.write(json.dumps(found) + "\n")
        return
    for name in ("posts", "index_us_per_post", "commit_us_per_post", "bytes_per_post"):
        print(f"{name:24} {found[name]:12.1f}")
    for kind, row in found["search"].items():
        print(f"search, {kind:16} p50 {row['p50_ms']:8.2f} ms   p95 {row['p95_ms']:8.2f} ms")


if __name__ == "__main__":
    main()
