"""Posts for tests: the demo corpus, which ships, repeated and shuffled as a test needs it. No network, no ../shared."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

DEMO = Path(__file__).parents[1] / "ingest" / "demo" / "posts.jsonl.gz"


def demo_posts(*, pictures: bool = True) -> list[dict[str, Any]]:
    """The lines of the demo corpus in event-time order."""
    with gzip.open(DEMO, "rt", encoding="utf-8") as handle:
        posts = [json.loads(line) for line in handle]
    if not pictures:
        posts = [{key: value for key, value in post.items() if key != "pictures"} for post in posts]
    return posts


def write_jsonl(path: Path, posts: list[dict[str, Any]]) -> Path:
    """``posts`` as a file that ``jsonl:`` reads."""
    path.write_text("".join(json.dumps(post, ensure_ascii=False) + "\n" for post in posts), encoding="utf-8")
    return path


def write_many(path: Path, count: int) -> Path:
    """``count`` distinct posts: the demo's texts again and again, a minute apart, by 50 authors."""
    texts = [post["text"] for post in demo_posts(pictures=False)]
    start = 1_640_995_200
    posts = [
        {"id": f"p{n}", "created_at": start + 60 * n, "author": f"author{n % 50}", "text": texts[n % len(texts)]}
        for n in range(count)
    ]
    return write_jsonl(path, posts)
