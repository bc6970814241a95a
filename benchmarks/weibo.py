"""The parser of Weibo's replies: posts a second of one core, from bytes to ``Post``, for both flavours.

``python -m benchmarks.weibo [--pages 400]``
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Sequence

from ingest.clean import clean
from ingest.weibo.payload import Shown, statuses
from tests.corpus import demo_posts
from tests.ingest.test_weibo_parse import EDGE, MID, NOW, in_cards, mblog, status

GOAL = 20_000
POSTS_PER_PAGE = 10


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pages", type=int, default=400)
    pages = parser.parse_args().pages
    for name, bodies in (("m.weibo.cn", mobile(pages)), ("weibo.com", desktop(pages))):
        parsed(bodies[:20])
        rates = [parsed(bodies) for _ in range(5)]
        size = sum(map(len, bodies)) / len(bodies) / POSTS_PER_PAGE
        print(f"{name:11}{statistics.median(rates):8.0f} posts/s (goal {GOAL}; {size:.0f} bytes a post)")


def mobile(pages: int) -> list[bytes]:
    """Pages of cards with texts of the demo."""
    texts = [post["text"] for post in demo_posts(pictures=False)]
    head = mblog()["text"]
    return [
        json.dumps(
            in_cards(*(mblog(**_ids(place), text=head + texts[place % len(texts)], bid="") for place in _places(page)))
        ).encode()
        for page in range(pages)
    ]


def desktop(pages: int) -> list[bytes]:
    """Lists of statuses with the same texts."""
    texts = [post["text"] for post in demo_posts(pictures=False)]
    return [
        json.dumps(
            {"ok": 1, "data": {"list": [status(**_ids(at), text_raw=texts[at % len(texts)]) for at in _places(page)]}}
        ).encode()
        for page in range(pages)
    ]


def _places(page: int) -> range:
    return range(page * POSTS_PER_PAGE, (page + 1) * POSTS_PER_PAGE)


def _ids(place: int) -> dict[str, str]:
    mid = str(int(MID) + place)
    return {"id": mid, "mid": mid, "idstr": mid}


def parsed(bodies: Sequence[bytes]) -> float:
    """Posts a second of processor time: one core, whatever else runs."""
    began = time.process_time()
    count = 0
    for body in bodies:
        for shown in statuses(body, NOW):
            assert isinstance(shown, Shown)
            clean(shown.raw, EDGE)
            count += 1
    assert count == len(bodies) * POSTS_PER_PAGE
    return count / (time.process_time() - began)


if __name__ == "__main__":
    main()
